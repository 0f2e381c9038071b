// Background work as a process does it: which tasks there are, what does them, and what runs periodically. The API
// server and `cognive worker` both run it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "alerts/sender.hpp"
#include "config/settings.hpp"
#include "observe/metrics.hpp"
#include "pg/monitor.hpp"
#include "runs/known_runs.hpp"
#include "runtime/async.hpp"

namespace cognive::commands {

struct BackgroundOptions {
  std::vector<std::string> queues = {};  // from which tasks are taken; empty: all that this version knows
};

class Background {
 public:
  // Has database connections of its own, so that neither requests nor tasks wait for the others'. `settings`,
  // `monitor`, `known` (what the process remembers of runs) and `metrics` must outlive it. Everything happens on
  // `executor`'s thread.
  Background(Executor executor, const Settings& settings, BackgroundOptions options, pg::Monitor& monitor,
             runs::KnownRuns& known, Metrics& metrics);
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;
  ~Background();

  Async<> start();
  // Finishes what is under way until shortly before the deadline, and hands the rest back.
  Async<> stop(Deadline deadline);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// How both send alerts.
alerts::SenderOptions sender_options(const Settings& settings);

// How many connections one process needs for it.
std::int64_t background_connections(const Settings& settings);

}  // namespace cognive::commands
