// `cognive healthcheck`: readiness as an exit status, for containers and scripts.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "client/http.hpp"
#include "commands/command.hpp"
#include "commands/local.hpp"

namespace cognive::commands {
namespace {

constexpr std::chrono::seconds timeout{5};

struct Flags {
  std::string url;
  std::string data;
};

int healthcheck(const Flags& flags) {
  const auto variables = tool_variables(flags.data);
  if (!variables) return explain(variables.error());
  const auto base = flags.url.empty() ? (*variables)("COGNIVE_URL").value_or("http://127.0.0.1:8000") : flags.url;
  const auto url = base + "/api/v1/health/readiness";
  client::HttpClient http("", (*variables)("COGNIVE_CA_FILE").value_or(""));
  const auto response = http.send({.method = "GET", .url = url, .body = "", .content_type = ""}, timeout);
  if (!response) return explain(response.error());
  std::printf("%s\n", response->body.c_str());
  return response->status == 200 ? 0 : 1;
}

}  // namespace

void add_healthcheck(CLI::App& root, Action& chosen) {
  auto* command = root.add_subcommand("healthcheck", "Exit with 0 when the server is ready, with 1 otherwise");
  const auto flags = std::make_shared<Flags>();
  command->add_option("--url", flags->url, "The server; COGNIVE_URL, else the one of this machine's `cognive up`");
  command->add_option("--data", flags->data, "Data directory of a `cognive up` on this machine");
  command->callback([flags, &chosen] { chosen = [flags] { return healthcheck(*flags); }; });
}

}  // namespace cognive::commands
