// `cognive import`: real traffic from files, as a client of the API.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/text.hpp"
#include "commands/command.hpp"
#include "commands/local.hpp"
#include "imports/azure_import.hpp"
#include "imports/progress.hpp"
#include "json/writer.hpp"

namespace cognive::commands {
namespace {

struct Flags : ApiFlags {
  std::string file;
  std::string agent;
  std::string model;
  std::string provider;
  std::string environment;
  bool json = false;
};

void print(const imports::ImportSummary& summary, const Flags& flags) {
  if (flags.json) {
    json::Writer out;
    out.begin_object();
    out.field("agent_id", summary.agent_id.text());
    out.field("run_id", summary.run_id.text());
    for (const auto& [name, value] :
         {std::pair<std::string_view, std::int64_t>{"rows", static_cast<std::int64_t>(summary.rows)},
          {"accepted", summary.accepted},
          {"duplicates", summary.duplicates},
          {"input_tokens", summary.input_tokens},
          {"output_tokens", summary.output_tokens}}) {
      out.key(name);
      out.integer(value);
    }
    out.end_object();
    std::printf("%s\n", out.text().c_str());
    return;
  }
  std::printf("%s rows as LLM calls of agent %s (%s): %s new, %s known already\n",
              grouped(static_cast<long long>(summary.rows)).c_str(), flags.agent.c_str(), flags.model.c_str(),
              grouped(summary.accepted).c_str(), grouped(summary.duplicates).c_str());
  std::printf("%s input tokens, %s output tokens, %.1f s\n", grouped(summary.input_tokens).c_str(),
              grouped(summary.output_tokens).c_str(), summary.seconds);
  std::printf("run %s\n", summary.run_id.text().c_str());
}

int import_azure_trace(const Flags& flags) {
  const auto trace = imports::read_azure_trace(flags.file);
  if (!trace) return explain(trace.error());
  auto options = api_options(flags);
  if (!options) return explain(options.error());
  client::ApiClient api(std::move(*options));
  imports::ImportOptions import{.agent = flags.agent, .model = flags.model};
  if (!flags.provider.empty()) import.provider = flags.provider;
  if (!flags.environment.empty()) import.environment = flags.environment;
  imports::ProgressBar bar("importing", "rows");
  const auto summary =
      imports::import_azure_trace(api, *trace, import, [&](imports::Progress progress) { bar.update(progress); });
  if (!summary) return explain(summary.error());
  bar.finish();
  print(*summary, flags);
  return 0;
}

}  // namespace

void add_import(CLI::App& root, Action& chosen) {
  auto* import = root.add_subcommand("import", "Import traffic from files through the API");
  import->require_subcommand(1);
  auto* azure =
      import->add_subcommand("azure-trace",
                             "Import an Azure LLM inference trace (CSV: TIMESTAMP,ContextTokens,GeneratedTokens).\n"
                             "A second import of the same file for the same agent changes nothing.");
  const auto flags = std::make_shared<Flags>();
  azure->add_option("file", flags->file, "The trace")->required();
  azure->add_option("--agent", flags->agent, "Name of the agent; registered if new")->required();
  azure->add_option("--model", flags->model, "The model that the calls went to, for instance gpt-4o")->required();
  azure->add_option("--provider", flags->provider, "The provider; guessed from the model when absent");
  azure->add_option("--environment", flags->environment, "Environment of a new agent");
  azure->add_option("--url", flags->url, "The server; COGNIVE_URL, else the one of this machine's `cognive up`");
  azure->add_option("--api-key", flags->key, "COGNIVE_API_KEY, else DIR/api-key");
  azure->add_option("--data", flags->data, "Data directory of a `cognive up` on this machine");
  azure->add_flag("--json", flags->json, "Print the summary as JSON");
  azure->callback([flags, &chosen] { chosen = [flags] { return import_azure_trace(*flags); }; });
}

}  // namespace cognive::commands
