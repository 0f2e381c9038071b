#include "commands/local.hpp"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/text.hpp"
#include "keyring/slots.hpp"
#include "objects/open.hpp"

namespace cognive::commands {
namespace {

std::optional<std::string> environment(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): before threads start
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

constexpr std::chrono::milliseconds first_look_timeout{3'000};

std::optional<std::string> read_file(const std::filesystem::path& path) {
  std::ifstream in(path);
  if (!in) return std::nullopt;
  std::stringstream content;
  content << in.rdbuf();
  return content.str();
}

}  // namespace

std::filesystem::path default_data_directory() {
  if (const auto named = environment("COGNIVE_DATA")) return *named;
  return usual_data_directory();
}

std::filesystem::path usual_data_directory() {
  if (geteuid() == 0) return "/var/lib/cognive";
  if (const auto data = environment("XDG_DATA_HOME")) return std::filesystem::path(*data) / "cognive";
  if (const auto home = environment("HOME")) return std::filesystem::path(*home) / ".local/share/cognive";
  return "cognive-data";
}

Result<Variables> tool_variables(const std::string& data) {
  auto process = process_variables();
  if (!process) return process;
  const auto directory = data.empty() ? default_data_directory() : std::filesystem::path(data);
  const auto content = read_file(directory / "env");
  if (!content && !data.empty()) {
    return fail(Code::not_found, fmt::format("there is no installation of `cognive up` in {}: it has no file {}", data,
                                             (directory / "env").string()));
  }
  if (!content) return process;
  auto file = parse_env_file(*content, *process);
  if (!file) return std::unexpected(file.error());
  // A directory that was named wins over the environment; the default one only fills its gaps.
  return [process = *process, values = std::move(*file),
          named = !data.empty()](std::string_view name) -> std::optional<std::string> {
    const auto found = values.find(std::string(name));
    const auto stored = found == values.end() ? std::nullopt : std::optional<std::string>(found->second);
    if (named && stored) return stored;
    if (auto value = process(name)) return value;
    return stored;
  };
}

Result<client::ApiOptions> api_options(const ApiFlags& flags) {
  const auto variables = tool_variables(flags.data);
  if (!variables) return std::unexpected(variables.error());
  client::ApiOptions out;
  out.base_url = flags.url.empty() ? (*variables)("COGNIVE_URL").value_or("http://127.0.0.1:8000") : flags.url;
  const auto directory = flags.data.empty() ? default_data_directory() : std::filesystem::path(flags.data);
  if (!flags.key.empty()) {
    out.api_key = flags.key;
    out.api_key_source = "--api-key";
  } else if (auto key = (*variables)("COGNIVE_API_KEY"); key && !key->empty()) {
    out.api_key = *key;
    out.api_key_source = "COGNIVE_API_KEY";
  } else if (auto file = read_file(directory / "api-key")) {
    out.api_key = trim(*file);
    out.api_key_source = (directory / "api-key").string();
  } else {
    return fail(Code::unauthenticated,
                "no API key: pass --api-key, set COGNIVE_API_KEY, or start `cognive up` on this machine first");
  }
  out.authority_file = (*variables)("COGNIVE_CA_FILE").value_or("");
  out.on_retry = [](const Error& reason, std::chrono::milliseconds wait) {
    std::fprintf(stderr, "cognive: %s Trying again in %.1f s.\n", reason.detail.c_str(),
                 static_cast<double>(wait.count()) / 1000);
  };
  return out;
}

pg::MonitorOptions monitor_options(const Settings& settings) {
  return {.primary_url = settings.database_url,
          .read_urls = settings.database_read_urls,
          .interval = std::chrono::milliseconds{settings.database_probe_interval_ms},
          .lag_max = std::chrono::milliseconds{settings.database_replica_lag_max_ms}};
}

Result<redis::ClientOptions> redis_options(const Settings& settings) {
  auto url = redis::parse_url(settings.redis_url);
  if (!url) return fail(url.error().code, "REDIS_URL: " + url.error().detail);
  return redis::ClientOptions{.url = std::move(*url),
                              .connect_timeout = settings.redis_connect_timeout,
                              .reply_timeout = settings.redis_timeout};
}

Variables without_database(Variables variables) {
  return [inner = std::move(variables)](std::string_view name) {
    auto value = inner(name);
    return value || name != "DATABASE_URL" ? value : "postgresql:///";
  };
}

int with_store(const std::string& data, DatabaseUrl database,
               const std::function<int(Settings&, objects::Store&)>& task) {
  const auto variables = tool_variables(data);
  if (!variables) return explain(variables.error());
  auto settings = load_settings(database == DatabaseUrl::unused ? without_database(*variables) : *variables);
  if (!settings) return explain(settings.error());
  const auto store = objects::open_store(*settings);
  if (!store) return explain(store.error());
  if (*store == nullptr) return explain(objects::Objects::not_configured());
  return task(*settings, **store);
}

Result<void> open_storage(const Settings& settings, objects::Storage& storage) {
  auto store = objects::open_store(settings);
  if (!store) return std::unexpected(std::move(store.error()));
  storage.store = std::move(*store);
  storage.bucket_prefix = settings.storage_bucket_prefix;
  return {};
}

Result<RabbitMq> rabbitmq_of(const Settings& settings) {
  constexpr std::size_t queue_length_max = 255;  // of a short string of AMQP 0-9-1
  auto url = amqp::parse_url(settings.rabbitmq_url);
  if (!url) return fail(url.error().code, "RABBITMQ_URL: " + url.error().detail);
  RabbitMq out{.url = std::move(*url), .task_queues = {}};
  std::istringstream list(settings.celery_queues);
  for (std::string part; std::getline(list, part, ',');) {
    const auto queue = trim(part);
    if (queue.empty()) continue;
    if (queue.size() > queue_length_max)
      return fail(Code::unprocessable, "CELERY_QUEUES: a name of a queue has at most 255 bytes.");
    out.task_queues.emplace_back(queue);
  }
  if (out.task_queues.empty()) return fail(Code::unprocessable, "CELERY_QUEUES names no queue.");
  return out;
}

Async<std::string> primary_url(Settings settings) {
  // Alone it has nobody to be compared with, and connecting says best what is wrong with it.
  if (settings.database_read_urls.empty()) co_return settings.database_url;
  Metrics metrics;
  pg::Monitor monitor(co_await boost::asio::this_coro::executor, monitor_options(settings), metrics);
  co_await monitor.start(Deadline::in(first_look_timeout));
  const auto topology = monitor.topology();
  co_await monitor.stop(Deadline::in(first_look_timeout));
  if (!topology->primary) throw Unavailable("no primary database: " + topology->no_primary);
  co_return monitor.options().urls()[*topology->primary];
}

int explain(const Error& error) {
  std::fprintf(stderr, "cognive: %s\n", error.detail.c_str());
  for (const auto& field : error.fields) {
    if (field.message == error.detail) continue;
    std::fprintf(stderr, "  %s: %s%s%s\n", field.pointer.c_str(), field.message.c_str(),
                 field.rejected.empty() ? "" : " Rejected: ", field.rejected.c_str());
  }
  return 1;
}

int with_database(const Settings& settings, std::chrono::milliseconds timeout, const DatabaseTask& task) {
  int status = 1;
  Metrics metrics;
  const auto body = [&]() -> Async<> {
    const auto executor = co_await boost::asio::this_coro::executor;
    pg::Monitor monitor(executor, monitor_options(settings), metrics);
    co_await monitor.start(Deadline::in(std::min(timeout, first_look_timeout)));
    pg::PoolOptions options;
    options.statement_timeout = timeout;
    pg::Cluster database(executor, std::move(options), monitor, metrics);
    Call call;
    call.principal.kind = Principal::Kind::operator_;
    call.principal.permissions = {"*"};
    call.request_id = Uuid::make().text();
    call.deadline = Deadline::in(timeout);
    status = co_await task(database, call);
    co_await database.close();
    co_await monitor.stop(Deadline::in(first_look_timeout));
  };
  try {
    run_to_end(body());
  } catch (const pg::SqlError& error) {
    if (error.state() != pg::sqlstate::undefined_table) throw;
    return explain({Code::conflict, "the database has no tables yet: run `cognive migrate upgrade head` first", {}});
  }
  return status;
}

int with_installation(const Settings& settings, std::chrono::milliseconds timeout, Access access,
                      const InstallationTask& task) {
  return with_database(settings, timeout, [&](pg::Cluster& database, const Call& call) -> Async<int> {
    const keyring::RootKey root(settings.master_key);
    Result<void> known;
    if (access == Access::proves) known = co_await keyring::unlock(database, root, call);
    if (access == Access::changes) known = co_await keyring::unlock_or_make(database, root, call);
    if (!known) co_return explain(known.error());
    co_return co_await task(database, call, root);
  });
}

}  // namespace cognive::commands
