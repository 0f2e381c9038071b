// The periodic part of background work. The slots of a schedule are the multiples of its interval, by PostgreSQL's
// clock; the slot for which it last enqueued is kept in a row, so that each is served once, whoever leads.
#pragma once

#include <vector>

#include "pg/cluster.hpp"
#include "tasks/tasks.hpp"

namespace cognive::tasks {

class Scheduler {
 public:
  // `database` must outlive it.
  explicit Scheduler(pg::Cluster& database) : database_(database) {}

  // Intervals are 1 s at least.
  void add(Schedule schedule);

  // Enqueues what is due. `elected`, of a new leader: also what is wanted then, and the rows of schedules that there
  // are no more go. How many tasks are new, or due at last. Throws Unavailable.
  Async<std::int64_t> enqueue_due(bool elected, Deadline deadline);

 private:
  pg::Cluster& database_;
  std::vector<Schedule> schedules_;
};

}  // namespace cognive::tasks
