#include <algorithm>

#include "base/text.hpp"
#include "budgets/budgets.hpp"

namespace cognive::budgets {
namespace {

void check_thresholds(const std::vector<std::int64_t>& thresholds, json::Faults& faults) {
  const json::Faults::Scope scope(faults, "thresholds");
  for (std::size_t i = 0; i < thresholds.size(); ++i) {
    const auto index = std::to_string(i);
    if (faults.has_at(index)) continue;
    if (thresholds[i] < 1 || thresholds[i] > threshold_max) {
      faults.add_at(index, fmt::format("A threshold is 1 to {} percent of the limit.", threshold_max),
                    std::to_string(thresholds[i]));
    } else if (i > 0 && thresholds[i] <= thresholds[i - 1]) {
      faults.add_at(index, "Thresholds must ascend.", std::to_string(thresholds[i]));
    }
  }
}

// What a number of JSON holds exactly in our answers.
constexpr NanoUsd money_max{999'999'999'999'999'999};

void check_money(const std::optional<Decimal>& money, std::string_view name, json::Faults& faults) {
  if (!money || faults.has_at(name)) return;
  const auto amount = NanoUsd::exactly(*money);
  if (!amount || amount->nanos < 0 || *amount > money_max)
    faults.add_at(name, "It must be dollars from 0 to 999999999.999999999, with at most nine digits after the point.",
                  money->text());
}

// What a scope needs to be told, and what would say nothing with it.
void check_subject(const BudgetCreate& body, json::Faults& faults) {
  if (faults.has_at("scope")) return;
  const auto check = [&](std::string_view name, Scope scope, bool is_said, bool is_needed) {
    if (faults.has_at(name)) return;
    if (body.scope == scope && is_needed && !is_said)
      faults.add_at(name, fmt::format("A budget with scope {} needs it.", json::enum_text(scope)));
    if (body.scope != scope && is_said)
      faults.add_at(name, fmt::format("It goes with scope {} only.", json::enum_text(scope)));
  };
  check("team", Scope::team, body.team.has_value(), false);
  check("agent_id", Scope::agent, body.agent_id.has_value(), true);
  check("api_key_id", Scope::api_key, body.api_key_id.has_value(), true);
  check("run_id", Scope::run, body.run_id.has_value(), true);
}

bool has_limit_faults(const json::Faults& faults) {
  return std::ranges::any_of(std::array{"limit_usd", "limit_tokens", "limit_requests", "limit_steps",
                                        "limit_tool_calls", "limit_wall_clock_s"},
                             [&](const char* name) { return faults.has_at(name); });
}

}  // namespace

std::optional<Limits::Stored> Limits::stored(json::Faults& faults) const {
  check_money(limit_usd, "limit_usd", faults);
  std::vector<Stored> said;
  if (limit_usd) said.push_back({Metric::cost, NanoUsd::exactly(*limit_usd).value_or(NanoUsd{}).nanos});
  if (limit_tokens) said.push_back({Metric::tokens, *limit_tokens});
  if (limit_requests) said.push_back({Metric::requests, *limit_requests});
  if (limit_steps) said.push_back({Metric::steps, *limit_steps});
  if (limit_tool_calls) said.push_back({Metric::tool_calls, *limit_tool_calls});
  if (limit_wall_clock_s) said.push_back({Metric::wall_clock, *limit_wall_clock_s * 1'000});
  if (said.size() > 1 && !has_limit_faults(faults)) faults.add("A budget has one limit; make a budget for each.");
  if (said.size() != 1) return std::nullopt;
  return said.front();
}

Limits Limits::of(const Stored& stored) {
  Limits out;
  switch (stored.metric) {
    case Metric::cost:
      out.limit_usd = Decimal::parse(NanoUsd{stored.amount}.text());
      break;
    case Metric::tokens:
      out.limit_tokens = stored.amount;
      break;
    case Metric::requests:
      out.limit_requests = stored.amount;
      break;
    case Metric::steps:
      out.limit_steps = stored.amount;
      break;
    case Metric::tool_calls:
      out.limit_tool_calls = stored.amount;
      break;
    case Metric::wall_clock:
      out.limit_wall_clock_s = stored.amount / 1'000;
      break;
  }
  return out;
}

void BudgetCreate::check(json::Faults& faults) const {
  const auto count = faults.count();
  const auto limit = stored(faults);
  if (!limit && faults.count() == count && !has_limit_faults(faults))
    faults.add_at("limit_usd", "A budget needs a limit: this one, or another.");
  check_subject(*this, faults);
  check_thresholds(thresholds, faults);
  check_money(assumed_usd_per_call, "assumed_usd_per_call", faults);
  if (!window && scope != Scope::run && !faults.has_at("window"))
    faults.add_at("window", "It must be day, week, month, total, or run for each run anew.");
  if (window && scope == Scope::run && *window != WindowKind::run)
    faults.add_at("window", "A run has one window: run.", json::quoted(json::enum_text(*window)));
  if (!limit) return;
  if (limit->metric == Metric::wall_clock && scope == Scope::api_key && !faults.has_at("limit_wall_clock_s"))
    faults.add_at("limit_wall_clock_s", "Runs belong to no API key: limit those of an agent, a team or all.");
  const bool is_of_calls =
      limit->metric == Metric::cost || limit->metric == Metric::tokens || limit->metric == Metric::requests;
  for (const auto& [field, pattern] : {std::pair("provider", &provider), std::pair("model", &model)}) {
    if (*pattern && !is_of_calls && !faults.has_at(field))
      faults.add_at(field, "Only LLM calls have one, and this budget counts something else.");
    else if (*pattern && !faults.has_at(field) && (trim(**pattern).empty() || trim(**pattern).front() == '!'))
      faults.add_at(field, "A pattern has more than blanks, and forbids nothing.",
                    json::quoted(shortened(**pattern, 64)));
  }
  if (assumed_usd_per_call && limit->metric != Metric::cost && !faults.has_at("assumed_usd_per_call"))
    faults.add_at("assumed_usd_per_call", "It goes with limit_usd only.");
}

void BudgetChange::check(json::Faults& faults) const {
  stored(faults);
  if (thresholds) check_thresholds(*thresholds, faults);
}

}  // namespace cognive::budgets
