#include "rollups/range.hpp"

#include <algorithm>

#include "rollups/periods.hpp"

namespace cognive::rollups {

Range Range::of(std::optional<Timestamp> from, std::optional<Timestamp> to, bool with_days) {
  Range out;
  out.first_hour = from ? next_period(*from, hour_micros) : Timestamp::min();
  out.last_hour = to ? period_of(*to, hour_micros) : Timestamp::max();
  if (from && *from < out.first_hour) {
    const auto end = to ? std::min(*to, out.first_hour) : out.first_hour;
    out.edges.push_back({.hour = period_of(*from, hour_micros), .begin = *from, .end = end});
  }
  if (to && out.last_hour < *to && out.last_hour >= out.first_hour)
    out.edges.push_back({.hour = out.last_hour, .begin = out.last_hour, .end = *to});
  out.last_hour = std::max(out.last_hour, out.first_hour);
  out.first_day = from ? next_period(out.first_hour, day_micros) : Timestamp::min();
  out.last_day = to ? period_of(out.last_hour, day_micros) : Timestamp::max();
  if (!with_days || out.first_day >= out.last_day) out.first_day = out.last_day = out.last_hour;
  return out;
}

}  // namespace cognive::rollups
