// How a range of time is read from rollups: whole days, whole hours beside them, and what is cut of an hour at either
// end, which only the ledger can tell.
#pragma once

#include <optional>
#include <vector>

#include "base/time.hpp"

namespace cognive::rollups {

struct Range {
  // A part of one hour. When all calls of the hour lie within it, its sums will do.
  struct Edge {
    Timestamp hour;
    Timestamp begin;
    Timestamp end;
  };

  // Hours from `first_hour` to `first_day`, days until `last_day`, hours until `last_hour`; each up to, not including.
  Timestamp first_hour;
  Timestamp first_day;
  Timestamp last_day;
  Timestamp last_hour;
  std::vector<Edge> edges;

  // `from` < `to`; nothing: without end. Without `with_days` all of it are hours.
  static Range of(std::optional<Timestamp> from, std::optional<Timestamp> to, bool with_days);
};

}  // namespace cognive::rollups
