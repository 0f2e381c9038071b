#include "commands/background.hpp"

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>

#include "alerts/delivery.hpp"
#include "artifacts/artifacts.hpp"
#include "audit/archive.hpp"
#include "audit/segments.hpp"
#include "budgets/charging.hpp"
#include "budgets/prune.hpp"
#include "budgets/reservations.hpp"
#include "budgets/wall_clock.hpp"
#include "celery/sent_tasks.hpp"
#include "celery/worker.hpp"
#include "charges/charges.hpp"
#include "events/stored.hpp"
#include "exports/exports.hpp"
#include "feed/relay.hpp"
#include "idempotency/kept_answers.hpp"
#include "keyring/slots.hpp"
#include "observe/log.hpp"
#include "pg/cluster.hpp"
#include "retention/partitions.hpp"
#include "retention/retention.hpp"
#include "rollups/rollups.hpp"
#include "runs/runs.hpp"
#include "stream/stream.hpp"
#include "tasks/runner.hpp"

namespace cognive::commands {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds reachable_interval{1'000};
constexpr milliseconds feed_interval{200};
constexpr milliseconds sending_interval{200};
constexpr milliseconds sending_pause{1'000};  // after a failure
constexpr milliseconds storage_patience{60'000};
constexpr milliseconds storage_pause{10'000};
constexpr milliseconds storage_interval{3'600'000};
constexpr std::chrono::seconds archive_interval{60};
constexpr std::chrono::minutes archive_patience{5};

// For taking tasks, extending their leases, and the duties of the leader: outbox, schedule, feed.
constexpr std::int64_t connections_beside_tasks = 7;
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

// What waits for the object storage holds up nothing else, however long that hangs: it has slots of its own.
constexpr std::string_view storage_queue = "storage";
constexpr std::string_view exports_queue = "exports";

// A store that is away for an hour leaves no dead letters, and fails no export.
constexpr tasks::Definition artifacts_sweep{.name = "artifacts.sweep",
                                            .queue = storage_queue,
                                            .attempts_max = 12,
                                            .time_limit = milliseconds{300'000},
                                            .backoff_max = std::chrono::minutes{10}};
constexpr tasks::Definition exports_write{.name = exports::write_task,
                                          .queue = exports_queue,
                                          .attempts_max = 30,
                                          .time_limit = std::chrono::hours{1},
                                          .backoff_first = std::chrono::seconds{2},
                                          .backoff_max = std::chrono::minutes{10}};
constexpr tasks::Definition exports_sweep{.name = "exports.sweep",
                                          .queue = storage_queue,
                                          .attempts_max = 12,
                                          .time_limit = milliseconds{300'000},
                                          .backoff_max = std::chrono::minutes{10}};
constexpr tasks::Definition stream_forget{.name = "stream.forget", .time_limit = milliseconds{300'000}};
constexpr tasks::Definition idempotency_forget{.name = "idempotency.forget", .time_limit = milliseconds{300'000}};
constexpr std::size_t export_threads_count = 1;
constexpr tasks::Definition audit_archive{.name = "audit.archive",
                                          .queue = storage_queue,
                                          .attempts_max = 12,
                                          .time_limit = std::chrono::minutes{10},
                                          .backoff_max = std::chrono::minutes{5}};

constexpr tasks::Definition rollups_compact{.name = "rollups.compact", .time_limit = milliseconds{60'000}};
constexpr milliseconds fold_delay{2'000};
// What it finds becomes a dead letter, for people; more than one attempt is for the outages between.
constexpr tasks::Definition rollups_verify{
    .name = "rollups.verify",
    .attempts_max = 3,
    .time_limit = std::chrono::minutes{30},
    .backoff_first = std::chrono::minutes{1}};  // it reads much, and a failover must not use up its attempts
// Each day is looked at so often: its late events come in the meantime, and a night without a worker leaves no gap.
constexpr std::int64_t verified_days = 3;

pg::PoolOptions pool_options(const Settings& settings) {
  pg::PoolOptions options;
  options.shared_connections = shared_connections;
  options.exclusive_connections_max = static_cast<std::size_t>(settings.worker_concurrency + connections_beside_tasks);
  options.statement_timeout = milliseconds{settings.database_timeout_ms};
  return options;
}

tasks::WorkerOptions worker_options(const Settings& settings, const BackgroundOptions& options) {
  return {.queues = options.queues,
          .concurrency = static_cast<std::size_t>(settings.worker_concurrency),
          .beside = {{std::string(exports_queue), 1}, {std::string(storage_queue), 1}},
          .lease = std::chrono::seconds{settings.worker_lease_s}};
}

}  // namespace

struct Background::State {
  State(Executor executor, const Settings& settings, const BackgroundOptions& options, keyring::RootKey root_key,
        pg::Monitor& monitor, runs::KnownRuns& known, Metrics& metrics)
      : root(std::move(root_key)),
        database(executor, pool_options(settings), monitor, metrics),
        runs(database, audit::Trail(root), metrics, known),
        runner(executor, database, monitor, worker_options(settings, options), metrics),
        feed_relay(database, options.publisher, metrics),
        objects(options.storage, metrics),
        retention(database, runner.queue(), settings.retention_days),
        // As many as a worker that serves no other queue delivers at a time.
        sender(sender_options(settings, root, static_cast<std::size_t>(settings.worker_concurrency))),
        alert_delivery(database, runner.queue(), sender, root),
        loops(executor, [](const std::exception_ptr&) {}) {
    add_runs(settings);
    add_rollups(settings, metrics);
    add_budgets(settings.retention_days);
    add_alerts();
    add_stream();
    add_idempotency();
    add_retention();
    if (objects.is_configured()) {
      add_artifacts();
      add_exports();
      if (root.has_master_key()) add_audit_archive();
    }
    runner.add_duty("the feed", [this](std::int64_t term, Deadline deadline) -> Async<milliseconds> {
      const bool more = co_await feed_relay.pass(term, deadline);
      co_return more ? milliseconds{0} : feed_interval;
    });
    if (options.rabbitmq) sender_of_tasks.emplace(executor, database, *options.publisher, metrics);
    const bool runs_celery =
        options.queues.empty() || std::ranges::find(options.queues, celery::row_queue) != options.queues.end();
    if (options.rabbitmq && runs_celery) {
      if (options.redis) redis = std::make_unique<redis::Client>(executor, *options.redis, metrics);
      const celery::WorkerOptions wanted{.url = options.rabbitmq->url,
                                         .queues = options.rabbitmq->task_queues,
                                         .prefetch = static_cast<std::uint16_t>(settings.rabbitmq_prefetch),
                                         .concurrency = settings.worker_concurrency};
      celery_worker =
          std::make_unique<celery::Worker>(executor, wanted, database, *options.publisher, redis.get(), metrics);
      celery_worker->add_handlers(runner.handlers());
      runner.scheduler().add(celery::Worker::schedule());
    }
    if (!settings.audit_archive_file.empty() && root.has_master_key())
      archive.emplace(settings.audit_archive_file, root);
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

  void add_artifacts() {
    runner.handlers().add(artifacts_sweep, [this](const tasks::Task&, Deadline deadline) {
      return artifacts::sweep(database, objects, deadline);
    });
    every(std::chrono::seconds{15}, artifacts_sweep);
  }

  void add_audit_archive() {
    runner.handlers().add(audit_archive, [this](const tasks::Task&, Deadline deadline) -> Async<> {
      const auto entries = co_await audit::SegmentArchive(objects, root).extend(database.primary(), deadline);
      if (entries > 0) log(Level::info, "archived the audit trail in the object storage", {{"entries", entries}});
    });
    every(archive_interval, audit_archive);
  }

  void add_exports() {
    runner.handlers().add(exports_write, [this](const tasks::Task& task, Deadline deadline) {
      return exports::write(database, objects, export_threads, exports::id_of(task.payload),
                            task.attempts >= task.attempts_max, deadline);
    });
    runner.relay().subscribe(std::string(exports::asked_topic), [](std::span<const tasks::outbox::Message> messages) {
      std::vector<tasks::NewTask> out;
      for (const auto& message : messages)
        out.push_back(tasks::NewTask::of(exports_write, message.payload, exports::id_of(message.payload).text()));
      return out;
    });
    runner.handlers().add(exports_sweep, [this](const tasks::Task&, Deadline deadline) {
      return exports::sweep(database, objects, deadline);
    });
    every(std::chrono::seconds{15}, exports_sweep);
  }

  void add_stream() {
    runner.handlers().add(stream_forget, [this](const tasks::Task&, Deadline deadline) {
      return stream::forget_old(database, deadline);
    });
    every(std::chrono::minutes{5}, stream_forget);
  }

  void add_idempotency() {
    runner.handlers().add(idempotency_forget, [this](const tasks::Task&, Deadline deadline) {
      return idempotency::forget_old(database, deadline);
    });
    every(std::chrono::hours{1}, idempotency_forget);
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

  // Does `step` again and again, with the pause that it asks for. What cannot be done is told once for each reason.
  static Async<> repeat(Level level, const char* failed, milliseconds pause,
                        std::function<Async<milliseconds>()> step) {
    std::string last_failure;
    for (;;) {
      std::string failure;
      auto wait = pause;
      try {
        wait = co_await step();
      } catch (const boost::system::system_error& error) {
        if (error.code() == boost::asio::error::operation_aborted) throw;  // the process is stopping
        failure = error.what();
      } catch (const std::exception& error) {
        failure = error.what();
      }
      if (failure != last_failure && !failure.empty()) log(level, failed, {{"reason", failure}});
      last_failure = failure;
      if (wait.count() > 0) co_await sleep_for(tasks::jittered(wait));
    }
  }

  Async<milliseconds> archive_audit_trail() {
    co_await archive->extend(database.primary(), Deadline::in(archive_patience));
    co_return archive_interval;
  }

  // Buckets that somebody has removed are made again, too.
  Async<milliseconds> keep_storage() {
    const auto made = co_await objects.make_buckets(storage_patience);
    const auto expired = co_await objects.expire(storage_patience);
    if (!made) throw Unavailable(made.error().detail);
    if (!expired) throw Unavailable(expired.error().detail);
    co_return storage_interval;
  }

  // Each process that has a RabbitMQ does, whoever leads: that one may have none.
  Async<milliseconds> send_tasks() {
    const bool more = co_await sender_of_tasks->pass();
    co_return more ? milliseconds{0} : sending_interval;
  }

  keyring::RootKey root;
  pg::Cluster database;
  std::optional<audit::Archive> archive;
  runs::Runs runs;
  tasks::Runner runner;
  feed::Relay feed_relay;
  objects::Objects objects;
  BlockingThreads export_threads{export_threads_count};
  std::optional<celery::Sender> sender_of_tasks;  // nothing without a RabbitMQ
  retention::Retention retention;
  alerts::Sender sender;
  alerts::Delivery alert_delivery;
  std::unique_ptr<redis::Client> redis;
  std::unique_ptr<celery::Worker> celery_worker;  // null without a RabbitMQ
  TaskGroup loops;
};

Background::Background(Executor executor, const Settings& settings, const BackgroundOptions& options,
                       keyring::RootKey root, pg::Monitor& monitor, runs::KnownRuns& known, Metrics& metrics)
    : state_(
          std::make_unique<State>(std::move(executor), settings, options, std::move(root), monitor, known, metrics)) {}

Background::~Background() = default;

Async<Result<void>> Background::start() {
  if (auto known = co_await keyring::try_unlock(state_->database, state_->root); !known) co_return known;
  auto* state = state_.get();
  if (state->archive)
    state->loops.spawn(State::repeat(Level::error, "the audit trail was not archived", archive_interval,
                                     [state] { return state->archive_audit_trail(); }));
  if (state->objects.is_configured())
    state->loops.spawn(State::repeat(Level::warning, "the object storage is not ready", storage_pause,
                                     [state] { return state->keep_storage(); }));
  if (state->sender_of_tasks)
    state->loops.spawn(State::repeat(Level::warning, "tasks for Celery's workers are not sent", sending_pause,
                                     [state] { return state->send_tasks(); }));
  state_->loops.spawn(State::note_reachable(state_->runs));
  state_->loops.spawn(keyring::keep_unlocked(state_->database, state_->root));
  state_->runner.start();
  if (state_->celery_worker) state_->celery_worker->start([&runner = state_->runner] { runner.wake(); });
  co_return Result<void>{};
}

Async<> Background::stop(Deadline deadline) {
  // What is on its way to RabbitMQ would be sent again if that were not noted.
  if (state_->sender_of_tasks) co_await state_->sender_of_tasks->stop(deadline);
  state_->loops.stop();
  if (state_->celery_worker) state_->celery_worker->stop_taking();
  // What is being sent has until then, like all that is under way.
  co_await state_->runner.stop(deadline);
  if (state_->celery_worker) co_await state_->celery_worker->stop(deadline);
  if (state_->redis) co_await state_->redis->close(deadline);
  state_->sender.stop();
  co_await state_->loops.join(deadline);
  co_await state_->database.close();
}

alerts::SenderOptions sender_options(const Settings& settings, const keyring::RootKey& root, std::size_t threads) {
  return {.root = root,
          .mail_server = {.url = settings.smtp_url, .from = settings.smtp_from},
          .private_networks = settings.alerts_private_networks,
          .threads = threads};
}

std::int64_t background_connections(const Settings& settings) {
  return settings.worker_concurrency + connections_beside_tasks + shared_connections + leader_connections;
}

}  // namespace cognive::commands
