// `cognive serve`: the API against the servers that the environment names.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "commands/api_server.hpp"
#include "commands/command.hpp"
#include "commands/local.hpp"
#include "commands/table.hpp"
#include "observe/log.hpp"
#include "runtime/threads.hpp"
#include "schema/migrator.hpp"

namespace cognive::commands {
namespace {

constexpr std::chrono::minutes lock_timeout{15};  // another process may be building an index
constexpr std::chrono::seconds look_timeout{5};

struct Flags {
  int port = -1;
  bool migrate = false;
  bool print_settings = false;
};

void print_settings(const Settings& settings) {
  Table table({{"variable"}, {"value"}, {"meaning"}});
  for (auto& row : describe(settings)) table.add({row.name, row.value, row.meaning});
  std::fputs(table.text().c_str(), stdout);
}

Async<schema::Fit> look_at_tables(const Settings& settings) {
  const auto executor = co_await boost::asio::this_coro::executor;
  auto url = co_await primary_url(settings);
  const auto connection =
      co_await pg::Connection::open(executor, std::move(url), look_timeout, Deadline::in(look_timeout));
  const auto state = co_await schema::read_state(*connection, schema::History::embedded(), Deadline::in(look_timeout));
  co_return schema::fit_of(state, schema::History::embedded());
}

Async<Result<void>> bring_forward(const Settings& settings) {
  const auto executor = co_await boost::asio::this_coro::executor;
  auto url = co_await primary_url(settings);
  const auto migrator =
      co_await schema::Migrator::open(executor, std::move(url), schema::History::embedded(), Deadline::in(lock_timeout),
                                      [] { log(Level::info, "waiting for another migration to end"); });
  co_return co_await migrator->upgrade("head", [](const schema::Revision& revision) {
    log(Level::info, "applying a revision", {{"revision", revision.id}, {"what", revision.message}});
  });
}

// Whether the tables are such that this version can serve. A database that is away is no reason not to start:
// readiness tells of it, and looks again each time. One that is to be brought forward first is.
Result<void> check_tables(const Settings& settings, bool migrate) {
  schema::Fit fit;
  try {
    fit = run(look_at_tables(settings));
  } catch (const Unavailable& error) {
    if (migrate) throw;
    log(Level::warning, "the tables could not be looked at yet", {{"reason", error.what()}});
    return {};
  }
  if (fit.usable()) return {};
  const bool can_be_brought = fit.kind == schema::Fit::Kind::empty || fit.kind == schema::Fit::Kind::older;
  if (migrate && can_be_brought) return run(bring_forward(settings));
  return fail(Code::conflict, fit.detail + (can_be_brought ? ", or start with --migrate" : ""));
}

int serve(const Flags& flags) {
  StopSignals signals;
  const auto variables = process_variables();
  if (!variables) return explain(variables.error());
  auto settings = load_settings(*variables, flags.print_settings ? MasterKey::optional : MasterKey::required);
  if (!settings) return explain(settings.error());
  if (flags.port >= 0) settings->http_port = flags.port;
  if (flags.print_settings) {
    print_settings(*settings);
    return 0;
  }
  Level level = Level::info;
  parse_level(settings->log_level, level);
  log_to_stderr(level);
  if (const auto fine = check_tables(*settings, flags.migrate); !fine) return explain(fine.error());
  ApiServer server(std::move(*settings));
  const auto port = server.start();
  if (!port) return explain(port.error());
  while (!signals.wait(std::chrono::hours{1})) {
  }
  server.stop();
  return 0;
}

}  // namespace

void add_serve(CLI::App& root, Action& chosen) {
  auto* command =
      root.add_subcommand("serve", "Serve the API against the servers named by the environment (DATABASE_URL, …)");
  const auto flags = std::make_shared<Flags>();
  command->add_option("--port", flags->port, "Port to listen on; overrides HTTP_PORT")->check(CLI::Range(0, 65535));
  command->add_flag("--migrate", flags->migrate, "Bring the tables up to this version first, if they are older");
  command->add_flag("--print-settings", flags->print_settings, "Print the settings in force, secrets masked, and exit");
  command->callback([flags, &chosen] { chosen = [flags] { return serve(*flags); }; });
}

}  // namespace cognive::commands
