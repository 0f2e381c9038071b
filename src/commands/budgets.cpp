// `cognive budgets`: whether the counters of budgets are what was charged to them.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "budgets/verify.hpp"
#include "commands/command.hpp"
#include "commands/local.hpp"
#include "commands/table.hpp"
#include "json/writer.hpp"

namespace cognive::commands {
namespace {

constexpr std::chrono::minutes timeout{60};

struct Flags {
  std::string data;
  bool json = false;
};

std::string json_of(const budgets::Verification& found) {
  json::Writer out;
  out.begin_object();
  out.key("windows");
  out.integer(found.windows);
  out.key("agrees");
  out.boolean(found.wrong.empty());
  out.key("disagreements");
  out.begin_array();
  for (const auto& one : found.wrong) {
    out.begin_object();
    out.key("window_id");
    out.integer(one.window_id);
    out.field("budget_id", one.budget_id.text());
    out.field("counter", one.counter);
    out.key("stored");
    out.raw(one.stored);
    out.key("ledger");
    out.raw(one.ledger);
    out.end_object();
  }
  out.end_array();
  out.end_object();
  return std::move(out).text();
}

void print(const budgets::Verification& found) {
  if (found.wrong.empty()) {
    std::printf("%lld windows of budgets agree with the ledger to the nano-dollar.\n",
                static_cast<long long>(found.windows));
    return;
  }
  using Align = Table::Align;
  Table table({{"window", Align::right}, {"budget"}, {"counter"}, {"stored", Align::right}, {"ledger", Align::right}});
  for (const auto& one : found.wrong)
    table.add({std::to_string(one.window_id), one.budget_id.text(), one.counter, one.stored, one.ledger});
  std::fputs(table.text().c_str(), stdout);
  std::fprintf(stderr, "cognive: these counters are not what was charged (money in 1e-9 USD)\n");
}

int verify(const Flags& flags) {
  const auto variables = tool_variables(flags.data);
  if (!variables) return explain(variables.error());
  const auto settings = load_settings(*variables);
  if (!settings) return explain(settings.error());
  // Of what retention has dropped, only the counters are left.
  auto since = Timestamp{};
  if (settings->retention_days > 0)
    since = Timestamp::of(std::chrono::floor<std::chrono::days>(Timestamp::now().point()) -
                          std::chrono::days{settings->retention_days - 1});
  return with_database(*settings, timeout, [&](pg::Cluster& database, const Call& call) -> Async<int> {
    const auto found = co_await budgets::verify(database.primary(), since, call.deadline);
    if (flags.json) {
      std::printf("%s\n", json_of(found).c_str());
    } else {
      print(found);
    }
    co_return found.wrong.empty() ? 0 : 1;
  });
}

}  // namespace

void add_budgets(CLI::App& root, Action& chosen) {
  auto* budgets = root.add_subcommand("budgets", "What budgets have counted: check it against the ledger");
  budgets->require_subcommand(1);
  budgets->fallthrough();  // --data may stand behind the verb, too
  const auto flags = std::make_shared<Flags>();
  budgets->add_option("--data", flags->data, "Data directory of a `cognive up` on this machine");
  auto* verify_command = budgets->add_subcommand(
      "verify",
      "Add up calls, steps, tool invocations and reservations again, in one snapshot, and compare with the counters "
      "of\n"
      "the budgets' windows. Reads every call that is kept. Exits with 1 when something disagrees.");
  verify_command->add_flag("--json", flags->json, "As JSON, for scripts");
  verify_command->callback([flags, &chosen] { chosen = [flags] { return verify(*flags); }; });
}

}  // namespace cognive::commands
