#include "tasks/leader.hpp"

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include "base/text.hpp"
#include "observe/log.hpp"
#include "pg/connection.hpp"
#include "tasks/tasks.hpp"

namespace cognive::tasks {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds heartbeat_interval{500};
constexpr milliseconds heartbeat_timeout{1'500};  // with the interval: a lost session is noticed within two seconds
constexpr milliseconds candidate_interval{1'000};
constexpr milliseconds connect_timeout{3'000};
constexpr milliseconds retry_max{10'000};

// The server ends a session that has not been heard of for so long, and so its lock: the process may be frozen, or
// nobody can reach it any more. Heartbeats come far more often.
constexpr pg::Query session_query{
    "leader_session",
    "SELECT set_config('idle_session_timeout', '8s', false), set_config('tcp_keepalives_idle', '5', false), "
    "set_config('tcp_keepalives_interval', '2', false), set_config('tcp_keepalives_count', '2', false), "
    "set_config('tcp_user_timeout', '8s', false), set_config('application_name', $1, false)"};

constexpr pg::Query lock_query{"leader_lock", "SELECT pg_try_advisory_lock(hashtextextended('cognive/leader', 0))"};

constexpr pg::Query rename_query{"leader_rename", "SELECT set_config('application_name', $1, false)"};

constexpr pg::Query heartbeat_query{"leader_heartbeat", "SELECT pg_is_in_recovery()"};

}  // namespace

struct Leader::State : std::enable_shared_from_this<Leader::State> {
  State(Executor leader_executor, pg::Monitor& cluster_monitor, std::string process, Metrics& metrics)
      : executor(std::move(leader_executor)),
        monitor(cluster_monitor),
        name(std::move(process)),
        gauge(metrics.gauge("task_leader", "Whether this process is the leader of background work")),
        changed(executor),
        loops(executor, [](const std::exception_ptr&) {}) {
    gauge.set(0);
  }

  Executor executor;
  pg::Monitor& monitor;
  std::string name;
  Gauge gauge;
  Signal changed;
  TaskGroup loops;
  bool leads = false;
  std::int64_t term = 0;

  void set(bool now_leads, std::string_view reason) {
    if (leads == now_leads) return;
    leads = now_leads;
    gauge.set(leads ? 1 : 0);
    if (leads) {
      ++term;
      log(Level::info, "this process is the leader of background work now", {{"process", name}});
    } else {
      log(Level::warning, "this process is no longer the leader of background work", {{"reason", reason}});
    }
    changed.notify_all();
  }

  // The host that takes the writes, as it was when the monitor saw it last; throws Unavailable when there is none.
  struct Primary {
    std::string url;
    pg::ServerIdentity identity;
  };
  [[nodiscard]] Primary primary() const {
    const auto topology = monitor.topology();
    if (!topology->primary) throw Unavailable("no primary database: " + topology->no_primary);
    const auto& report = topology->hosts[*topology->primary].report;
    if (!report.reachable) throw Unavailable("the primary database does not answer: " + report.failure);
    return {monitor.options().urls()[*topology->primary], report.identity};
  }

  void check_primary_is(const pg::Connection& connection) const {
    if (connection.identity().is_still(primary().identity)) return;
    monitor.look_again();
    throw Unavailable("the primary database has restarted, or is another one now");
  }

  // One session: candidate first, then leader, until it is lost or the primary moves. Throws Unavailable then.
  Async<> hold_session() {
    const auto host = primary();
    const auto connection =
        co_await pg::Connection::open(executor, host.url, heartbeat_timeout, Deadline::in(connect_timeout));
    check_primary_is(*connection);
    co_await connection->execute(session_query, pg::Params::of("cognive candidate " + name),
                                 Deadline::in(heartbeat_timeout));
    for (;;) {
      const auto locked = co_await connection->execute(lock_query, pg::Params{}, Deadline::in(heartbeat_timeout));
      if (locked[0].at<bool>(0)) break;
      co_await sleep_for(jittered(candidate_interval));
      check_primary_is(*connection);
    }
    co_await connection->execute(rename_query, pg::Params::of(std::string(leader_session) + name),
                                 Deadline::in(heartbeat_timeout));
    set(true, {});
    for (;;) {
      co_await sleep_for(heartbeat_interval);
      const auto beat = co_await connection->execute(heartbeat_query, pg::Params{}, Deadline::in(heartbeat_timeout));
      if (beat[0].at<bool>(0)) throw Unavailable("the database host has become a standby");
      // A primary that is slow to answer the monitor still holds the lock for us.
      const auto topology = monitor.topology();
      if (topology->primary_answers()) check_primary_is(*connection);
    }
  }

  static Async<> stand(std::shared_ptr<State> state) {
    std::string last_failure;
    milliseconds wait{0};
    for (;;) {
      const auto term_before = state->term;
      std::string failure;
      try {
        co_await state->hold_session();
      } catch (const boost::system::system_error& error) {
        state->set(false, "the process stops");
        if (error.code() == boost::asio::error::operation_aborted) throw;
        failure = error.what();
      } catch (const std::exception& error) {
        failure = error.what();
      }
      state->set(false, failure);
      if (failure != last_failure) log(Level::info, "no session to elect a leader in", {{"reason", failure}});
      last_failure = failure;
      wait = state->term != term_before ? heartbeat_interval : std::clamp(wait * 2, heartbeat_interval, retry_max);
      co_await sleep_for(jittered(wait));
    }
  }
};

Leader::Leader(Executor executor, pg::Monitor& monitor, std::string name, Metrics& metrics)
    // PostgreSQL cuts longer names.
    : state_(std::make_shared<State>(std::move(executor), monitor, shortened(name, 40), metrics)) {}

Leader::~Leader() = default;

void Leader::start() {
  state_->loops.spawn(State::stand(state_));
}

Async<> Leader::stop(Deadline deadline) {
  const auto state = state_;
  state->loops.stop();
  co_await state->loops.join(deadline);
}

bool Leader::is_leader() const {
  return state_->leads;
}

std::int64_t Leader::term() const {
  return state_->term;
}

Async<bool> Leader::wait(Deadline deadline) {
  const auto state = state_;
  while (!state->leads && !deadline.passed()) co_await state->changed.wait(deadline);
  co_return state->leads;
}

}  // namespace cognive::tasks
