// I/O threads: each runs its own io_context(1), so that a request and all it touches stay on one thread and need no
// lock.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "runtime/async.hpp"

namespace cognive {

class IoThreads {
 public:
  // `count` ≥ 1. The threads start idle and block the signals that the main thread handles.
  explicit IoThreads(std::size_t count);
  IoThreads(const IoThreads&) = delete;
  IoThreads& operator=(const IoThreads&) = delete;
  ~IoThreads();

  // Stops the contexts and joins the threads. Executors stay valid until this object is gone, so that what was bound to
  // them can be destroyed in between; what still waited on them is dropped with it.
  void stop();

  [[nodiscard]] std::size_t count() const;
  [[nodiscard]] Executor executor(std::size_t index) const;

  // Of two threads that want a processor, this one from now on gets it about a fourth of the time. For work that
  // nobody waits for.
  void yield_to_others(std::size_t index);

  // Runs a coroutine on thread `index` and waits for its end on the calling thread (not one of ours). Exceptions pass
  // through.
  void run_on(std::size_t index, std::function<Async<>()> task);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// SIGINT and SIGTERM of the process, to be awaited by the main thread. Construct before any thread starts.
class StopSignals {
 public:
  StopSignals();
  // True when a signal came (or had come) within `duration`.
  bool wait(std::chrono::milliseconds duration);

 private:
  bool received_ = false;
};

}  // namespace cognive
