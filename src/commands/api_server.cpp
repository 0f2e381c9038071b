#include "commands/api_server.hpp"

#include <algorithm>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <thread>
#include <vector>

#include "agents/agents.hpp"
#include "alerts/alerts.hpp"
#include "alerts/channels.hpp"
#include "alerts/routes.hpp"
#include "analytics/analytics.hpp"
#include "budgets/authorise.hpp"
#include "budgets/budgets.hpp"
#include "budgets/gauges.hpp"
#include "budgets/windows.hpp"
#include "charges/charges.hpp"
#include "commands/background.hpp"
#include "commands/local.hpp"
#include "events/names.hpp"
#include "events/routes.hpp"
#include "health/health.hpp"
#include "http/server.hpp"
#include "identity/gate.hpp"
#include "observe/log.hpp"
#include "prices/prices.hpp"
#include "replay/replay.hpp"
#include "runs/runs.hpp"
#include "runtime/threads.hpp"
#include "teams/teams.hpp"

namespace cognive::commands {
namespace {

constexpr std::chrono::milliseconds catalogue_interval{1'000};
constexpr std::chrono::milliseconds coverage_interval{500};  // a change holds on every node within a second
constexpr std::chrono::milliseconds gauges_interval{15'000};
constexpr std::chrono::milliseconds retry_interval_max{30'000};

constexpr std::chrono::milliseconds background_timeout{10'000};
constexpr std::chrono::milliseconds first_look_timeout{3'000};
constexpr std::int64_t recent_writes_margin_ms = 5'000;

http::ServerOptions server_options(const Settings& settings, std::uint16_t port) {
  return {.host = settings.http_host,
          .port = port,
          .body_bytes_max = static_cast<std::size_t>(settings.http_body_bytes_max),
          .header_bytes_max = static_cast<std::size_t>(settings.http_header_bytes_max),
          .connections_max = static_cast<std::size_t>(settings.http_connections_max),
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

// Of the master key, for nothing but the hashes of what events say.
Digest content_key(const Settings& settings) {
  const std::vector<std::uint8_t> master(settings.master_key.begin(), settings.master_key.end());
  return hmac_sha256(master, "cognive/content/1");
}

pg::PoolOptions pool_options(const Settings& settings) {
  pg::PoolOptions options;
  options.exclusive_connections_max = static_cast<std::size_t>(settings.database_connections);
  options.statement_timeout = std::chrono::milliseconds{settings.database_timeout_ms};
  return options;
}

// What all I/O threads share; each part is safe on every thread.
struct Shared {
  explicit Shared(const Settings& settings)
      : recent_writes(std::chrono::milliseconds{settings.database_replica_lag_max_ms +
                                                settings.database_probe_interval_ms + recent_writes_margin_ms}),
        sender(sender_options(settings)) {}

  Metrics metrics;
  prices::CurrentCatalogue catalogue;
  runs::KnownRuns known_runs;
  budgets::CurrentCoverage coverage;
  budgets::ChargeSets charge_sets;
  http::RecentWrites recent_writes;
  alerts::Sender sender;
  std::unique_ptr<pg::Monitor> monitor;
};

// What the thread of the writer owns.
struct WriterThread {
  WriterThread(Executor executor, const Settings& settings, Shared& shared)
      : database(executor, pool_options(settings), *shared.monitor, shared.metrics),
        writer(executor, database, shared.catalogue, shared.known_runs, {shared.coverage, shared.charge_sets},
               shared.metrics, {.content_key = content_key(settings)}) {}

  pg::Cluster database;
  events::Writer writer;
};

// What the thread of the authoriser owns.
struct AuthoriserThread {
  AuthoriserThread(Executor executor, const Settings& settings, Shared& shared)
      : database(executor, pool_options(settings), *shared.monitor, shared.metrics),
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
        identity(database, identity::SecretHasher(settings.master_key)),
        gate(identity),
        teams(database),
        agents(
            database,
            [&current = shared.catalogue](const Uuid& team_id, std::string_view provider, std::string_view model) {
              return names_of(current, team_id, provider, model);
            },
            [&known = shared.known_runs](const Uuid& agent_id) { known.forget_agent(agent_id); }),
        prices(database, shared.catalogue),
        runs(database, metrics, shared.known_runs),
        ingest(executor, database, shared.catalogue, shared.known_runs, {shared.coverage, shared.charge_sets}, writer),
        budgets(database),
        budget_windows(database),
        budget_gauges(database, metrics),
        alerts(database),
        alert_channels(database, shared.sender),
        authorisation(executor, database, shared.catalogue, shared.known_runs, events::names_of, authoriser),
        charges(database, prices, shared.catalogue),
        replay(database, shared.catalogue),
        analytics(database),
        health(database, *shared.monitor, settings, metrics),
        router(&gate, shared.recent_writes, metrics),
        background(executor, [](const std::exception_ptr&) {}),
        server(executor, server_options(settings, port), router, metrics) {
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
    health::add_routes(router, health);
  }

  Metrics& metrics;
  pg::Cluster database;
  identity::Identity identity;
  identity::KeyGate gate;
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
  analytics::Analytics analytics;
  health::Health health;
  http::Router router;
  TaskGroup background;
  http::Server server;
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

Async<> stop_worker(Worker& worker, Deadline deadline) {
  worker.background.stop();
  co_await worker.server.stop(deadline);
  co_await worker.background.join(deadline);
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
    worker.background.spawn(repeat("gauges", gauges_interval, [&worker]() -> Async<> {
      co_await worker.runs.refresh_metrics(Deadline::in(background_timeout));
      co_await worker.budget_gauges.refresh(Deadline::in(background_timeout));
    }));
  }
  port = worker.server.listen();
}

}  // namespace

Result<std::uint16_t> ApiServer::start() {
  auto& state = *state_;
  auto port = static_cast<std::uint16_t>(state.settings.http_port);
  if (port != 0) {
    if (const auto free = http::check_port_free(state.settings.http_host, port); !free)
      return std::unexpected(free.error());
  }
  const auto count = static_cast<std::size_t>(state.settings.http_threads);
  state.threads = std::make_unique<IoThreads>(state.background_thread() + 1);
  state.threads->yield_to_others(state.background_thread());
  state.shared.monitor =
      std::make_unique<pg::Monitor>(state.threads->executor(0), monitor_options(state.settings), state.shared.metrics);
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
    Result<std::uint16_t> listening = fail(Code::internal, "not started");
    state.threads->run_on(
        i, [&worker, &state, &listening, i] { return start_worker(worker, state.shared, listening, i == 0); });
    if (!listening) return listening;
    port = *listening;  // the others share the port that the first one got
  }
  if (state.settings.worker_in_server) {
    state.background = std::make_unique<Background>(state.threads->executor(state.background_thread()), state.settings,
                                                    BackgroundOptions{}, *state.shared.monitor, state.shared.known_runs,
                                                    state.shared.metrics);
    state.threads->run_on(state.background_thread(), [&background = *state.background] { return background.start(); });
  }
  log(Level::info, "listening", {{"host", state.settings.http_host}, {"port", port}, {"threads", count}});
  return port;
}

void ApiServer::stop() {
  auto& state = *state_;
  if (!state.threads) return;
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
      state.threads->run_on(i, [&worker = *state.workers[i], deadline] { return stop_worker(worker, deadline); });
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
  if (state.shared.monitor) {
    state.threads->run_on(0, [&monitor = *state.shared.monitor, deadline] { return monitor.stop(deadline); });
  }
  state.threads->stop();
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
  Settings own = settings;
  if (own.master_key.empty()) own.master_key = "only the routes are of interest";
  Shared shared(own);
  shared.monitor = std::make_unique<pg::Monitor>(threads.executor(0), monitor_options(own), shared.metrics);
  WriterThread writer(threads.executor(0), own, shared);
  AuthoriserThread authoriser(threads.executor(0), own, shared);
  const Worker worker(threads.executor(0), own, shared, writer.writer, authoriser.authoriser, 0);
  return worker.router.openapi(own.app_name, COGNIVE_VERSION);
}

}  // namespace cognive::commands
