#include "commands/background.hpp"

#include "alerts/delivery.hpp"
#include "budgets/charging.hpp"
#include "budgets/prune.hpp"
#include "budgets/reservations.hpp"
#include "budgets/wall_clock.hpp"
#include "charges/charges.hpp"
#include "events/stored.hpp"
#include "observe/log.hpp"
#include "pg/cluster.hpp"
#include "retention/partitions.hpp"
#include "retention/retention.hpp"
#include "rollups/rollups.hpp"
#include "runs/runs.hpp"
#include "tasks/runner.hpp"

namespace cognive::commands {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds reachable_interval{1'000};

// For taking tasks, extending their leases, and the duties of the leader.
constexpr std::int64_t connections_beside_tasks = 4;
constexpr std::int64_t shared_connections = 2;
constexpr std::int64_t leader_connections = 1;

// Only what fails for minutes is for an operator to look at.
constexpr tasks::Definition partitions_ahead{.name = "partitions.make_ahead", .attempts_max = 12};
constexpr tasks::Definition silent_runs{.name = "runs.end_silent",
                                        .attempts_max = 12,
                                        .time_limit = milliseconds{10'000},
                                        .backoff_max = milliseconds{15'000}};
constexpr tasks::Definition run_costs{.name = "runs.sum_costs",
                                      .attempts_max = 12,
                                      .time_limit = milliseconds{10'000},
                                      .backoff_max = milliseconds{15'000}};

constexpr tasks::Definition exhausted_runs{.name = "budgets.end_runs",
                                           .attempts_max = 12,
                                           .time_limit = milliseconds{10'000},
                                           .backoff_max = milliseconds{15'000}};
constexpr tasks::Definition due_reservations{.name = "budgets.expire",
                                             .attempts_max = 12,
                                             .time_limit = milliseconds{10'000},
                                             .backoff_max = milliseconds{15'000}};

constexpr tasks::Definition wall_clock{.name = "budgets.count_wall_clock",
                                       .attempts_max = 12,
                                       .time_limit = milliseconds{10'000},
                                       .backoff_max = milliseconds{15'000}};

constexpr tasks::Definition budgets_prune{.name = "budgets.prune", .time_limit = milliseconds{300'000}};

constexpr tasks::Definition rollups_compact{.name = "rollups.compact", .time_limit = milliseconds{60'000}};
constexpr milliseconds fold_delay{2'000};
// What it finds becomes a dead letter, for people; more than one attempt is for the outages between.
constexpr tasks::Definition rollups_verify{
    .name = "rollups.verify", .attempts_max = 3, .time_limit = std::chrono::minutes{30}};
// Each day is looked at so often: its late events come in the meantime, and a night without a worker leaves no gap.
constexpr std::int64_t verified_days = 3;

pg::PoolOptions pool_options(const Settings& settings) {
  pg::PoolOptions options;
  options.shared_connections = shared_connections;
  options.exclusive_connections_max = static_cast<std::size_t>(settings.worker_concurrency + connections_beside_tasks);
  options.statement_timeout = milliseconds{settings.database_timeout_ms};
  return options;
}

tasks::WorkerOptions worker_options(const Settings& settings, BackgroundOptions options) {
  return {.queues = std::move(options.queues),
          .concurrency = static_cast<std::size_t>(settings.worker_concurrency),
          .lease = std::chrono::seconds{settings.worker_lease_s}};
}

}  // namespace

struct Background::State {
  State(Executor executor, const Settings& settings, BackgroundOptions options, pg::Monitor& monitor,
        runs::KnownRuns& known, Metrics& metrics)
      : database(executor, pool_options(settings), monitor, metrics),
        runs(database, metrics, known),
        runner(executor, database, monitor, worker_options(settings, std::move(options)), metrics),
        retention(database, runner.queue(), settings.retention_days),
        sender(sender_options(settings)),
        alert_delivery(database, runner.queue(), sender),
        loops(executor, [](const std::exception_ptr&) {}) {
    add_runs(settings);
    add_rollups(settings, metrics);
    add_budgets(settings.retention_days);
    add_alerts();
    add_retention();
  }

  void add_runs(const Settings& settings) {
    const runs::SilenceOptions silence{.default_timeout = std::chrono::seconds{settings.run_silence_timeout_s},
                                       .grace_max = std::chrono::seconds{settings.run_silence_grace_max_s}};
    runner.handlers().add(silent_runs, [this, silence](const tasks::Task&, Deadline deadline) {
      return runs.end_silent(silence, deadline);
    });
    every(std::chrono::seconds{15}, silent_runs);
    runner.handlers().add(run_costs,
                          [this](const tasks::Task&, Deadline deadline) { return runs.sum_costs(deadline); });
    every(std::chrono::seconds{15}, run_costs);
  }

  void add_rollups(const Settings& settings, Metrics& metrics) {
    runner.handlers().add(rollups_compact, [this](const tasks::Task&, Deadline deadline) -> Async<> {
      co_await rollups::compact(database, deadline);
    });
    // Folded when there is something to fold. One such task stands for all messages that come before it runs: a wait
    // gathers more of them, since a fold costs as much for one commit as for a hundred with the same agents and models.
    const auto fold = [](std::span<const tasks::outbox::Message>) {
      auto task = tasks::NewTask::of(rollups_compact, "{}", "rollups");
      task.delay = fold_delay;
      return std::vector{std::move(task)};
    };
    runner.relay().subscribe(std::string(events::stored_topic), fold);
    runner.relay().subscribe(std::string(charges::repriced_topic), fold);
    // A message that comes while a fold runs asks for nothing: that one may have looked before its commit.
    every(std::chrono::seconds{15}, rollups_compact);
    const auto disagreements =
        metrics.gauge("rollup_disagreements",
                      "Sums of the last days that were not what the ledger says, when this process last compared");
    // Of what retention has dropped, only the sums are left; of the last day that it keeps, some may be gone already.
    const auto days =
        settings.retention_days == 0 ? verified_days : std::min(verified_days, settings.retention_days - 1);
    runner.handlers().add(
        rollups_verify, [this, disagreements, days](const tasks::Task& task, Deadline deadline) -> Async<> {
          // The same days however late it is tried again.
          const auto end = std::chrono::floor<std::chrono::days>(task.created_at.point());
          std::vector<std::string> found;
          std::size_t sums = 0;
          for (auto day = end - std::chrono::days{days}; day < end; day += std::chrono::days{1}) {
            const auto next = day + std::chrono::days{1};
            const auto one = co_await rollups::verify(database, Timestamp::of(day), Timestamp::of(next), deadline);
            if (one.disagreements.empty()) continue;
            sums += one.disagreements.size();
            found.push_back(
                fmt::format("{} sums or more of {} are not what the ledger says: cognive rollups verify "
                            "--from {} --to {}",
                            one.disagreements.size(), date_text(day), date_text(day), date_text(next)));
          }
          disagreements.set(static_cast<double>(sums));
          if (!found.empty()) throw std::runtime_error(fmt::format("{}.", fmt::join(found, "; ")));
        });
    runner.scheduler().add({.name = rollups_verify.name, .interval = std::chrono::hours{24}, .task = rollups_verify});
  }

  void add_budgets(std::int64_t days) {
    runner.handlers().add(exhausted_runs, [this](const tasks::Task& task, Deadline deadline) -> Async<> {
      co_await runs.end_exhausted(budgets::exhausted_of(task.payload), deadline);
    });
    runner.relay().subscribe(std::string(budgets::exhausted_topic),
                             [](std::span<const tasks::outbox::Message> messages) {
                               std::vector<tasks::NewTask> out;
                               for (const auto& message : messages)
                                 out.push_back(tasks::NewTask::of(exhausted_runs, message.payload));
                               return out;
                             });
    // Whoever is refused looks first whether something is due; this is for those who only look on.
    runner.handlers().add(due_reservations, [this](const tasks::Task&, Deadline deadline) -> Async<> {
      constexpr std::int64_t count = 1'000;
      while (co_await budgets::store::expire(database, count, deadline) == count && !deadline.passed()) {
      }
    });
    every(std::chrono::seconds{5}, due_reservations);
    runner.handlers().add(wall_clock, [this](const tasks::Task&, Deadline deadline) {
      return budgets::count_wall_clock(database, deadline);
    });
    every(budgets::wall_clock_interval, wall_clock);
    if (days == 0) return;
    runner.handlers().add(budgets_prune, [this, days](const tasks::Task&, Deadline deadline) -> Async<> {
      const auto pruned = co_await budgets::prune(database, days, deadline);
      if (pruned > 0) log(Level::info, "pruned what budgets need not remember", {{"rows", pruned}});
    });
    runner.scheduler().add({.name = budgets_prune.name, .interval = std::chrono::hours{1}, .task = budgets_prune});
  }

  void add_alerts() {
    alert_delivery.add_handlers(runner.handlers());
    alerts::Delivery::subscribe(runner.relay());
    runner.scheduler().add(alerts::Delivery::schedule());
  }

  void add_retention() {
    runner.handlers().add(partitions_ahead, [this](const tasks::Task&, Deadline deadline) {
      return retention::make_partitions_ahead(database, deadline);
    });
    every(std::chrono::hours{1}, partitions_ahead);
    retention.add_handlers(runner.handlers());
    for (auto& schedule : retention.schedules()) runner.scheduler().add(std::move(schedule));
  }

  // Also at once when there is a new leader: after a start, or an outage, everything may be overdue.
  void every(milliseconds interval, const tasks::Definition& task) {
    runner.scheduler().add({.name = task.name, .interval = interval, .task = task, .when_elected = true});
  }

  static Async<> note_reachable(runs::Runs& runs) {
    for (;;) {
      runs.note_reachable();
      co_await sleep_for(reachable_interval);
    }
  }

  pg::Cluster database;
  runs::Runs runs;
  tasks::Runner runner;
  retention::Retention retention;
  alerts::Sender sender;
  alerts::Delivery alert_delivery;
  TaskGroup loops;
};

Background::Background(Executor executor, const Settings& settings, BackgroundOptions options, pg::Monitor& monitor,
                       runs::KnownRuns& known, Metrics& metrics)
    : state_(std::make_unique<State>(std::move(executor), settings, std::move(options), monitor, known, metrics)) {}

Background::~Background() = default;

Async<> Background::start() {
  state_->loops.spawn(State::note_reachable(state_->runs));
  state_->runner.start();
  co_return;
}

Async<> Background::stop(Deadline deadline) {
  state_->loops.stop();
  co_await state_->runner.stop(deadline);
  co_await state_->loops.join(deadline);
  co_await state_->database.close();
}

alerts::SenderOptions sender_options(const Settings& settings) {
  return {.master_key = settings.master_key,
          .mail_server = {.url = settings.smtp_url, .from = settings.smtp_from},
          .private_networks = settings.alerts_private_networks};
}

std::int64_t background_connections(const Settings& settings) {
  return settings.worker_concurrency + connections_beside_tasks + shared_connections + leader_connections;
}

}  // namespace cognive::commands
