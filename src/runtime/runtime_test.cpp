#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>

#include "runtime/async.hpp"
#include "runtime/blocking.hpp"
#include "runtime/threads.hpp"

namespace cognive {
namespace {

using std::chrono::milliseconds;

Async<int> answer() {
  co_return 42;
}
Async<int> broken() {
  co_await sleep_for(milliseconds{1});
  throw std::runtime_error("broken");
}

TEST(Run, returns_the_result_or_the_exception_of_a_coroutine) {
  EXPECT_EQ(run(answer()), 42);
  EXPECT_THROW(run(broken()), std::runtime_error);
}

Async<> wait_then_mark(Signal& signal, bool& notified) {
  notified = co_await signal.wait(Deadline::in(milliseconds{60000}));
}

Async<bool> notified_in_time(Executor executor) {
  Signal signal(executor);
  TaskGroup group(executor, [](const std::exception_ptr&) {});
  bool notified = false;
  group.spawn(wait_then_mark(signal, notified));
  co_await sleep_for(milliseconds{1});
  signal.notify_all();
  const bool joined = co_await group.join(Deadline::in(milliseconds{5000}));
  const bool late = co_await signal.wait(Deadline::in(milliseconds{1}));
  co_return joined&& notified && !late;
}

Async<> forever(bool& ended) {
  struct Mark {
    bool& flag;
    ~Mark() { flag = true; }
  } mark{ended};
  for (;;) co_await sleep_for(milliseconds{60000});
}

Async<bool> stopped_group_ends_its_tasks(Executor executor) {
  bool ended = false;
  TaskGroup group(executor, [](const std::exception_ptr&) {});
  group.spawn(forever(ended));
  co_await sleep_for(milliseconds{1});
  group.stop();
  const bool joined = co_await group.join(Deadline::in(milliseconds{5000}));
  co_return joined&& ended;
}

TEST(Signal, wakes_waiters_and_keeps_deadlines) {
  IoThreads threads(1);
  bool ok = false;
  threads.run_on(0, [&]() -> Async<> { ok = co_await notified_in_time(threads.executor(0)); });
  EXPECT_TRUE(ok);
}

Async<std::thread::id> id_of_blocking_thread(BlockingThreads& threads) {
  std::thread::id id;
  const auto own = std::this_thread::get_id();
  co_await threads.run([&id] { id = std::this_thread::get_id(); });
  EXPECT_EQ(std::this_thread::get_id(), own);
  co_return id;
}

TEST(BlockingThreads, work_is_done_elsewhere_and_the_coroutine_goes_on_where_it_was) {
  BlockingThreads threads(1);
  EXPECT_NE(run(id_of_blocking_thread(threads)), std::this_thread::get_id());
  EXPECT_THROW(run_to_end(threads.run([] { throw std::runtime_error("broken"); })), std::runtime_error);
}

TEST(TaskGroup, stop_ends_every_task_and_join_sees_it) {
  IoThreads threads(2);
  bool ok = false;
  threads.run_on(1, [&]() -> Async<> { ok = co_await stopped_group_ends_its_tasks(threads.executor(1)); });
  EXPECT_TRUE(ok);
}

}  // namespace
}  // namespace cognive
