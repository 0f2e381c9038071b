#include "pg/monitor.hpp"

#include <boost/asio.hpp>
#include <mutex>
#include <random>

#include "observe/log.hpp"
#include "pg/connection.hpp"
#include "pg/conninfo.hpp"

namespace cognive::pg {

namespace asio = boost::asio;
using std::chrono::milliseconds;

namespace {

// pg_last_wal_receive_lsn is what the receiver has flushed; replay can be ahead of it right after a restart, when log
// comes from the disk.
constexpr Query probe_query{
    "probe", "SELECT " COGNIVE_IDENTITY_COLUMNS
             ", (CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_replay_lsn(), '0/0') ELSE "
             "pg_current_wal_flush_lsn() END "
             "- '0/0')::bigint, "
             "(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() END - '0/0')::bigint, "
             "(SELECT coalesce(status, 'hidden') FROM pg_stat_wal_receiver), "
             "CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() = 'paused' ELSE false END, "
             "(extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) * 1000)::bigint"};

constexpr milliseconds pause_min{50};

HostReport::Receiver receiver_of(const std::optional<std::string>& status) {
  if (!status) return HostReport::Receiver::none;
  if (*status == "streaming") return HostReport::Receiver::streaming;
  return *status == "hidden" ? HostReport::Receiver::hidden : HostReport::Receiver::waiting;
}

void read_report(Row row, HostReport& report) {
  report.reachable = true;
  report.identity = read_identity(row);
  int column = identity_columns;
  report.lsn = static_cast<std::uint64_t>(row.at<std::int64_t>(column++));
  const auto receive_lsn = row.at<std::optional<std::int64_t>>(column++);
  if (receive_lsn) report.receive_lsn = static_cast<std::uint64_t>(*receive_lsn);
  report.receiver = receiver_of(row.at<std::optional<std::string>>(column++));
  report.replay_paused = row.at<bool>(column++);
  const auto age = row.at<std::optional<std::int64_t>>(column);
  if (age) report.replay_age = milliseconds{std::max<std::int64_t>(0, *age)};
}

// One host's series.
struct HostMeters {
  HostMeters(Metrics& metrics, const std::string& host)
      : up(metrics.gauge("db_host_up", "1 when the database host answers", {{"host", host}})),
        is_primary(metrics.gauge("db_host_primary", "1 for the host that takes the writes", {{"host", host}})),
        routed(metrics.gauge("db_replica_routed", "1 when reads may go to the replica", {{"host", host}})),
        lag_seconds(metrics.gauge("db_replica_lag_seconds",
                                  "Age of what the replica has not replayed; NaN when unknown", {{"host", host}})),
        lag_bytes(metrics.gauge("db_replica_lag_bytes", "Log that the replica has not replayed; NaN when unknown",
                                {{"host", host}})),
        timeline(metrics.gauge("db_host_timeline", "Timeline that the host is on; 0 when unknown", {{"host", host}})) {}

  void show(const Host& host) const {
    const auto unknown = std::numeric_limits<double>::quiet_NaN();
    up.set(host.report.reachable ? 1 : 0);
    is_primary.set(host.state == HostState::primary ? 1 : 0);
    routed.set(host.routed ? 1 : 0);
    const bool has_lag = host.state != HostState::primary;
    lag_seconds.set(has_lag && host.lag ? static_cast<double>(host.lag->count()) / 1000 : has_lag ? unknown : 0);
    lag_bytes.set(has_lag && host.lag_bytes ? static_cast<double>(*host.lag_bytes) : has_lag ? unknown : 0);
    timeline.set(host.report.identity.timeline);
  }

  Gauge up;
  Gauge is_primary;
  Gauge routed;
  Gauge lag_seconds;
  Gauge lag_bytes;
  Gauge timeline;
};

void log_changes(const Topology& before, const Topology& now) {
  if (now.primary != before.primary) {
    if (now.primary) {
      const auto& host = now.hosts[*now.primary];
      log(before.primary ? Level::warning : Level::info,
          before.primary ? "writes go to another database host" : "the primary database is known",
          {{"host", host.label}, {"timeline", host.report.identity.timeline}});
    } else {
      log(Level::warning, "there is no primary database", {{"reason", now.no_primary}});
    }
  }
  if (!now.complete()) return;  // whoever answers first cannot be compared with anybody
  for (std::size_t i = 0; i < now.hosts.size(); ++i) {
    const auto& host = now.hosts[i];
    if (before.complete() && i < before.hosts.size() && before.hosts[i].state == host.state &&
        before.hosts[i].routed == host.routed)
      continue;
    if (host.state == HostState::primary) continue;
    log(host.routed ? Level::info : Level::warning, "database host",
        {{"host", host.label}, {"state", text_of(host.state)}, {"routed", host.routed}, {"reason", host.not_routed}});
  }
}

}  // namespace

std::vector<std::string> MonitorOptions::urls() const {
  std::vector<std::string> out{primary_url};
  for (const auto& url : read_urls) {
    if (std::ranges::find(out, url) == out.end()) out.push_back(url);
  }
  return out;
}

struct Monitor::State : std::enable_shared_from_this<State> {
  State(Executor monitor_executor, MonitorOptions monitor_options, Metrics& metrics)
      : executor(std::move(monitor_executor)),
        options(std::move(monitor_options)),
        urls(options.urls()),
        reports(urls.size()),
        judge(labels(), options.lag_max),
        failovers(metrics.counter("db_failovers_total", "Times that writes moved to another host")),
        asked(executor),
        hurry(executor),
        tasks(executor, [](const std::exception_ptr&) {}),
        current(std::make_shared<const Topology>()) {
    for (const auto& label : labels()) meters.emplace_back(metrics, label);
  }

  Executor executor;
  MonitorOptions options;
  std::vector<std::string> urls;
  std::vector<HostReport> reports;
  Judge judge;
  std::vector<HostMeters> meters;
  Counter failovers;
  std::optional<std::size_t> last_primary;
  Signal asked;  // one more host has answered or failed
  Signal hurry;
  TaskGroup tasks;

  struct Follower {
    Executor executor;
    std::function<bool()> changed;
  };

  mutable std::mutex mutex;  // of what follows
  std::shared_ptr<const Topology> current;
  std::vector<std::shared_ptr<Follower>> followers;

  [[nodiscard]] std::vector<std::string> labels() const {
    std::vector<std::string> out;
    for (const auto& url : urls) out.push_back(host_label(url));
    return out;
  }

  void publish() {
    auto next = std::make_shared<const Topology>(judge.judge(reports, std::chrono::steady_clock::now()));
    for (std::size_t i = 0; i < meters.size(); ++i) meters[i].show(next->hosts[i]);
    if (next->primary_answers()) {
      if (last_primary && last_primary != next->primary) failovers.add();
      last_primary = next->primary;
    }
    std::shared_ptr<const Topology> before;
    std::vector<std::shared_ptr<Follower>> told;
    {
      const std::lock_guard lock(mutex);
      before = std::exchange(current, next);
      told = followers;
    }
    log_changes(*before, *next);
    if (next->undecided) hurry.notify_all();
    for (const auto& follower : told) {
      asio::post(follower->executor, [weak = weak_from_this(), follower] {
        if (follower->changed()) return;
        const auto self = weak.lock();
        if (!self) return;
        const std::lock_guard lock(self->mutex);
        std::erase(self->followers, follower);
      });
    }
  }

  // Never longer than the interval, at least a second: a server that has no answer by then cannot serve anybody.
  [[nodiscard]] milliseconds patience() const { return std::max(options.interval, milliseconds{1'000}); }

  static Async<> watch(std::shared_ptr<State> state, std::size_t index) {
    std::unique_ptr<Connection> connection;
    std::minstd_rand random{std::random_device{}()};
    for (;;) {
      HostReport report;
      report.asked_at = std::chrono::steady_clock::now();
      report.answered_at = state->reports[index].answered_at;
      const auto deadline = Deadline::in(state->patience());
      try {
        if (!connection || connection->broken())
          connection = co_await Connection::open(state->executor, state->urls[index], state->patience(), deadline);
        const auto rows = co_await connection->execute(probe_query, {}, deadline);
        read_report(rows[0], report);
        report.answered_at = std::chrono::steady_clock::now();
      } catch (const boost::system::system_error&) {
        throw;  // the process is stopping
      } catch (const std::exception& error) {
        report.failure = error.what();
      }
      if (!report.reachable) connection.reset();
      state->reports[index] = std::move(report);
      state->publish();
      state->asked.notify_all();
      // The sooner a lost host is seen to be back, the better; and no two processes shall ask in step.
      auto pause = state->reports[index].reachable ? state->options.interval : state->options.interval / 2;
      std::uniform_int_distribution<std::int64_t> jitter(0, pause.count() / 5);
      pause -= milliseconds{jitter(random)};
      co_await state->hurry.wait(Deadline::in(pause));
      // Whoever is in a hurry shall not keep the hosts busy.
      const auto asked = std::chrono::steady_clock::now() - state->reports[index].asked_at;
      if (asked < pause_min) co_await sleep_for(std::chrono::ceil<milliseconds>(pause_min - asked));
    }
  }
};

Monitor::Monitor(Executor executor, MonitorOptions options, Metrics& metrics)
    : state_(std::make_shared<State>(std::move(executor), std::move(options), metrics)) {}

Monitor::~Monitor() = default;

Async<> Monitor::start(Deadline deadline) {
  const auto state = state_;
  for (std::size_t i = 0; i < state->urls.size(); ++i) state->tasks.spawn(State::watch(state, i));
  for (;;) {
    const auto known = topology();
    if ((known->complete() && !known->hosts.empty()) || deadline.passed()) co_return;
    co_await state->asked.wait(deadline);
  }
}

Async<> Monitor::stop(Deadline deadline) {
  const auto state = state_;
  state->tasks.stop();
  co_await state->tasks.join(deadline);
  const std::lock_guard lock(state->mutex);
  state->followers.clear();
}

std::shared_ptr<const Topology> Monitor::topology() const {
  const std::lock_guard lock(state_->mutex);
  return state_->current;
}

void Monitor::look_again() {
  asio::post(state_->executor, [weak = std::weak_ptr(state_)] {
    if (const auto state = weak.lock()) state->hurry.notify_all();
  });
}

void Monitor::follow(Executor executor, std::function<bool()> changed) {
  const std::lock_guard lock(state_->mutex);
  state_->followers.push_back(std::make_shared<State::Follower>(std::move(executor), std::move(changed)));
}

const MonitorOptions& Monitor::options() const {
  return state_->options;
}

}  // namespace cognive::pg
