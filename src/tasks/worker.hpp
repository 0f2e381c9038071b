// Takes tasks from queues and runs them: so many at a time, on one I/O thread. A worker that is lost loses its leases,
// and somebody else takes its tasks.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "observe/metrics.hpp"
#include "tasks/tasks.hpp"

namespace cognive::tasks {

struct WorkerOptions {
  std::vector<std::string> queues;  // in which to look; empty: those of all handlers
  std::size_t concurrency =
      4;  // attempts at a time, ≥ 1; of other queues than `default` at most half of them, and one more when it is 1
  // Queues whose tasks mostly wait for something else, with so many slots of their own beside the others.
  std::map<std::string, std::size_t, std::less<>> beside = {};
  std::chrono::milliseconds lease{15'000};  // extended three times as often
  std::chrono::milliseconds idle{1'000};    // between two looks when nothing is due, jittered
};

class Worker {
 public:
  // `queue`, `handlers` and `metrics` must outlive it; all handlers must be there when it starts. `executor`'s thread
  // calls everything.
  Worker(Executor executor, Queue& queue, const Handlers& handlers, WorkerOptions options, Metrics& metrics);
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker();

  void start();

  // Looks for tasks at once: some have just been enqueued.
  void wake();

  // Takes no more, lets attempts under way end until shortly before the deadline, and hands the rest back, to be begun
  // anew by somebody else; that does not count as an attempt.
  Async<> stop(Deadline deadline);

  // As claims name it: host, process and a random part.
  [[nodiscard]] const std::string& name() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// host:process, for people who look for the process.
std::string process_name();

}  // namespace cognive::tasks
