#include "tasks/runner.hpp"

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include "observe/log.hpp"

namespace cognive::tasks {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds relay_interval{500};
constexpr milliseconds schedule_interval{1'000};
constexpr milliseconds duty_timeout{10'000};
constexpr milliseconds own_duty_timeout{30'000};
constexpr milliseconds retry_max{10'000};
constexpr milliseconds follower_patience{60'000};

// Does a duty of the leader again and again, with the pause that it asks for in between.
template <typename Duty>
Async<> while_leader(Leader& leader, const char* what, Duty duty) {
  std::string last_failure;
  milliseconds wait{0};
  for (;;) {
    if (!leader.is_leader() && !co_await leader.wait(Deadline::in(follower_patience))) continue;
    std::string failure;
    try {
      wait = co_await duty();
    } catch (const boost::system::system_error& error) {
      if (error.code() == boost::asio::error::operation_aborted) throw;
      failure = error.what();
    } catch (const std::exception& error) {
      failure = error.what();
    }
    if (failure != last_failure && !failure.empty())
      log(Level::warning, "background work is held up", {{"what", what}, {"reason", failure}});
    last_failure = failure;
    if (!failure.empty()) wait = std::clamp(wait * 2, relay_interval, retry_max);
    if (wait.count() > 0) co_await sleep_for(jittered(wait));
  }
}

}  // namespace

Runner::Runner(Executor executor, pg::Cluster& database, pg::Monitor& monitor, WorkerOptions options, Metrics& metrics)
    : queue_(database),
      scheduler_(database),
      relay_(database, queue_),
      worker_(executor, queue_, handlers_, std::move(options), metrics),
      leader_(executor, monitor, process_name(), metrics),
      duties_(executor, [](const std::exception_ptr&) {}) {
  relay_.add_handlers(handlers_);
}

Runner::~Runner() = default;

void Runner::start() {
  worker_.start();
  leader_.start();
  duties_.spawn(relay_messages());
  duties_.spawn(run_schedule());
  for (const auto& [what, duty] : own_duties_) duties_.spawn(run_duty(what, duty));
}

Async<> Runner::stop(Deadline deadline) {
  duties_.stop();
  co_await duties_.join(deadline);
  co_await leader_.stop(deadline);
  co_await worker_.stop(deadline);
}

Async<> Runner::relay_messages() {
  co_await while_leader(leader_, "the outbox", [this]() -> Async<milliseconds> {
    const bool more = co_await relay_.pass(Deadline::in(duty_timeout));
    co_return more ? milliseconds{0} : relay_interval;
  });
}

Async<> Runner::run_duty(const char* what, const Duty& duty) {
  co_await while_leader(leader_, what,
                        [this, &duty]() { return duty(leader_.term(), Deadline::in(own_duty_timeout)); });
}

Async<> Runner::run_schedule() {
  std::int64_t term = 0;
  co_await while_leader(leader_, "the schedule", [this, &term]() -> Async<milliseconds> {
    const auto current = leader_.term();
    if (co_await scheduler_.enqueue_due(term != current, Deadline::in(duty_timeout)) > 0) worker_.wake();
    term = current;
    co_return schedule_interval;
  });
}

}  // namespace cognive::tasks
