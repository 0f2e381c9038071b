// `cognive openapi`: the API description, without a server.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "commands/api_server.hpp"
#include "commands/command.hpp"
#include "commands/local.hpp"

namespace cognive::commands {
namespace {

int openapi() {
  // The title may be tuned as for a server; no database is asked.
  const auto variables = process_variables();
  if (!variables) return explain(variables.error());
  const auto settings = load_settings([&](std::string_view name) -> std::optional<std::string> {
    if (name == "APP_NAME") return (*variables)(name);
    return name == "DATABASE_URL" ? std::optional<std::string>("postgresql://unused") : std::nullopt;
  });
  if (!settings) return explain(settings.error());
  std::printf("%s\n", openapi_document(*settings).c_str());
  return 0;
}

}  // namespace

void add_openapi(CLI::App& root, Action& chosen) {
  auto* command = root.add_subcommand("openapi", "Print the OpenAPI description of this binary's API");
  command->callback([&chosen] { chosen = openapi; });
}

}  // namespace cognive::commands
