// The UTC hours and days that calls are summed up by.
#pragma once

#include "base/time.hpp"

namespace cognive::rollups {

inline constexpr std::int64_t hour_micros = 3'600'000'000;
inline constexpr std::int64_t day_micros = 24 * hour_micros;

// The begin of the period of `length` that holds `time`, also before 1970.
constexpr Timestamp period_of(Timestamp time, std::int64_t length) {
  const auto within = time.micros % length;
  return {time.micros - (within < 0 ? within + length : within)};
}

// Where the next period begins, or `time` when one begins there.
constexpr Timestamp next_period(Timestamp time, std::int64_t length) {
  const auto begin = period_of(time, length);
  return begin == time ? time : Timestamp{begin.micros + length};
}

}  // namespace cognive::rollups
