// What budgets have left, as metrics for pictures and alarms.
#pragma once

#include <set>
#include <string>
#include <utility>

#include "observe/metrics.hpp"
#include "pg/cluster.hpp"

namespace cognive::budgets {

class Gauges {
 public:
  // Both must outlive it.
  Gauges(pg::Cluster& database, Metrics& metrics) : database_(database), metrics_(metrics) {}

  // budget_remaining_usd: by team and window, of the budget of money that has least left. Of at most 200, those with
  // least; one that is no longer among them is not a number. Budgets that count each run apart are left out.
  Async<> refresh(Deadline deadline);

 private:
  using Series = std::pair<std::string, std::string>;  // team and window

  void set(const Series& series, double value) const;

  pg::Cluster& database_;
  Metrics& metrics_;
  std::set<Series> shown_;
};

}  // namespace cognive::budgets
