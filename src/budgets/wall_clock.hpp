// The time that runs take, charged to the budgets that limit it. Nobody reports it: it is looked at every few seconds,
// and once more when a run has ended, so that a counter lags behind by no more than that.
#pragma once

#include "pg/cluster.hpp"

namespace cognive::budgets {

inline constexpr std::chrono::seconds wall_clock_interval{5};

// Charges what has passed since it was last looked at. Any number of callers at once count nothing twice.
Async<> count_wall_clock(pg::Cluster& database, Deadline deadline);

}  // namespace cognive::budgets
