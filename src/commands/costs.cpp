// `cognive costs`: what the agents cost, through the API.
#include "commands/costs.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/decimal.hpp"
#include "base/text.hpp"
#include "commands/command.hpp"
#include "commands/local.hpp"
#include "commands/table.hpp"
#include "json/cursor.hpp"

namespace cognive::commands {
namespace {

constexpr std::string_view costs_path = "/api/v1/analytics/costs?group_by=agent,model";
constexpr std::string_view runs_path = "/api/v1/analytics/runs?group_by=agent";

struct Row {
  std::string agent;
  std::string agent_id;
  std::string model;
  long long calls = 0;
  long long unpriced = 0;
  std::optional<long long> input;
  std::optional<long long> output;
  NanoUsd cost;
};

// Dollars as the API writes them, with up to nine digits after the point.
NanoUsd nanos(std::string_view dollars) {
  return NanoUsd::exactly(Decimal::parse(dollars).value_or(Decimal{})).value_or(NanoUsd{});
}

// Reads what the table needs and ignores the rest: the server may be newer.
Row read_row(json::Cursor& in) {
  Row row;
  in.each_field([&](std::string_view key, json::Cursor& value) {
    const auto number = [&] { return std::strtoll(std::string(value.number()).c_str(), nullptr, 10); };
    if (key == "calls") row.calls = number();
    if (key == "unpriced_calls") row.unpriced = number();
    const bool is_number = value.kind() == json::Kind::number;  // null: no call's usage is known
    if (key == "input_tokens" && is_number) row.input = row.input.value_or(0) + number();
    if (key == "output_tokens" && is_number) row.output = row.output.value_or(0) + number();
    if (key == "cost_usd") row.cost = nanos(value.number());
    if (key == "agent_id" && value.kind() == json::Kind::string) row.agent_id = value.string();
    if (key == "agent" && value.kind() == json::Kind::string) row.agent = value.string();
    if (key == "model" && value.kind() == json::Kind::string) row.model = value.string();
  });
  return row;
}

void read_runs(json::Cursor& in, std::map<std::string, long long>& runs_of) {
  std::string agent;
  long long count = 0;
  in.each_field([&](std::string_view key, json::Cursor& value) {
    if (key == "agent_id" && value.kind() == json::Kind::string) agent = value.string();
    if (key == "runs") count = std::strtoll(std::string(value.number()).c_str(), nullptr, 10);
  });
  runs_of[agent] += count;
}

Result<void> each_item(std::string& answer, FunctionRef<void(json::Cursor&)> visit) {
  return json::walk(answer, [&](json::Cursor& root) {
    root.each_field([&](std::string_view key, json::Cursor& value) {
      if (key == "items") value.each_item([&](std::size_t, json::Cursor& item) { visit(item); });
    });
  });
}

std::string tokens(const std::optional<long long>& count) {
  return count ? grouped(*count) : "unknown";
}

std::string dollars(const Row& row) {
  if (row.calls > 0 && row.unpriced == row.calls) return "unpriced";
  return "$" + row.cost.text() + (row.unpriced > 0 ? " +" : "");
}

struct Flags : ApiFlags {
  bool json = false;
};

int costs(const Flags& flags) {
  auto options = api_options(flags);
  if (!options) return explain(options.error());
  options->deadline = std::chrono::seconds{3};  // somebody is looking
  client::ApiClient api(std::move(*options));
  const auto text = flags.json ? api.get(costs_path) : costs_table(api);
  if (!text) return explain(text.error());
  std::printf("%s\n", text->c_str());
  return 0;
}

}  // namespace

Result<std::string> costs_table(client::ApiClient& api) {
  auto costs = api.get(costs_path);
  if (!costs) return costs;
  auto runs = api.get(runs_path);
  if (!runs) return runs;
  std::vector<Row> rows;
  Row total;
  std::map<std::string, long long> runs_of;
  auto walked = each_item(*costs, [&](json::Cursor& item) { rows.push_back(read_row(item)); });
  if (walked) walked = each_item(*runs, [&](json::Cursor& item) { read_runs(item, runs_of); });
  if (!walked) return fail(Code::malformed, "The server's answer is not what a Cognive server answers.");

  using Align = Table::Align;
  Table table({{"agent"},
               {"runs", Align::right},
               {"model"},
               {"calls", Align::right},
               {"input tokens", Align::right},
               {"output tokens", Align::right},
               {"cost", Align::right}});
  const auto cells = [](const Row& row, long long run_count) {
    return std::vector<std::string>{row.agent,         grouped(run_count), row.model,   grouped(row.calls),
                                    tokens(row.input), tokens(row.output), dollars(row)};
  };
  long long all_runs = 0;
  for (const auto& [agent, count] : runs_of) all_runs += count;
  for (const auto& row : rows) {
    table.add(cells(row, runs_of[row.agent_id]));
    total.calls += row.calls;
    total.unpriced += row.unpriced;
    if (row.input) total.input = total.input.value_or(0) + *row.input;
    if (row.output) total.output = total.output.value_or(0) + *row.output;
    total.cost.nanos += row.cost.nanos;
  }
  total.agent = runs_of.size() == 1 ? "1 agent" : grouped(static_cast<long long>(runs_of.size())) + " agents";
  table.add_total(cells(total, all_runs));
  auto out = table.text();
  if (total.unpriced > 0) out += fmt::format("+ {} calls without a price\n", grouped(total.unpriced));
  return out;
}

void add_costs(CLI::App& root, Action& chosen) {
  auto* command = root.add_subcommand("costs", "Show what the agents cost, by agent and model");
  const auto flags = std::make_shared<Flags>();
  command->add_option("--url", flags->url, "The server; COGNIVE_URL, else the one of this machine's `cognive up`");
  command->add_option("--api-key", flags->key, "COGNIVE_API_KEY, else DIR/api-key");
  command->add_option("--data", flags->data, "Data directory of a `cognive up` on this machine");
  command->add_flag("--json", flags->json, "Print the API's answer");
  command->callback([flags, &chosen] { chosen = [flags] { return costs(*flags); }; });
}

}  // namespace cognive::commands
