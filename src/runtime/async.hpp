// The coroutine type of the product, and deadlines. The full Asio header stays out of headers.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <memory>

namespace cognive {

template <typename T = void>
using Async = boost::asio::awaitable<T>;

using Executor = boost::asio::any_io_executor;

// The instant until which a wait may last. Travels with a request from its first byte to the database.
struct Deadline {
  std::chrono::steady_clock::time_point at;

  static Deadline in(std::chrono::milliseconds duration) { return {std::chrono::steady_clock::now() + duration}; }

  // Zero when it has passed.
  [[nodiscard]] std::chrono::milliseconds remaining() const {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(at - std::chrono::steady_clock::now());
    return std::max(left, std::chrono::milliseconds{0});
  }
  [[nodiscard]] bool passed() const { return std::chrono::steady_clock::now() >= at; }
};

// Something that coroutines of one thread wait for until another one of the same thread calls notify.
class Signal {
 public:
  explicit Signal(const Executor& executor);
  Signal(Signal&&) noexcept;
  Signal& operator=(Signal&&) noexcept;
  ~Signal();

  // False when the deadline passed first. A notify that nobody awaits is lost: check the condition before and after.
  Async<bool> wait(Deadline deadline);
  void notify_all();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Runs `work` on the executor's thread, soon. From any thread.
void post(const Executor& executor, std::function<void()> work);

// Suspends the coroutine; wakes early, without an error, when its task group is stopped.
Async<> sleep_for(std::chrono::milliseconds duration);

// Runs one coroutine to its end on the calling thread and returns its result; exceptions pass through. For commands.
void run_to_end(Async<> task);

template <typename T>
T run(Async<T> task) {
  std::optional<T> result;
  const auto body = [](Async<T> inner, std::optional<T>& out) -> Async<> { out.emplace(co_await std::move(inner)); };
  run_to_end(body(std::move(task), result));
  return std::move(*result);
}

// The coroutines that belong together on one thread. Each spawned coroutine is counted; an exception that leaves one is
// handed to `on_error`; stop() asks all of them to end (their waits throw operation_aborted), join() waits until they
// have.
class TaskGroup {
 public:
  TaskGroup(Executor executor, std::function<void(std::exception_ptr)> on_error);
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;
  ~TaskGroup();

  // Does nothing after stop(). Call on the group's own thread.
  void spawn(Async<> task);
  void stop();
  // False when tasks were still running at the deadline.
  Async<bool> join(Deadline deadline);
  [[nodiscard]] std::size_t size() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace cognive
