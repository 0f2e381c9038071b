// `cognive worker`: background tasks against the servers that the environment names, in a process of their own.
#include <CLI/CLI.hpp>

#include "amqp/topology.hpp"
#include "audit/refusals.hpp"
#include "base/text.hpp"
#include "commands/background.hpp"
#include "commands/command.hpp"
#include "commands/local.hpp"
#include "commands/schema_fit.hpp"
#include "health/health.hpp"
#include "http/server.hpp"
#include "observe/log.hpp"
#include "runtime/threads.hpp"

namespace cognive::commands {
namespace {

constexpr std::chrono::milliseconds first_look_timeout{3'000};
constexpr std::chrono::milliseconds recent_writes_kept{1'000};

struct Flags {
  std::vector<std::string> queues;
  std::int64_t concurrency = 0;
  int port = -1;
};

// What Prometheus and probes ask of a worker: the routes that need no credentials, and nothing else.
struct Page {
  Page(Executor executor, const Settings& settings, std::uint16_t port, pg::Monitor& monitor,
       const std::optional<redis::ClientOptions>& redis_options, amqp::Connection* publisher, objects::Storage& storage,
       const keyring::RootKey& root, Metrics& metrics)
      : database(executor, {}, monitor, metrics),
        recent_writes(recent_writes_kept),
        redis(redis_options ? std::make_unique<redis::Client>(executor, *redis_options, metrics) : nullptr),
        objects(storage, metrics),
        health(database, monitor, redis.get(), publisher, objects, settings, root, metrics),
        router({.gate = nullptr,
                .recent_writes = recent_writes,
                .metrics = metrics,
                .limits = limits,
                .refusals = refusals,
                .cors = cors}),
        server(executor, {.host = settings.http_host, .port = port}, router, metrics) {
    health::add_storage_route(router, objects);
    health::add_routes(router, health);
  }

  pg::Cluster database;
  http::RecentWrites recent_writes;
  http::Limits limits{0, 0};
  http::Cors cors{{}};
  audit::Refusals refusals;  // of which there are none
  std::unique_ptr<redis::Client> redis;
  objects::Objects objects;
  health::Health health;
  http::Router router;
  http::Server server;
};

Async<> stop_page(Page& page, Deadline deadline) {
  co_await page.server.stop(deadline);
  if (page.redis) co_await page.redis->close(deadline);
  co_await page.database.close();
}

Result<void> work(const Settings& settings, const Flags& flags, StopSignals& signals) {
  if (flags.port > 0) {
    const auto free = http::check_port_free(settings.http_host, static_cast<std::uint16_t>(flags.port));
    if (!free) return free;
  }
  std::optional<redis::ClientOptions> redis;
  if (!settings.redis_url.empty()) {
    auto options = redis_options(settings);
    if (!options) return std::unexpected(options.error());
    redis = std::move(*options);
  }
  std::optional<RabbitMq> rabbitmq;
  if (!settings.rabbitmq_url.empty()) {
    auto found = rabbitmq_of(settings);
    if (!found) return std::unexpected(found.error());
    rabbitmq = std::move(*found);
  }
  objects::Storage storage;
  if (auto opened = open_storage(settings, storage); !opened) return opened;
  Metrics metrics;
  runs::KnownRuns known_runs;
  IoThreads threads(1);
  pg::Monitor monitor(threads.executor(0), monitor_options(settings), metrics);
  threads.run_on(0, [&] { return monitor.start(Deadline::in(first_look_timeout)); });
  const keyring::RootKey root(settings.master_key);
  std::unique_ptr<amqp::Connection> publisher;
  if (rabbitmq) {
    publisher = std::make_unique<amqp::Connection>(
        threads.executor(0),
        amqp::ConnectionOptions{.url = rabbitmq->url, .name = "cognive publisher", .topology = amqp::topology()},
        metrics);
    publisher->start();
  }
  Background background(
      threads.executor(0), settings,
      {.storage = storage, .publisher = publisher.get(), .rabbitmq = rabbitmq, .redis = redis, .queues = flags.queues},
      root, monitor, known_runs, metrics);
  std::unique_ptr<Page> page;
  Result<std::uint16_t> port;
  if (flags.port >= 0) {
    page = std::make_unique<Page>(threads.executor(0), settings, static_cast<std::uint16_t>(flags.port), monitor, redis,
                                  publisher.get(), storage, root, metrics);
  }
  threads.run_on(0, [&]() -> Async<> {
    if (page) port = page->server.listen();
    if (!port) co_return;
    if (auto started = co_await background.start(); !started) port = std::unexpected(std::move(started).error());
  });
  if (port) {
    if (page) log(Level::info, "listening", {{"host", settings.http_host}, {"port", *port}});
    log(Level::info, "working",
        {{"concurrency", settings.worker_concurrency}, {"queues", fmt::format("{}", fmt::join(flags.queues, ","))}});
    while (!signals.wait(std::chrono::hours{1})) {
    }
  }
  const auto deadline = Deadline::in(std::chrono::milliseconds{settings.shutdown_timeout_ms});
  threads.run_on(0, [&]() -> Async<> {
    co_await background.stop(deadline);
    if (page) co_await stop_page(*page, deadline);
    if (publisher) co_await publisher->stop(deadline);
    co_await monitor.stop(deadline);
  });
  threads.stop();
  storage.stop();
  log(Level::info, "stopped");
  if (!port) return std::unexpected(port.error());
  return {};
}

int worker(const Flags& flags) {
  StopSignals signals;
  const auto variables = process_variables();
  if (!variables) return explain(variables.error());
  auto settings = load_settings(*variables, MasterKey::required);
  if (!settings) return explain(settings.error());
  if (flags.concurrency > 0) settings->worker_concurrency = flags.concurrency;
  Level level = Level::info;
  parse_level(settings->log_level, level);
  log_to_stderr(level);
  if (const auto fine = check_tables(*settings, false); !fine) return explain(fine.error());
  if (const auto done = work(*settings, flags, signals); !done) return explain(done.error());
  return 0;
}

}  // namespace

void add_worker(CLI::App& root, Action& chosen) {
  auto* command = root.add_subcommand(
      "worker", "Run background tasks against the servers named by the environment (DATABASE_URL, …)");
  const auto flags = std::make_shared<Flags>();
  command->add_option("--queues", flags->queues, "Take tasks from these queues only, separated by commas")
      ->delimiter(',');
  command->add_option("--concurrency", flags->concurrency, "Tasks at a time; overrides WORKER_CONCURRENCY")
      ->check(CLI::Range(1, 256));
  command->add_option("--port", flags->port, "Answer /metrics and the health routes there; 0 picks a free port")
      ->check(CLI::Range(0, 65535));
  command->callback([flags, &chosen] { chosen = [flags] { return worker(*flags); }; });
}

}  // namespace cognive::commands
