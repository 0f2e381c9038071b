#include "runtime/threads.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <boost/asio.hpp>
#include <csignal>
#include <future>
#include <thread>

namespace cognive {

namespace asio = boost::asio;

namespace {

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

}  // namespace

struct IoThreads::State {
  struct Thread {
    asio::io_context context{1};
    asio::executor_work_guard<asio::io_context::executor_type> work = asio::make_work_guard(context);
    std::thread thread;
  };
  std::vector<std::unique_ptr<Thread>> threads;
};

IoThreads::IoThreads(std::size_t count) : state_(std::make_unique<State>()) {
  for (std::size_t i = 0; i < count; ++i) {
    auto& thread = *state_->threads.emplace_back(std::make_unique<State::Thread>());
    thread.thread = std::thread([&thread] { thread.context.run(); });
  }
}

IoThreads::~IoThreads() {
  stop();
}

void IoThreads::stop() {
  for (auto& thread : state_->threads) thread->context.stop();
  for (auto& thread : state_->threads) {
    if (thread->thread.joinable()) thread->thread.join();
  }
}

std::size_t IoThreads::count() const {
  return state_->threads.size();
}

Executor IoThreads::executor(std::size_t index) const {
  return state_->threads.at(index)->context.get_executor();
}

void IoThreads::yield_to_others(std::size_t index) {
  // Linux counts niceness by thread, against POSIX: setpriority(2), "C library/kernel differences".
  constexpr int niceness = 5;
  asio::post(state_->threads.at(index)->context,
             [] { ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), niceness); });
}

void IoThreads::run_on(std::size_t index, std::function<Async<>()> task) {
  std::promise<void> done;
  auto finished = done.get_future();
  asio::co_spawn(
      state_->threads.at(index)->context, [&task]() -> Async<> { return task(); },
      [&done](std::exception_ptr error) {
        if (error) {
          done.set_exception(error);
        } else {
          done.set_value();
        }
      });
  finished.get();
}

StopSignals::StopSignals() {
  // Blocked before any thread exists, so inherited by all: a signal waits until the main thread fetches it.
  const sigset_t set = stop_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  // A client that closes its socket early is an error code, not the end of the process.
  std::signal(SIGPIPE, SIG_IGN);
}

bool StopSignals::wait(std::chrono::milliseconds duration) {
  if (received_) return true;
  const sigset_t set = stop_signals();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration);
  const timespec timeout{.tv_sec = seconds.count(), .tv_nsec = std::chrono::nanoseconds(duration - seconds).count()};
  received_ = sigtimedwait(&set, nullptr, &timeout) > 0;
  return received_;
}

}  // namespace cognive
