// `cognive serve`: the API against the servers that the environment names.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "commands/api_server.hpp"
#include "commands/command.hpp"
#include "commands/local.hpp"
#include "commands/schema_fit.hpp"
#include "commands/table.hpp"
#include "observe/log.hpp"
#include "runtime/threads.hpp"

namespace cognive::commands {
namespace {

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
