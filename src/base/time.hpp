// Instants as the API and PostgreSQL know them: UTC, microseconds.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cognive {

struct Timestamp {
  std::int64_t micros = 0;  // since 1970-01-01T00:00:00Z

  auto operator<=>(const Timestamp&) const = default;

  static Timestamp now();

  // The range that RFC 3339 can write: years 0001 to 9999.
  static constexpr Timestamp min() { return {-62135596800000000}; }
  static constexpr Timestamp max() { return {253402300799999999}; }

  [[nodiscard]] std::chrono::sys_time<std::chrono::microseconds> point() const {
    return std::chrono::sys_time<std::chrono::microseconds>{std::chrono::microseconds{micros}};
  }
  static Timestamp of(std::chrono::sys_time<std::chrono::microseconds> point) {
    return {point.time_since_epoch().count()};
  }

  // RFC 3339 with `Z` and six digits of fraction: 2026-11-23T06:02:00.123456Z.
  [[nodiscard]] std::string text() const;
  void append_to(std::string& out) const;

  // RFC 3339, section 5.6: an offset is required; digits beyond the microsecond are cut off; a leap second (:60)
  // becomes the next second. Nothing for anything else.
  static std::optional<Timestamp> parse(std::string_view text);

  // Whether something may have happened then: since 1970, and at most a day after `now`, since callers' clocks may be
  // ahead.
  [[nodiscard]] bool is_plausible(Timestamp now) const;

  [[nodiscard]] Timestamp plus(std::chrono::microseconds delta) const { return {micros + delta.count()}; }
};

// ISO 8601 calendar date, YYYY-MM-DD.
std::string date_text(std::chrono::sys_days day);
std::optional<std::chrono::sys_days> parse_date(std::string_view text);

}  // namespace cognive
