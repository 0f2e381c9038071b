// `cognive up`: the embedded default. A private PostgreSQL, migrated, with prices, a first admin and a first key, and
// the API.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/crypto.hpp"
#include "base/resources.hpp"
#include "base/text.hpp"
#include "commands/api_server.hpp"
#include "commands/background.hpp"
#include "commands/command.hpp"
#include "commands/costs.hpp"
#include "commands/local.hpp"
#include "embedded/cluster.hpp"
#include "http/server.hpp"
#include "identity/keys.hpp"
#include "identity/users.hpp"
#include "imports/azure_import.hpp"
#include "imports/progress.hpp"
#include "keyring/slots.hpp"
#include "observe/log.hpp"
#include "prices/prices.hpp"
#include "runtime/threads.hpp"
#include "schema/migrator.hpp"

namespace cognive::commands {
namespace {

constexpr std::chrono::seconds setup_timeout{60};
constexpr std::chrono::milliseconds watch_interval{500};
constexpr std::string_view admin_email = "admin@localhost";

struct Flags {
  std::string data;
  int port = -1;
  int replicas = 0;
  bool demo = false;
  bool once = false;
};

// What is made on the first start and shown once.
struct Secrets {
  std::string admin_password;
  std::string api_key;
};

// The content of a private file; made by `make` when there is none.
Result<std::string> private_file(const embedded::DataDirectory& directory, const std::string& name,
                                 const std::function<std::string()>& make) {
  auto content = directory.read_private(name);
  if (!content) return std::unexpected(content.error());
  if (*content) return std::string(trim(**content));
  auto made = make();
  if (auto written = directory.write_private(name, made + "\n"); !written) return std::unexpected(written.error());
  return made;
}

// Our own servers, whatever the environment says of servers; everything else may be tuned there.
Result<Settings> settings_for(const Flags& flags, const std::string& database_url, const std::string& master_key,
                              const std::string& objects) {
  const auto process = process_variables();
  if (!process) return std::unexpected(process.error());
  const auto variables = [&](std::string_view name) -> std::optional<std::string> {
    if (name == "DATABASE_URL") return database_url;
    if (name == "COGNIVE_MASTER_KEY") return master_key;
    if (name == "STORAGE_DIRECTORY") return objects;
    for (const std::string_view server :
         {"DATABASE_URL_ASYNC", "DATABASE_READ_URLS", "DATABASE_READ_URLS_ASYNC", "REDIS_URL", "RABBITMQ_URL",
          "STORAGE_ENDPOINT", "STORAGE_BUCKET_PREFIX", "COGNIVE_MASTER_KEY_FILE", "READINESS_REQUIRES"}) {
      if (name == server) return std::nullopt;
    }
    auto value = (*process)(name);
    // Whoever tries it out on a laptop does not expect that anything disappears by itself.
    if (name == "RETENTION_DAYS" && (!value || trim(*value).empty())) return "0";
    return value;
  };
  auto settings = load_settings(variables);
  if (settings && flags.port >= 0) settings->http_port = flags.port;
  return settings;
}

Async<Result<void>> migrate(std::string url) {
  const auto executor = co_await boost::asio::this_coro::executor;
  auto migrator = co_await schema::Migrator::open(executor, std::move(url), schema::History::embedded(),
                                                  Deadline::in(setup_timeout));
  co_return co_await migrator->upgrade("head", [](const schema::Revision& revision) {
    log(Level::info, "applying a revision", {{"revision", revision.id}, {"what", revision.message}});
  });
}

// Prices, admin, key: whatever is missing, in an order that a crash in between repairs on the next start.
Async<Result<Secrets>> prepare(pg::Cluster& database, const Call& call, const Settings& settings, bool has_api_key) {
  auto data = prices::read_data_set(std::string(resource("data/prices.json")));
  if (!data) co_return std::unexpected(data.error());
  const keyring::RootKey root(settings.master_key);
  if (const auto known = co_await keyring::unlock_or_make(database, root, call); !known)
    co_return std::unexpected(known.error());
  const audit::Trail trail(root);
  prices::CurrentCatalogue catalogue;
  prices::Prices prices(database, trail, catalogue);
  const auto report = co_await prices.import_if_newer(call, std::move(*data));
  log(Level::info, "price catalogue",
      {{"models_added", report.models_added}, {"versions_added", report.versions_added}});

  identity::Passwords passwords;
  identity::Users users(database, trail, passwords);
  identity::KeyLimits key_limits;
  identity::Keys keys(database, trail, identity::SecretHasher(root), key_limits);
  Secrets secrets;
  const bool has_users = co_await users.has_users(call.deadline);
  if (!has_users) {
    constexpr std::size_t password_length = 20;
    secrets.admin_password = random_token(password_length);
    identity::UserCreate request{.email = std::string(admin_email),
                                 .name = "First admin",
                                 .password = secrets.admin_password,
                                 .roles = {{.role = identity::Role::admin}}};
    const auto created = co_await users.create(call, std::move(request));
    if (!created) co_return std::unexpected(created.error());
  }
  if (!has_api_key) {
    identity::ApiKeyCreate request{.name = "first key", .permissions = {"*"}};
    auto created = co_await keys.create(call, std::move(request));
    if (!created) co_return std::unexpected(created.error());
    secrets.api_key = std::move(created->key);
  }
  co_return secrets;
}

std::string shell_quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

// `database_urls`: of all nodes; in a failover they exchange their roles, and one of them may be down just now.
Result<void> write_environment(const embedded::DataDirectory& directory, const embedded::Cluster& cluster,
                               std::vector<std::string> database_urls, const std::string& url,
                               const std::string& api_key, const Settings& settings) {
  std::string text = "# How to reach this installation; written by `cognive up` at every start. Use: . this-file\n";
  const auto add = [&](std::string_view name, std::string_view value) {
    text += fmt::format("export {}={}\n", name, shell_quoted(value));
  };
  std::erase(database_urls, cluster.tcp_url());
  add("DATABASE_URL", cluster.tcp_url());
  add("DATABASE_READ_URLS", fmt::format("{}", fmt::join(database_urls, ",")));
  add("COGNIVE_URL", url);
  add("COGNIVE_API_KEY", api_key);
  add("COGNIVE_MASTER_KEY_FILE", (directory.root() / "master-key").string());
  add("AUDIT_ARCHIVE_FILE", settings.audit_archive_file);
  add("STORAGE_DIRECTORY", settings.storage_directory);
  // The server's own certificate: whoever may read this may trust it.
  if (!settings.tls_certificate_file.empty()) add("COGNIVE_CA_FILE", settings.tls_certificate_file);
  return directory.write_private("env", text);
}

std::string public_url(const Settings& settings, std::uint16_t port) {
  const bool every_address = settings.http_host == "0.0.0.0" || settings.http_host == "::";
  return fmt::format("{}://{}:{}", settings.tls_certificate_file.empty() ? "http" : "https",
                     every_address ? "127.0.0.1" : settings.http_host, port);
}

void print_secrets(const Secrets& secrets, const std::filesystem::path& directory) {
  if (!secrets.admin_password.empty()) {
    std::printf("Made for this installation, shown once:\n  admin    %s  password %s\n",
                std::string(admin_email).c_str(), secrets.admin_password.c_str());
  }
  if (!secrets.api_key.empty()) {
    std::printf("  API key  %s  (also in %s)\n\n", secrets.api_key.c_str(), (directory / "api-key").c_str());
  }
  std::fflush(stdout);
}

void print_ready(const std::string& url, const std::filesystem::path& directory, const embedded::Cluster& cluster,
                 bool keeps_serving) {
  std::printf("Cognive is ready at %s\n", url.c_str());
  const auto nodes = cluster.nodes();
  if (nodes.size() > 1) {
    for (const auto& node : nodes) {
      std::printf("  %-13s  %s at 127.0.0.1:%d\n", node.name.c_str(), node.is_primary ? "takes the writes" : "replica",
                  node.port);
    }
    std::printf("  how they are   cognive replication status --data %s\n", directory.c_str());
  }
  std::printf("  documentation  %s/docs\n", url.c_str());
  std::printf("  this shell     . %s\n", (directory / "env").c_str());
  if (keeps_serving) std::printf("  stop           Ctrl-C\n");
  std::fflush(stdout);
}

// The main job on real input: the shipped trace through the public API, once per model, and what it cost.
Result<void> demonstrate(const std::string& url, const std::string& api_key, const std::string& authority_file) {
  const auto trace =
      imports::parse_azure_trace(std::string(resource("data/azure-llm-trace-sample.csv")), "the shipped trace");
  if (!trace) return std::unexpected(trace.error());
  client::ApiClient api(
      {.base_url = url, .api_key = api_key, .api_key_source = "the data directory", .authority_file = authority_file});
  std::printf("\nA real trace of LLM traffic (%s calls), reported by three agents through the API:\n\n",
              grouped(static_cast<long long>(trace->rows.size())).c_str());
  std::fflush(stdout);
  struct Demo {
    const char* agent;
    const char* model;
  };
  for (const auto& [agent, model] :
       {Demo{"chat-gpt", "gpt-4o"}, Demo{"chat-claude", "claude-sonnet-4-5"}, Demo{"chat-gemini", "gemini-2.5-pro"}}) {
    const imports::ImportOptions options{.agent = agent, .model = model, .environment = "demo"};
    imports::ProgressBar bar(std::string("importing ") + agent, "calls");
    const auto summary =
        imports::import_azure_trace(api, *trace, options, [&](imports::Progress progress) { bar.update(progress); });
    if (!summary) return std::unexpected(summary.error());
  }
  const auto table = costs_table(api);
  if (!table) return std::unexpected(table.error());
  std::printf("%s\nAgents: %s/api/v1/agents   Runs: %s/api/v1/runs   Costs: %s/api/v1/analytics/costs\n",
              table->c_str(), url.c_str(), url.c_str(), url.c_str());
  std::fflush(stdout);
  return {};
}

// Settings, log and port, before anything is started: what is wrong there should cost nothing.
Result<Settings> begin(const Flags& flags, const embedded::DataDirectory& directory) {
  // A new one would open nothing of what is there.
  const auto kept = directory.read_private("master-key");
  if (kept && !*kept && std::filesystem::exists(directory.root() / "api-key")) {
    return fail(Code::conflict, fmt::format("{} is missing, and the installation was made with it: restore it.",
                                            (directory.root() / "master-key").native()));
  }
  const auto master_key = private_file(directory, "master-key", [] {
    std::array<std::uint8_t, 32> bytes;
    random_bytes(bytes);
    return to_hex(bytes);
  });
  if (!master_key) return std::unexpected(master_key.error());
  auto settings = settings_for(flags, "postgresql://to-be-started", *master_key, directory.objects().native());
  if (!settings) return settings;
  if (settings->audit_archive_file.empty())
    settings->audit_archive_file = (directory.root() / "audit-archive.jsonl").native();
  Level level = Level::info;
  parse_level(settings->log_level, level);
  log_to_file((directory.log() / "cognive.log").string(), level);
  if (settings->http_port != 0) {
    const auto port = static_cast<std::uint16_t>(settings->http_port);
    if (const auto free = http::check_port_free(settings->http_host, port); !free) return std::unexpected(free.error());
  }
  return settings;
}

// Brings the database up to this binary. The secrets that were made; the API key is in DIR/api-key afterwards in any
// case.
Result<Secrets> set_up(const Settings& settings, const embedded::DataDirectory& directory) {
  if (auto migrated = run(migrate(settings.database_url)); !migrated) return std::unexpected(migrated.error());
  const auto api_key = directory.read_private("api-key");
  if (!api_key) return std::unexpected(api_key.error());
  Result<Secrets> secrets;
  with_database(settings, setup_timeout, [&](pg::Cluster& database, const Call& call) -> Async<int> {
    secrets = co_await prepare(database, call, settings, api_key->has_value());
    co_return 0;
  });
  if (secrets && !secrets->api_key.empty()) {
    auto written = directory.write_private("api-key", secrets->api_key + "\n");
    if (!written) return std::unexpected(written.error());
  }
  return secrets;
}

// Until a signal comes, or PostgreSQL cannot be kept up. `changed` is called when another node has become the primary.
// The exit status.
int watch(StopSignals& signals, embedded::Cluster& cluster, const std::function<Result<void>()>& changed) {
  auto primary = cluster.primary().name();
  while (!signals.wait(watch_interval)) {
    const auto news = cluster.watch();
    if (!news) return explain(news.error());
    for (const auto& line : *news) {
      log(Level::warning, "embedded PostgreSQL", {{"news", line}});
      std::fprintf(stderr, "cognive: %s\n", line.c_str());
    }
    if (primary == cluster.primary().name()) continue;
    primary = cluster.primary().name();
    if (const auto done = changed(); !done) return explain(done.error());
  }
  return 0;
}

// So many that every I/O thread gets all of its connections, and tools and people some.
int connections_for(const Settings& settings) {
  constexpr std::int64_t shared = 2;
  constexpr std::int64_t others = 40;
  constexpr std::int64_t least = 100;
  const auto of_the_api = settings.http_threads * (settings.database_connections + shared);
  return static_cast<int>(std::max(least, of_the_api + background_connections(settings) + others));
}

int up(const Flags& flags) {
  StopSignals signals;
  const auto user = embedded::Identity::unprivileged();
  if (!user) return explain(user.error());
  const auto path = flags.data.empty() ? default_data_directory() : std::filesystem::path(flags.data);
  const auto directory = embedded::DataDirectory::open(path, *user);
  if (!directory) return explain(directory.error());
  auto settings = begin(flags, *directory);
  if (!settings) return explain(settings.error());

  const auto interrupted = [&signals] { return signals.wait(std::chrono::milliseconds{0}); };
  auto cluster = embedded::Cluster::start(
      *directory,
      {.replicas = flags.replicas, .max_connections = connections_for(*settings), .interrupted = interrupted});
  if (!cluster) return explain(cluster.error());
  settings->database_url = cluster->socket_url();
  settings->database_read_urls = cluster->replica_socket_urls();
  const auto secrets = set_up(*settings, *directory);
  if (!secrets) return explain(secrets.error());
  print_secrets(*secrets, directory->root());  // at once: they are stored, and shown never again
  const auto stored_key = directory->read_private("api-key");
  if (!stored_key) return explain(stored_key.error());
  const std::string key(trim(stored_key->value_or("")));

  ApiServer server(*settings);
  const auto port = server.start();
  if (!port) return explain(port.error());
  const auto url = public_url(*settings, *port);
  auto database_urls = cluster->replica_tcp_urls();
  database_urls.push_back(cluster->tcp_url());
  const auto write_env = [&] { return write_environment(*directory, *cluster, database_urls, url, key, *settings); };
  if (const auto written = write_env(); !written) return explain(written.error());
  print_ready(url, directory->root(), *cluster, !flags.once);

  int status = 0;
  if (flags.demo) {
    if (const auto shown = demonstrate(url, key, settings->tls_certificate_file); !shown)
      status = explain(shown.error());
  }
  if (!flags.once) status = watch(signals, *cluster, write_env);
  server.stop();
  cluster->stop();
  return status;
}

}  // namespace

void add_up(CLI::App& root, Action& chosen) {
  auto* command = root.add_subcommand(
      "up",
      "Start everything on this machine: a private PostgreSQL, migrated, with prices, a first admin and\n"
      "API key (shown once), and the API. Ctrl-C stops all of it; the data stays.");
  const auto flags = std::make_shared<Flags>();
  command->add_option("--data", flags->data,
                      "Where to keep everything; COGNIVE_DATA, else " + usual_data_directory().string());
  command->add_option("--port", flags->port, "Port of the API; HTTP_PORT, else 8000; 0 picks a free one")
      ->check(CLI::Range(0, 65535));
  command->add_option("--replicas", flags->replicas, "Streaming replicas beside the primary; reads go to them")
      ->check(CLI::Range(0, embedded::replicas_max));
  command->add_flag("--demo", flags->demo, "Import the shipped trace of real LLM traffic and show what it cost");
  command->add_flag("--once", flags->once, "Stop again as soon as everything is up (and shown)");
  command->callback([flags, &chosen] { chosen = [flags] { return up(*flags); }; });
}

}  // namespace cognive::commands
