// The day partitions of the time series: made ahead of the clock, so that no row has to wait for one, nor goes to the
// strays. Where the tables are hypertables, TimescaleDB makes its chunks itself and this does nothing.
#pragma once

#include "pg/cluster.hpp"

namespace cognive::retention {

// A cluster without a leader may miss this many days before rows go to the strays (from where the next run moves them).
inline constexpr std::chrono::days days_ahead{7};

// Makes the partitions that are missing from yesterday (late ids) to `days_ahead`, on the primary. Any number of
// processes may do it at once. Throws Unavailable, also when a lock could not be had within 2 s: try again
// later.
Async<> make_partitions_ahead(pg::Cluster& database, Deadline deadline);

}  // namespace cognive::retention
