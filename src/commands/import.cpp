// `cognive import`: real traffic from files, as a client of the API.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "agents/policy.hpp"
#include "base/text.hpp"
#include "commands/command.hpp"
#include "commands/local.hpp"
#include "commands/table.hpp"
#include "imports/azure_import.hpp"
#include "imports/progress.hpp"
#include "imports/tau_bench_import.hpp"
#include "json/writer.hpp"

namespace cognive::commands {
namespace {

struct Flags : ApiFlags {
  std::string file;
  std::string agent;
  std::string model;
  std::string provider;
  std::string environment;
  std::string store;       // of tau-bench alone
  bool authorise = false;  // of azure-trace alone
  bool json = false;
};

void print_refused(const imports::ImportSummary& summary) {
  using Align = Table::Align;
  Table table({{""}, {"calls", Align::right}, {"USD", Align::right}});
  table.add({"accepted", grouped(summary.accepted + summary.duplicates), summary.accepted_cost.text()});
  table.add({"refused", grouped(summary.refused.rows), summary.refused.cost.text()});
  std::fputs(table.text().c_str(), stdout);
  if (summary.refused.unpriced > 0)
    std::printf("%s of the refused calls met a budget that does not count money: their cost is not in the sum\n",
                grouped(summary.refused.unpriced).c_str());
  if (summary.refused.rows > 0)
    std::printf("the run is left open: with more room, a repeat imports what was refused\n");
}

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
    if (flags.authorise) {
      out.key("refused");
      out.integer(summary.refused.rows);
      out.key("accepted_cost_usd");
      out.raw(summary.accepted_cost.text());
      out.key("refused_cost_usd");
      out.raw(summary.refused.cost.text());
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
  if (flags.authorise) print_refused(summary);
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
  import.authorise = flags.authorise;
  imports::ProgressBar bar(flags.authorise ? "asking and importing" : "importing", "rows");
  const auto summary =
      imports::import_azure_trace(api, *trace, import, [&](imports::Progress progress) { bar.update(progress); });
  if (!summary) return explain(summary.error());
  bar.finish();
  print(*summary, flags);
  return 0;
}

std::string grouped_size(std::size_t number) {
  return grouped(static_cast<long long>(number));
}

void print(const imports::TauBench& file, const imports::TauBenchSummary& summary, const Flags& flags) {
  if (flags.json) {
    json::Writer out;
    out.begin_object();
    out.field("agent_id", summary.agent_id.text());
    for (const auto& [name, value] : {std::pair<std::string_view, std::size_t>{"runs", file.trajectories},
                                      {"succeeded", file.succeeded},
                                      {"failed", file.trajectories - file.succeeded},
                                      {"turns", file.turns},
                                      {"llm_calls", file.llm_calls},
                                      {"tool_invocations", file.tool_invocations},
                                      {"events", summary.events},
                                      {"accepted", static_cast<std::size_t>(summary.accepted)},
                                      {"duplicates", static_cast<std::size_t>(summary.duplicates)},
                                      {"ended_otherwise", summary.ended_otherwise}}) {
      out.key(name);
      out.unsigned_integer(value);
    }
    out.end_object();
    std::printf("%s\n", out.text().c_str());
    return;
  }
  std::printf("%s events of agent %s (%s): %s new, %s known already, %.1f s\n", grouped_size(summary.events).c_str(),
              flags.agent.c_str(), flags.model.c_str(), grouped(summary.accepted).c_str(),
              grouped(summary.duplicates).c_str(), summary.seconds);
  Table table({{"runs", Table::Align::right},
               {"succeeded", Table::Align::right},
               {"failed", Table::Align::right},
               {"turns", Table::Align::right},
               {"LLM calls", Table::Align::right},
               {"tool invocations", Table::Align::right}});
  table.add({grouped_size(file.trajectories), grouped_size(file.succeeded),
             grouped_size(file.trajectories - file.succeeded), grouped_size(file.turns), grouped_size(file.llm_calls),
             grouped_size(file.tool_invocations)});
  std::printf("%s", table.text().c_str());
  if (summary.ended_otherwise > 0) {
    std::printf("%s of the runs had ended in another way before (terminated, for instance) and were left so\n",
                grouped_size(summary.ended_otherwise).c_str());
  }
}

int import_tau_bench(const Flags& flags) {
  auto file = imports::read_tau_bench(flags.file);
  if (!file) return explain(file.error());
  auto options = api_options(flags);
  if (!options) return explain(options.error());
  client::ApiClient api(std::move(*options));
  imports::TauBenchOptions import{.agent = flags.agent, .model = flags.model};
  if (!flags.provider.empty()) import.provider = flags.provider;
  if (!flags.environment.empty()) import.environment = flags.environment;
  if (!flags.store.empty()) import.store = flags.store;
  imports::ProgressBar bar("importing", "runs");
  const auto summary =
      imports::import_tau_bench(api, *file, import, [&](imports::Progress progress) { bar.update(progress); });
  if (!summary) return explain(summary.error());
  bar.finish();
  print(*file, *summary, flags);
  return 0;
}

void add_flags(CLI::App& command, Flags& flags, const std::string& file) {
  command.add_option("file", flags.file, file)->required();
  command.add_option("--agent", flags.agent, "Name of the agent; registered if new")->required();
  command.add_option("--model", flags.model, "The model that the calls went to, for instance gpt-4o")->required();
  command.add_option("--provider", flags.provider, "The provider; guessed from the model when absent");
  command.add_option("--environment", flags.environment, "Environment of a new agent");
  command.add_option("--url", flags.url, "The server; COGNIVE_URL, else the one of this machine's `cognive up`");
  command.add_option("--api-key", flags.key, "COGNIVE_API_KEY, else DIR/api-key");
  command.add_option("--data", flags.data, "Data directory of a `cognive up` on this machine");
  command.add_flag("--json", flags.json, "Print the summary as JSON");
}

std::vector<std::string> store_names() {
  std::vector<std::string> names;
  for (const auto& [value, name] : enum_names(agents::Store{})) names.emplace_back(name);
  return names;
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
  add_flags(*azure, *flags, "The trace");
  azure->add_flag("--authorize", flags->authorise,
                  "Ask before each request whether the agent's budgets have room for it, in the order of the file;\n"
                  "what they refuse is not imported. Shows what a budget would have stopped.");
  azure->callback([flags, &chosen] { chosen = [flags] { return import_azure_trace(*flags); }; });

  auto* tau = import->add_subcommand("tau-bench",
                                     "Import trajectories of agents as tau-bench writes them (JSON): each is a run.\n"
                                     "A second import of the same file for the same agent changes nothing.");
  const auto tau_flags = std::make_shared<Flags>();
  add_flags(*tau, *tau_flags, "The trajectories");
  tau->add_option("--store", tau_flags->store,
                  "What the agent's policy shall keep of messages, arguments and results; left as it is when absent")
      ->check(CLI::IsMember(store_names()));
  tau->callback([tau_flags, &chosen] { chosen = [tau_flags] { return import_tau_bench(*tau_flags); }; });
}

}  // namespace cognive::commands
