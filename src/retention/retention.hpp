// What becomes too old: runs and events are dropped some days after they arrived, whole days at a time; what has no day
// of its own (ids that are not of version 7) is deleted row by row. The adjustments of dropped calls go with them;
// rollups, agents, prices and the audit log stay.
#pragma once

#include <vector>

#include "pg/cluster.hpp"
#include "tasks/tasks.hpp"

namespace cognive::retention {

class Retention {
 public:
  // `days` after its arrival a row may go; 0: nothing goes. `database` and `queue` must outlive it.
  Retention(pg::Cluster& database, tasks::Queue& queue, std::int64_t days)
      : database_(database), queue_(queue), days_(days) {}

  void add_handlers(tasks::Handlers& handlers);
  // None when everything is kept.
  [[nodiscard]] std::vector<tasks::Schedule> schedules() const;

  // Drops the days whose rows are all too old. Throws Unavailable, also when a day was in use for too long: what could
  // be dropped has been, try again later for the rest.
  Async<> drop_days(Deadline deadline);

 private:
  Async<> drop_day(std::string series, std::chrono::sys_days day, Deadline deadline);
  Async<> begin_pruning(Deadline deadline);
  Async<> prune(const tasks::Task& task, Deadline deadline);

  pg::Cluster& database_;
  tasks::Queue& queue_;
  std::int64_t days_;
};

}  // namespace cognive::retention
