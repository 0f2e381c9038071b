#include "runtime/async.hpp"

#include <boost/asio.hpp>
#include <list>

namespace cognive {

namespace asio = boost::asio;

struct Signal::State {
  // A timer that is never meant to expire is Asio's condition variable for one thread: cancel wakes every waiter.
  explicit State(const Executor& executor) : executor(executor) {}
  Executor executor;
  std::list<asio::steady_timer*> waiters;
};

Signal::Signal(const Executor& executor) : state_(std::make_unique<State>(executor)) {}
Signal::Signal(Signal&&) noexcept = default;
Signal& Signal::operator=(Signal&&) noexcept = default;
Signal::~Signal() = default;

Async<bool> Signal::wait(Deadline deadline) {
  asio::steady_timer timer(state_->executor, deadline.at);
  auto& waiters = state_->waiters;
  const auto place = waiters.insert(waiters.end(), &timer);
  boost::system::error_code error;
  try {
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, error));
  } catch (...) {
    waiters.erase(place);
    throw;
  }
  waiters.erase(place);
  // Cancelled means notified, or that the whole task group is being stopped.
  co_return error == asio::error::operation_aborted;
}

void Signal::notify_all() {
  for (auto* timer : state_->waiters) timer->cancel();
}

void post(const Executor& executor, std::function<void()> work) {
  asio::post(executor, std::move(work));
}

Async<> sleep_for(std::chrono::milliseconds duration) {
  const auto executor = co_await asio::this_coro::executor;
  asio::steady_timer timer(executor, duration);
  boost::system::error_code ignored;
  co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
}

void run_to_end(Async<> task) {
  asio::io_context context(1);
  std::exception_ptr failure;
  asio::co_spawn(context, std::move(task), [&](std::exception_ptr error) {
    failure = error;
    context.stop();
  });
  context.run();
  if (failure) std::rethrow_exception(failure);
}

struct TaskGroup::State {
  State(Executor group_executor, std::function<void(std::exception_ptr)> error_handler)
      : executor(std::move(group_executor)), on_error(std::move(error_handler)), emptied(executor) {}

  Executor executor;
  std::function<void(std::exception_ptr)> on_error;
  Signal emptied;
  std::list<asio::cancellation_signal> running;
  bool stopped = false;
};

TaskGroup::TaskGroup(Executor executor, std::function<void(std::exception_ptr)> on_error)
    : state_(std::make_shared<State>(std::move(executor), std::move(on_error))) {}

TaskGroup::~TaskGroup() = default;

void TaskGroup::spawn(Async<> task) {
  if (state_->stopped) return;
  const auto place = state_->running.emplace(state_->running.end());
  asio::co_spawn(state_->executor, std::move(task),
                 asio::bind_cancellation_slot(place->slot(), [state = state_, place](std::exception_ptr error) {
                   state->running.erase(place);
                   if (error) state->on_error(error);
                   if (state->running.empty()) state->emptied.notify_all();
                 }));
}

void TaskGroup::stop() {
  state_->stopped = true;
  // A cancelled task may end at once and take itself off the list.
  for (auto at = state_->running.begin(); at != state_->running.end();) {
    auto& signal = *at++;
    signal.emit(asio::cancellation_type::terminal);
  }
}

Async<bool> TaskGroup::join(Deadline deadline) {
  const auto state = state_;
  while (!state->running.empty()) {
    if (deadline.passed()) co_return false;
    co_await state->emptied.wait(deadline);
  }
  co_return true;
}

std::size_t TaskGroup::size() const {
  return state_->running.size();
}

}  // namespace cognive
