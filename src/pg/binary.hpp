// PostgreSQL's binary formats of values, as the files of this folder write them.
#pragma once

#include <bit>
#include <chrono>
#include <concepts>
#include <limits>
#include <string>

#include "base/time.hpp"

namespace cognive::pg {

// In network byte order.
template <std::integral T>
void put(std::string& out, T value) {
  const auto big = std::byteswap(static_cast<std::make_unsigned_t<T>>(value));
  out.append(reinterpret_cast<const char*>(&big), sizeof(big));
}

// PostgreSQL counts from 2000-01-01.
inline constexpr std::int64_t epoch_offset_micros = 946684800000000;
inline constexpr std::int32_t epoch_offset_days = 10957;

// The ends of our range stand for PostgreSQL's infinities.
inline std::int64_t pg_micros(Timestamp value) {
  if (value <= Timestamp::min()) return std::numeric_limits<std::int64_t>::min();
  if (value >= Timestamp::max()) return std::numeric_limits<std::int64_t>::max();
  return value.micros - epoch_offset_micros;
}
inline std::int32_t pg_days(std::chrono::sys_days day) {
  return static_cast<std::int32_t>(day.time_since_epoch().count()) - epoch_offset_days;
}

// The version byte before the text of a binary jsonb.
inline constexpr char jsonb_version = 1;

}  // namespace cognive::pg
