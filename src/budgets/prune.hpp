// What budgets need not remember any longer than the calls that were charged to them.
#pragma once

#include "pg/cluster.hpp"

namespace cognive::budgets {

// Deletes reservations that ended, and the windows of runs that are gone, with their alerts, once they are older than
// `days` ≥ 1. Counters of days, weeks, months and totals stay for ever, and so do their alerts. In small transactions,
// until nothing is left or the deadline is near; how many rows.
Async<std::int64_t> prune(pg::Cluster& database, std::int64_t days, Deadline deadline);

}  // namespace cognive::budgets
