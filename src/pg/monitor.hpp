// Asks every database server who it is, once a second, and publishes the picture of all of them. One per process; the
// clusters of all threads follow it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "observe/metrics.hpp"
#include "pg/topology.hpp"
#include "runtime/async.hpp"

namespace cognive::pg {

struct MonitorOptions {
  std::string primary_url;             // DATABASE_URL: where writes go until the hosts say otherwise
  std::vector<std::string> read_urls;  // DATABASE_READ_URLS
  std::chrono::milliseconds interval{1'000};
  std::chrono::milliseconds lag_max{5'000};  // a replica further behind is not read

  [[nodiscard]] std::vector<std::string> urls() const;  // the primary's first; each host once
};

class Monitor {
 public:
  // Asks on `executor`'s thread, which must be the one that starts and stops it; everything else is safe on every
  // thread. `metrics` must outlive it.
  Monitor(Executor executor, MonitorOptions options, Metrics& metrics);
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;
  ~Monitor();

  // Begins to ask; returns when every host has answered or failed once, or at the deadline.
  Async<> start(Deadline deadline);
  Async<> stop(Deadline deadline);

  // Never null; before the first answers no host is known.
  [[nodiscard]] std::shared_ptr<const Topology> topology() const;

  // Asks all hosts now instead of at the next turn: somebody met one that is not as the picture says.
  void look_again();

  // `changed` runs on `executor` after each new picture, until it returns false.
  void follow(Executor executor, std::function<bool()> changed);

  [[nodiscard]] const MonitorOptions& options() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace cognive::pg
