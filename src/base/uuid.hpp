// UUIDs (RFC 9562). Ids that we make are version 7: time-ordered, so that B-trees grow at one end.
#pragma once

#include <array>
#include <chrono>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/time.hpp"

namespace cognive {

struct Uuid {
  std::array<std::uint8_t, 16> bytes{};

  auto operator<=>(const Uuid&) const = default;

  [[nodiscard]] bool is_nil() const { return *this == Uuid{}; }

  // 36 characters, lower case.
  [[nodiscard]] std::string text() const;
  void append_to(std::string& out) const;

  // The 36-character form, either case. Nothing else (no braces, no urn:) is accepted.
  static std::optional<Uuid> parse(std::string_view text);

  // A new version-7 id of now. Ids made by one thread are strictly increasing (RFC 9562, section 6.2, method 3).
  static Uuid make();

  // A version-7 id with the given time and 74 bits of `seed` (for instance a hash of content) in place of randomness,
  // so that the same input always gives the same id.
  static Uuid derived(Timestamp time, std::span<const std::uint8_t, 16> seed);

  // The instant inside a version-7 id, to the millisecond; nothing for the other versions.
  [[nodiscard]] std::optional<Timestamp> time() const;
};

// The partition of ids that have no day inside. Far in the future, so that nothing that ages by the day takes its rows
// for old ones.
inline constexpr std::chrono::sys_days undated_bucket{std::chrono::year{9999} / std::chrono::December / 31};

// The partition of a time-series row, a function of its id alone, so that a repeat always meets its first copy:
// the UTC day inside a version-7 id, if it is from 2020 to 2099 (any other is no clock's, and the number of partitions
// must have a bound), and `undated_bucket` for every other id.
std::chrono::sys_days bucket_of(const Uuid& id);

}  // namespace cognive

template <>
struct std::hash<cognive::Uuid> {
  std::size_t operator()(const cognive::Uuid& id) const noexcept {
    std::uint64_t high = 0;
    std::uint64_t low = 0;
    __builtin_memcpy(&high, id.bytes.data(), 8);
    __builtin_memcpy(&low, id.bytes.data() + 8, 8);
    return static_cast<std::size_t>(high ^ (low * 0x9E3779B97F4A7C15ULL));
  }
};
