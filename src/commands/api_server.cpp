#include "commands/api_server.hpp"

#include <algorithm>
#include <boost/asio/error.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/system/system_error.hpp>
#include <thread>
#include <vector>

#include "agents/agents.hpp"
#include "alerts/alerts.hpp"
#include "alerts/channels.hpp"
#include "alerts/routes.hpp"
#include "amqp/topology.hpp"
#include "analytics/analytics.hpp"
#include "artifacts/artifacts.hpp"
#include "audit/entries.hpp"
#include "audit/refusals.hpp"
#include "budgets/authorise.hpp"
#include "budgets/budgets.hpp"
#include "budgets/gauges.hpp"
#include "budgets/windows.hpp"
#include "cache/memory.hpp"
#include "cache/redis_store.hpp"
#include "celery/control.hpp"
#include "celery/sent_tasks.hpp"
#include "celery/worker.hpp"
#include "charges/charges.hpp"
#include "commands/background.hpp"
#include "commands/local.hpp"
#include "documents/documents.hpp"
#include "events/names.hpp"
#include "events/routes.hpp"
#include "exports/exports.hpp"
#include "health/health.hpp"
#include "http/server.hpp"
#include "idempotency/kept_answers.hpp"
#include "identity/gate.hpp"
#include "identity/permissions.hpp"
#include "identity/routes.hpp"
#include "inbound/inbound.hpp"
#include "keyring/purposes.hpp"
#include "keyring/slots.hpp"
#include "observe/log.hpp"
#include "prices/prices.hpp"
#include "redis/buckets.hpp"
#include "replay/replay.hpp"
#include "runs/runs.hpp"
#include "runtime/threads.hpp"
#include "stream/routes.hpp"
#include "teams/teams.hpp"

namespace cognive::commands {
namespace {

constexpr std::chrono::milliseconds catalogue_interval{1'000};
constexpr std::chrono::milliseconds coverage_interval{500};  // a change holds on every node within a second
constexpr std::chrono::milliseconds gauges_interval{15'000};
constexpr std::chrono::milliseconds key_uses_interval{20'000};
constexpr std::chrono::milliseconds refusals_interval{5'000};
constexpr std::chrono::milliseconds stream_interval{1'000};
constexpr std::chrono::milliseconds retry_interval_max{30'000};

constexpr std::chrono::milliseconds background_timeout{10'000};
constexpr std::chrono::milliseconds last_words_timeout{2'000};
constexpr std::chrono::milliseconds first_look_timeout{3'000};
constexpr std::int64_t recent_writes_margin_ms = 5'000;

http::ServerOptions server_options(const Settings& settings, std::uint16_t port) {
  return {.host = settings.http_host,
          .port = port,
          .body_bytes_max = static_cast<std::size_t>(settings.http_body_bytes_max),
          .header_bytes_max = static_cast<std::size_t>(settings.http_header_bytes_max),
          .connections_max = static_cast<std::size_t>(settings.http_connections_max),
          .requests_max = static_cast<std::size_t>(settings.http_requests_max),
          .tls_certificate_file = settings.tls_certificate_file,
          .tls_key_file = settings.tls_key_file,
          .trusted_proxies = settings.http_trusted_proxies,
          .request_timeout = std::chrono::milliseconds{settings.http_request_timeout_ms},
          .idle_timeout = std::chrono::milliseconds{settings.http_idle_timeout_ms},
          .handler_timeout = std::chrono::milliseconds{settings.http_handler_timeout_ms}};
}

// As events see it.
agents::CallNames names_of(const prices::CurrentCatalogue& current, const Uuid& team_id, std::string_view provider,
                           std::string_view model) {
  const auto catalogue = current.loaded();
  const prices::Model* found = nullptr;
  if (!model.empty()) found = catalogue->find(team_id, provider, model).at(Timestamp::now()).model;
  return events::names_of(*catalogue, provider, model, found);
}

pg::PoolOptions pool_options(const Settings& settings) {
  pg::PoolOptions options;
  options.exclusive_connections_max = static_cast<std::size_t>(settings.database_connections);
  options.statement_timeout = std::chrono::milliseconds{settings.database_timeout_ms};
  return options;
}

// Of the threads that store and decide in bulk.
pg::PoolOptions bulk_options(const Settings& settings) {
  auto options = pool_options(settings);
  options.looks_up_only = true;
  return options;
}

// How long a change by another process may go unseen here when there is no Redis that could tell.
constexpr std::chrono::milliseconds unshared_lifetime{1'000};
constexpr std::size_t cached_bytes_max = 64 << 20;

cache::Options cache_options(const Settings& settings) {
  cache::Options options{.agent_lifetime = std::chrono::seconds{settings.agents_lifetime_s},
                         .budget_lifetime = std::chrono::seconds{settings.budgets_lifetime_s},
                         .changes_settle = std::chrono::milliseconds{settings.http_handler_timeout_ms} +
                                           std::chrono::milliseconds{settings.database_timeout_ms},
                         .is_shared = !settings.redis_url.empty()};
  // Nobody is told of a change of an agent. States of budgets may be old by what their reader says.
  if (settings.redis_url.empty()) options.agent_lifetime = std::min(options.agent_lifetime, unshared_lifetime);
  return options;
}

std::unique_ptr<cache::Store> cache_store(redis::Client* redis, cache::Memory& memory, const keyring::RootKey& root) {
  if (redis != nullptr) return std::make_unique<cache::RedisStore>(*redis, root);
  return std::make_unique<cache::MemoryStore>(memory);
}

celery::SentTasksOptions sent_tasks_options(const std::optional<RabbitMq>& rabbitmq) {
  if (!rabbitmq) return {};
  return {.has_rabbitmq = true, .own_queues = rabbitmq->task_queues};
}

// That send test messages of channels.
constexpr std::size_t threads_for_tests = 2;

// After that nobody answers any more whoever sent the request.
std::chrono::milliseconds claim_time(const Settings& settings) {
  return std::chrono::milliseconds{settings.http_handler_timeout_ms} +
         std::chrono::milliseconds{settings.database_timeout_ms};
}

// What all I/O threads share; each part is safe on every thread.
struct Shared {
  explicit Shared(const Settings& settings)
      : recent_writes(std::chrono::milliseconds{settings.database_replica_lag_max_ms +
                                                settings.database_probe_interval_ms + recent_writes_margin_ms}),
        root(settings.master_key),
        sender(sender_options(settings, root, threads_for_tests)),
        limits(settings.rate_limit_per_caller, settings.rate_limit_per_address),
        cors(settings.http_cors_origins) {}

  Metrics metrics;
  prices::CurrentCatalogue catalogue;
  runs::KnownRuns known_runs;
  budgets::CurrentCoverage coverage;
  budgets::ChargeSets charge_sets;
  http::RecentWrites recent_writes;
  keyring::RootKey root;
  alerts::Sender sender;
  http::Limits limits;
  http::Cors cors;
  audit::Refusals refusals;
  identity::Passwords passwords;
  identity::KeyLimits key_limits;
  identity::LoginLimits login_limits;
  std::unique_ptr<pg::Monitor> monitor;
  std::optional<redis::ClientOptions> redis;    // nothing: there is none
  std::optional<RabbitMq> rabbitmq;             // the same
  std::unique_ptr<amqp::Connection> publisher;  // of all threads; null when there is none
  objects::Storage storage;
  cache::Memory cached{cached_bytes_max};  // used when there is none
  cache::Doubts cache_doubts;
  cache::Counts cache_counts{metrics};
};

// What the thread of the writer owns.
struct WriterThread {
  WriterThread(Executor executor, const Settings& settings, Shared& shared)
      : database(executor, bulk_options(settings), *shared.monitor, shared.metrics),
        writer(executor, database, shared.catalogue, shared.known_runs, {shared.coverage, shared.charge_sets},
               shared.metrics,
               {.tells_feed = shared.rabbitmq.has_value(),
                .content_key = {shared.root, std::string(keyring::purpose::content)},
                .trail = audit::Trail(shared.root)}) {}

  pg::Cluster database;
  events::Writer writer;
};

// What the thread of the authoriser owns.
struct AuthoriserThread {
  AuthoriserThread(Executor executor, const Settings& settings, Shared& shared)
      : database(executor, bulk_options(settings), *shared.monitor, shared.metrics),
        authoriser(executor, database, shared.coverage, shared.charge_sets, shared.metrics) {}

  pg::Cluster database;
  budgets::Authoriser authoriser;
};

// Everything that one I/O thread owns, in the order in which it is built.
struct Worker {
  Worker(Executor executor, const Settings& settings, Shared& shared, events::Writer& writer,
         budgets::Authoriser& authoriser, std::uint16_t port)
      : metrics(shared.metrics),
        database(executor, pool_options(settings), *shared.monitor, metrics),
        trail(shared.root),
        keys(database, trail, identity::SecretHasher(shared.root), shared.key_limits),
        users(database, trail, shared.passwords),
        sessions(database, trail, shared.passwords, shared.login_limits, shared.root),
        gate(keys, sessions),
        redis(shared.redis ? std::make_unique<redis::Client>(executor, *shared.redis, metrics) : nullptr),
        cache(executor, cache_store(redis.get(), shared.cached, shared.root), shared.cache_doubts, shared.cache_counts,
              cache_options(settings)),
        audit_entries(database),
        teams(database, trail),
        agents(
            database, trail, cache,
            [&current = shared.catalogue](const Uuid& team_id, std::string_view provider, std::string_view model) {
              return names_of(current, team_id, provider, model);
            },
            [&known = shared.known_runs](const Uuid& agent_id) { known.forget_agent(agent_id); }),
        prices(database, trail, shared.catalogue, std::chrono::seconds{settings.prices_lifetime_s}),
        runs(database, trail, metrics, shared.known_runs),
        ingest(executor, database, shared.catalogue, shared.known_runs, {shared.coverage, shared.charge_sets}, writer),
        budgets(database, trail, cache),
        budget_windows(database, cache),
        budget_gauges(database, metrics),
        alerts(database, trail),
        alert_channels(database, trail, shared.sender, shared.root),
        authorisation(executor, database, shared.catalogue, shared.known_runs, events::names_of, authoriser),
        charges(database, trail, prices, shared.catalogue),
        replay(database, shared.catalogue),
        sent_tasks(database, trail, shared.publisher.get(), redis.get(), sent_tasks_options(shared.rabbitmq)),
        analytics(database),
        objects(shared.storage, metrics),
        artifacts(database, trail, objects, settings.artifact_bytes_max, settings.http_body_bytes_max),
        exports(database, trail, objects),
        health(database, *shared.monitor, redis.get(), shared.publisher.get(), objects, settings, shared.root, metrics),
        buckets(redis ? std::make_unique<redis::Buckets>(*redis) : nullptr),
        stream(executor, database),
        kept_answers(database, shared.root, claim_time(settings)),
        router({.gate = &gate,
                .recent_writes = shared.recent_writes,
                .metrics = metrics,
                .limits = shared.limits,
                .refusals = shared.refusals,
                .cors = shared.cors,
                .shared_buckets = buckets.get(),
                .repeats = &kept_answers}),
        background(executor, [](const std::exception_ptr&) {}),
        server(executor, server_options(settings, port), router, metrics) {
    identity::add_routes(router, sessions);
    identity::add_routes(router, users);
    identity::add_routes(router, keys);
    audit::add_routes(router, audit_entries, identity::permission::audit_read);
    teams::add_routes(router, teams);
    agents::add_routes(router, agents);
    runs::add_routes(router, runs);
    events::add_routes(router, ingest);
    budgets::add_routes(router, budgets);
    budgets::add_routes(router, budget_windows);
    budgets::add_routes(router, authorisation);
    alerts::add_routes(router, alerts);
    alerts::add_routes(router, alert_channels);
    prices::add_routes(router, prices);
    charges::add_routes(router, charges);
    replay::add_routes(router, replay);
    analytics::add_routes(router, analytics);
    celery::add_routes(router, sent_tasks);
    artifacts::add_routes(router, artifacts);
    exports::add_routes(router, exports);
    stream::add_routes(router, stream, gate);
    health::add_cache_route(router, cache);
    health::add_storage_route(router, objects);
    health::add_routes(router, health);
    documents::add_routes(router, health.settings());
  }

  // What takes tasks in that come on the queues of events; workers run them.
  celery::Intake& take_tasks(Executor executor) {
    task_results = std::make_unique<celery::Results>(database, redis.get());
    tasks =
        std::make_unique<celery::Intake>(std::move(executor), database, *task_results, celery::definitions(), metrics);
    return *tasks;
  }

  Metrics& metrics;
  pg::Cluster database;
  audit::Trail trail;
  identity::Keys keys;
  identity::Users users;
  identity::Sessions sessions;
  identity::Gate gate;
  std::unique_ptr<redis::Client> redis;
  cache::Cache cache;
  audit::Entries audit_entries;
  teams::Teams teams;
  agents::Agents agents;
  prices::Prices prices;
  runs::Runs runs;
  events::Ingest ingest;
  budgets::Budgets budgets;
  budgets::Windows budget_windows;
  budgets::Gauges budget_gauges;
  alerts::Alerts alerts;
  alerts::Channels alert_channels;
  budgets::Authorisation authorisation;
  charges::Charges charges;
  replay::Replay replay;
  celery::SentTasks sent_tasks;
  analytics::Analytics analytics;
  objects::Objects objects;
  artifacts::Artifacts artifacts;
  exports::Exports exports;
  health::Health health;
  std::unique_ptr<redis::Buckets> buckets;
  stream::Hub stream;
  idempotency::KeptAnswers kept_answers;
  http::Router router;
  TaskGroup background;
  http::Server server;
  std::unique_ptr<celery::Results> task_results;
  std::unique_ptr<celery::Intake> tasks;
  std::unique_ptr<inbound::Inbound> inbound;  // of the first thread, when there is a RabbitMQ
};

// Repeats a task; its failures are logged once per change of reason, since a database that is away fails it every time.
Async<> repeat(std::string name, std::chrono::milliseconds interval, std::function<Async<>()> task) {
  std::string last_failure;
  for (;;) {
    std::string failure;
    try {
      co_await task();
    } catch (const boost::system::system_error& error) {
      if (error.code() == boost::asio::error::operation_aborted) throw;  // the process is stopping
      failure = error.what();
    } catch (const std::exception& error) {
      failure = error.what();
    }
    if (failure != last_failure && !failure.empty())
      log(Level::warning, "background task failed", {{"task", name}, {"reason", failure}});
    last_failure = failure;
    co_await sleep_for(failure.empty() ? interval : std::min(interval, retry_interval_max));
  }
}

// What is known only here and would be lost; the database may be away by now.
Async<> store_the_rest(Worker& worker, Shared& shared, Deadline deadline) {
  try {
    co_await worker.keys.store_uses(deadline);
  } catch (const std::exception& error) {
    log(Level::warning, "uses of keys were not stored", {{"reason", error.what()}});
  }
  try {
    co_await shared.refusals.record(worker.database, worker.trail, audit::Refusals::Which::all, deadline);
  } catch (const std::exception& error) {
    log(Level::warning, "refusals were not recorded", {{"reason", error.what()}});
  }
}

Async<> stop_inbound(Worker& worker, Deadline deadline) {
  if (worker.inbound) co_await worker.inbound->stop(deadline);
  if (worker.tasks) co_await worker.tasks->stop(deadline);
}

Async<> stop_worker(Worker& worker, Shared& shared, Deadline deadline) {
  worker.stream.stop();
  worker.background.stop();
  // Both answer by the same router, and neither waits for the other.
  using namespace boost::asio::experimental::awaitable_operators;
  co_await (stop_inbound(worker, deadline) && worker.server.stop(deadline));
  co_await worker.background.join(deadline);
  co_await store_the_rest(worker, shared, Deadline::in(last_words_timeout));
  co_await worker.cache.close(Deadline::in(last_words_timeout));
  if (worker.redis) co_await worker.redis->close(deadline);
  co_await worker.database.close();
}

}  // namespace

struct ApiServer::State {
  explicit State(Settings given) : settings(std::move(given)) {}

  Settings settings;
  Shared shared{settings};
  std::unique_ptr<IoThreads> threads;  // outlives the workers, whose sockets and timers belong to its contexts
  std::unique_ptr<WriterThread> writer;
  std::unique_ptr<AuthoriserThread> authoriser;
  std::vector<std::unique_ptr<Worker>> workers;
  std::unique_ptr<Background> background;  // null when other processes do that work

  // Threads 0 to count - 1 answer requests; then come those of the writer, of the authoriser and of
  // background work.
  [[nodiscard]] std::size_t writer_thread() const { return static_cast<std::size_t>(settings.http_threads); }
  [[nodiscard]] std::size_t authoriser_thread() const { return writer_thread() + 1; }
  [[nodiscard]] std::size_t background_thread() const { return authoriser_thread() + 1; }
};

ApiServer::ApiServer(Settings settings) : state_(std::make_unique<State>(std::move(settings))) {}

ApiServer::~ApiServer() {
  stop();
}

namespace {

Async<> start_worker(Worker& worker, Shared& shared, Result<std::uint16_t>& port, bool first) {
  if (first) {
    if (shared.publisher) shared.publisher->start();
    // Another master key than that of the installation is a mistake; a database that is away is none.
    if (auto known = co_await keyring::try_unlock(worker.database, shared.root); !known) {
      port = std::unexpected(std::move(known).error());
      co_return;
    }
    worker.background.spawn(keyring::keep_unlocked(worker.database, shared.root));
    // Prices before the first request. A database that is away is no reason not to start: readiness tells of it.
    try {
      co_await worker.prices.refresh(Deadline::in(background_timeout));
    } catch (const std::exception& error) {
      log(Level::warning, "prices are not loaded yet", {{"reason", error.what()}});
    }
    const auto read_budgets = [&worker, &shared] {
      return budgets::refresh(shared.coverage, worker.database.primary(), Deadline::in(background_timeout));
    };
    try {
      co_await read_budgets();
    } catch (const std::exception& error) {
      log(Level::warning, "budgets are not loaded yet", {{"reason", error.what()}});
    }
    worker.background.spawn(repeat("budgets", coverage_interval, read_budgets));
    worker.background.spawn(repeat("catalogue", catalogue_interval, [&prices = worker.prices] {
      return prices.refresh(Deadline::in(background_timeout));
    }));
    worker.background.spawn(repeat("refusals", refusals_interval, [&worker, &shared] {
      return shared.refusals.record(worker.database, worker.trail, audit::Refusals::Which::past_minutes,
                                    Deadline::in(background_timeout));
    }));
    worker.background.spawn(repeat("gauges", gauges_interval, [&worker]() -> Async<> {
      co_await worker.runs.refresh_metrics(Deadline::in(background_timeout));
      co_await worker.budget_gauges.refresh(Deadline::in(background_timeout));
    }));
  }
  worker.background.spawn(repeat("stream", stream_interval, [&stream = worker.stream] { return stream.run(); }));
  worker.background.spawn(repeat("key uses", key_uses_interval,
                                 [&keys = worker.keys] { return keys.store_uses(Deadline::in(background_timeout)); }));
  port = worker.server.listen();
  if (worker.tasks && port) worker.tasks->start();
  if (worker.inbound && port) worker.inbound->start();
}

}  // namespace

Result<std::uint16_t> ApiServer::start() {
  auto& state = *state_;
  auto port = static_cast<std::uint16_t>(state.settings.http_port);
  if (port != 0) {
    if (const auto free = http::check_port_free(state.settings.http_host, port); !free)
      return std::unexpected(free.error());
  }
  if (!state.settings.redis_url.empty()) {
    auto options = redis_options(state.settings);
    if (!options) return std::unexpected(options.error());
    state.shared.redis = std::move(*options);
  }
  if (!state.settings.rabbitmq_url.empty()) {
    auto found = rabbitmq_of(state.settings);
    if (!found) return std::unexpected(found.error());
    state.shared.rabbitmq = std::move(*found);
  }
  if (auto opened = open_storage(state.settings, state.shared.storage); !opened)
    return std::unexpected(std::move(opened.error()));
  const auto count = static_cast<std::size_t>(state.settings.http_threads);
  state.threads = std::make_unique<IoThreads>(state.background_thread() + 1);
  state.threads->yield_to_others(state.background_thread());
  state.shared.monitor =
      std::make_unique<pg::Monitor>(state.threads->executor(0), monitor_options(state.settings), state.shared.metrics);
  if (state.shared.rabbitmq) {
    auto topology = amqp::topology();
    topology.exchanges.push_back(celery::control_exchange_declaration());
    state.shared.publisher = std::make_unique<amqp::Connection>(
        state.threads->executor(0),
        amqp::ConnectionOptions{
            .url = state.shared.rabbitmq->url, .name = "cognive publisher", .topology = std::move(topology)},
        state.shared.metrics);
  }
  // A database that is away is no reason not to start: readiness tells of it.
  state.threads->run_on(0,
                        [&monitor = *state.shared.monitor] { return monitor.start(Deadline::in(first_look_timeout)); });
  state.writer =
      std::make_unique<WriterThread>(state.threads->executor(state.writer_thread()), state.settings, state.shared);
  state.authoriser = std::make_unique<AuthoriserThread>(state.threads->executor(state.authoriser_thread()),
                                                        state.settings, state.shared);
  for (std::size_t i = 0; i < count; ++i) {
    auto& worker =
        *state.workers.emplace_back(std::make_unique<Worker>(state.threads->executor(i), state.settings, state.shared,
                                                             state.writer->writer, state.authoriser->authoriser, port));
    if (i == 0 && state.shared.rabbitmq) {
      const inbound::InboundOptions options{
          .url = state.shared.rabbitmq->url,
          .prefetch = static_cast<std::uint16_t>(state.settings.rabbitmq_prefetch),
          .body_bytes_max = static_cast<std::size_t>(state.settings.http_body_bytes_max),
          .answer_timeout = std::chrono::milliseconds{state.settings.http_handler_timeout_ms},
          .tasks = worker.take_tasks(state.threads->executor(0))};
      worker.inbound =
          std::make_unique<inbound::Inbound>(state.threads->executor(0), options, worker.router, state.shared.metrics);
    }
    Result<std::uint16_t> listening = fail(Code::internal, "not started");
    state.threads->run_on(
        i, [&worker, &state, &listening, i] { return start_worker(worker, state.shared, listening, i == 0); });
    if (!listening) return listening;
    port = *listening;  // the others share the port that the first one got
  }
  if (state.settings.worker_in_server) {
    state.background = std::make_unique<Background>(state.threads->executor(state.background_thread()), state.settings,
                                                    BackgroundOptions{.storage = state.shared.storage,
                                                                      .publisher = state.shared.publisher.get(),
                                                                      .rabbitmq = state.shared.rabbitmq,
                                                                      .redis = state.shared.redis},
                                                    state.shared.root, *state.shared.monitor, state.shared.known_runs,
                                                    state.shared.metrics);
    Result<void> started;
    state.threads->run_on(state.background_thread(), [&background = *state.background, &started]() -> Async<> {
      started = co_await background.start();
    });
    if (!started) return std::unexpected(started.error());
  }
  log(Level::info, "listening", {{"host", state.settings.http_host}, {"port", port}, {"threads", count}});
  return port;
}

void ApiServer::stop() {
  auto& state = *state_;
  if (!state.threads) return;
  state.shared.sender.stop();
  const auto deadline = Deadline::in(std::chrono::milliseconds{state.settings.shutdown_timeout_ms});
  // All at once: they share one patience.
  std::vector<std::jthread> stopping;
  if (state.background) {
    stopping.emplace_back([&state, deadline] {
      state.threads->run_on(state.background_thread(),
                            [&background = *state.background, deadline] { return background.stop(deadline); });
    });
  }
  for (std::size_t i = 0; i < state.workers.size(); ++i) {
    stopping.emplace_back([&state, i, deadline] {
      state.threads->run_on(
          i, [&worker = *state.workers[i], &state, deadline] { return stop_worker(worker, state.shared, deadline); });
    });
  }
  stopping.clear();
  if (state.writer) {
    state.threads->run_on(state.writer_thread(), [&thread = *state.writer, deadline]() -> Async<> {
      co_await thread.writer.stop(deadline);
      co_await thread.database.close();
    });
  }
  if (state.authoriser) {
    state.threads->run_on(state.authoriser_thread(), [&thread = *state.authoriser, deadline]() -> Async<> {
      co_await thread.authoriser.stop(deadline);
      co_await thread.database.close();
    });
  }
  if (state.shared.publisher) {
    state.threads->run_on(0, [&publisher = *state.shared.publisher, deadline] { return publisher.stop(deadline); });
  }
  if (state.shared.monitor) {
    state.threads->run_on(0, [&monitor = *state.shared.monitor, deadline] { return monitor.stop(deadline); });
  }
  // Before the pools, which end what still waits for them: nothing else may run in it then.
  state.threads->stop();
  state.shared.sender.join();
  state.shared.storage.stop();
  state.shared.passwords.join();
  state.background.reset();
  state.workers.clear();
  state.writer.reset();
  state.authoriser.reset();
  state.shared.monitor.reset();
  state.threads.reset();
  log(Level::info, "stopped");
}

std::string openapi_document(const Settings& settings) {
  IoThreads threads(1);
  Shared shared(settings);
  shared.monitor = std::make_unique<pg::Monitor>(threads.executor(0), monitor_options(settings), shared.metrics);
  WriterThread writer(threads.executor(0), settings, shared);
  AuthoriserThread authoriser(threads.executor(0), settings, shared);
  const Worker worker(threads.executor(0), settings, shared, writer.writer, authoriser.authoriser, 0);
  return documents::openapi(worker.router, settings);
}

}  // namespace cognive::commands
