// `cognive rollups`: whether what analytics add up is what the ledger says.
#include "rollups/rollups.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "commands/command.hpp"
#include "commands/local.hpp"
#include "commands/table.hpp"
#include "json/cursor.hpp"
#include "json/writer.hpp"

namespace cognive::commands {
namespace {

constexpr std::chrono::minutes timeout{60};
constexpr std::chrono::days usual_days{7};

struct Flags {
  std::string data;
  std::string from;
  std::string to;
  bool json = false;
};

std::string json_of(const rollups::Verification& found) {
  json::Writer out;
  out.begin_object();
  out.field("from", found.from.text());
  out.field("to", found.to.text());
  out.key("sums");
  out.integer(found.sums);
  out.key("calls");
  out.integer(found.calls);
  out.key("agrees");
  out.boolean(found.disagreements.empty());
  out.key("disagreements");
  out.begin_array();
  for (const auto& one : found.disagreements) {
    out.begin_object();
    out.field("granularity", one.granularity);
    out.field("period", one.period.text());
    out.field("team_id", one.team_id.text());
    out.key("agent_id");
    if (one.agent_id) {
      out.string(one.agent_id->text());
    } else {
      out.null();
    }
    out.field("environment", one.environment);
    out.field("provider", one.provider);
    out.field("model", one.model);
    out.field("price_status", one.price_status);
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

// The members of a JSON object in their order; of null: none.
using Members = std::vector<std::pair<std::string, std::string>>;

Members members_of(std::string text) {
  Members out;
  const auto read = json::walk(text, [&](json::Cursor& root) {
    if (root.kind() != json::Kind::object) return root.skip();
    root.each_field([&](std::string_view key, json::Cursor& value) {
      json::Writer copied;
      value.copy_to(copied);
      out.emplace_back(key, std::move(copied).text());
    });
  });
  if (!read) out.clear();
  return out;
}

// What the two sides say where they differ, which is all that one wants to see of them; "none" of a side that is not
// there.
std::pair<std::string, std::string> differing(const Members& stored, const Members& ledger) {
  const auto told = [](const Members& side, const Members& other) -> std::string {
    if (side.empty()) return "none";
    std::string out;
    for (const auto& member : side) {
      if (std::ranges::find(other, member) == other.end())
        fmt::format_to(std::back_inserter(out), "{}{} {}", out.empty() ? "" : ", ", member.first, member.second);
    }
    return out;
  };
  return {told(stored, ledger), told(ledger, stored)};
}

void print(const rollups::Verification& found) {
  if (found.disagreements.empty()) {
    std::printf("%lld sums of %lld LLM %s from %s to %s agree with the ledger to the nano-dollar.\n",
                static_cast<long long>(found.sums), static_cast<long long>(found.calls),
                found.calls == 1 ? "call" : "calls", found.from.text().c_str(), found.to.text().c_str());
    return;
  }
  Table table({{"period"},
               {"of"},
               {"team"},
               {"agent"},
               {"environment"},
               {"provider"},
               {"model"},
               {"price status"},
               {"stored"},
               {"ledger"}});
  for (const auto& one : found.disagreements) {
    const auto [stored, ledger] = differing(members_of(one.stored), members_of(one.ledger));
    table.add({one.period.text(), one.granularity, one.team_id.text(), one.agent_id ? one.agent_id->text() : "all",
               one.environment, one.provider, one.model, one.price_status, stored, ledger});
  }
  std::fputs(table.text().c_str(), stdout);
  std::fprintf(stderr, "cognive: these sums%s are not what the ledger says\n",
               std::ssize(found.disagreements) == rollups::disagreements_max ? " (and perhaps more)" : "");
}

int verify(const Flags& flags) {
  const auto variables = tool_variables(flags.data);
  if (!variables) return explain(variables.error());
  const auto settings = load_settings(*variables);
  if (!settings) return explain(settings.error());
  const auto today = std::chrono::floor<std::chrono::days>(Timestamp::now().point());
  // Of what retention has dropped, only the sums are left; of the last day that it keeps, some may be gone already.
  std::optional<std::chrono::sys_days> kept_from;
  if (settings->retention_days > 0) kept_from = today - std::chrono::days{settings->retention_days - 1};
  const auto from = flags.from.empty() ? std::max(today - usual_days, kept_from.value_or(today - usual_days))
                                       : parse_date(flags.from);
  const auto to = flags.to.empty() ? today + std::chrono::days{2} : parse_date(flags.to);
  if (!from || !to || *to <= *from) {
    std::fprintf(stderr, "cognive: --from and --to must be dates like 2026-11-24, the first before the second\n");
    return 2;
  }
  return with_database(*settings, timeout, [&](pg::Cluster& database, const Call& call) -> Async<int> {
    const auto found = co_await rollups::verify(database, Timestamp::of(*from), Timestamp::of(*to), call.deadline);
    if (flags.json) {
      std::printf("%s\n", json_of(found).c_str());
    } else {
      print(found);
    }
    if (!flags.json && !found.disagreements.empty() && kept_from && *from < *kept_from) {
      std::fprintf(
          stderr,
          "cognive: calls before %s may have been dropped (RETENTION_DAYS=%lld), and then their sums alone are "
          "left; compare from that day on\n",
          date_text(*kept_from).c_str(), static_cast<long long>(settings->retention_days));
    }
    co_return found.disagreements.empty() ? 0 : 1;
  });
}

}  // namespace

void add_rollups(CLI::App& root, Action& chosen) {
  auto* rollups = root.add_subcommand("rollups", "The sums that analytics answer from: check them against the ledger");
  rollups->require_subcommand(1);
  rollups->fallthrough();  // --data may stand behind the verb, too
  const auto flags = std::make_shared<Flags>();
  rollups->add_option("--data", flags->data, "Data directory of a `cognive up` on this machine");
  auto* verify_command = rollups->add_subcommand(
      "verify",
      "Add up the calls of the ledger again, in one snapshot, and compare: counts, tokens, costs, latencies.\n"
      "Reads every call of the range. Exits with 1 when something disagrees.");
  verify_command->add_option("--from", flags->from,
                             "First UTC day; a week ago when absent, or as far back as retention keeps calls");
  verify_command->add_option("--to", flags->to, "Until before this UTC day; all that there is when absent");
  verify_command->add_flag("--json", flags->json, "As JSON, for scripts");
  verify_command->callback([flags, &chosen] { chosen = [flags] { return verify(*flags); }; });
}

}  // namespace cognive::commands
