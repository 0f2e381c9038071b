// Threads for calls that block, so that those that answer requests never do.
#pragma once

#include <functional>
#include <memory>

#include "runtime/async.hpp"

namespace cognive {

class BlockingThreads {
 public:
  explicit BlockingThreads(std::size_t count);
  BlockingThreads(const BlockingThreads&) = delete;
  BlockingThreads& operator=(const BlockingThreads&) = delete;
  // Waits for what has begun; what has not is dropped with the coroutines that wait for it.
  ~BlockingThreads();

  // The same, before the end: while the executors of those who wait are still there, and none of them runs anything
  // new.
  void join();

  // Runs `work` on one of the threads; the coroutine goes on where it was, with what `work` has thrown. It cannot be
  // cancelled: `work` has to end by a deadline of its own.
  Async<> run(std::function<void()> work);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cognive
