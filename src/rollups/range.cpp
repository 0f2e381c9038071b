#include "rollups/range.hpp"

#include <algorithm>

namespace cognive::rollups {
namespace {

constexpr std::int64_t hour = 3'600'000'000;
constexpr std::int64_t day = 24 * hour;

Timestamp floor_to(Timestamp time, std::int64_t unit) {
  const auto within = time.micros % unit;
  return {time.micros - (within < 0 ? within + unit : within)};
}

Timestamp ceil_to(Timestamp time, std::int64_t unit) {
  const auto floor = floor_to(time, unit);
  return floor == time ? time : Timestamp{floor.micros + unit};
}

}  // namespace

Range Range::of(std::optional<Timestamp> from, std::optional<Timestamp> to, bool with_days) {
  Range out;
  out.first_hour = from ? ceil_to(*from, hour) : Timestamp::min();
  out.last_hour = to ? floor_to(*to, hour) : Timestamp::max();
  if (from && *from < out.first_hour) {
    const auto end = to ? std::min(*to, out.first_hour) : out.first_hour;
    out.edges.push_back({.hour = floor_to(*from, hour), .begin = *from, .end = end});
  }
  if (to && out.last_hour < *to && out.last_hour >= out.first_hour)
    out.edges.push_back({.hour = out.last_hour, .begin = out.last_hour, .end = *to});
  out.last_hour = std::max(out.last_hour, out.first_hour);
  out.first_day = from ? ceil_to(out.first_hour, day) : Timestamp::min();
  out.last_day = to ? floor_to(out.last_hour, day) : Timestamp::max();
  if (!with_days || out.first_day >= out.last_day) out.first_day = out.last_day = out.last_hour;
  return out;
}

}  // namespace cognive::rollups
