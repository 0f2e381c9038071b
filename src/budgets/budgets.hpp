// Budgets: how much a scope may use up in each window of time, told exactly, and stopped exactly where wanted.
//
// What calls use is charged to every budget that covers them, in the transaction that stores them. A reservation sets
// aside beforehand what a call may cost, on all budgets that cover it or on none; a hard-stop budget refuses what would
// exceed it.
#pragma once

#include <array>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "audit/audit.hpp"
#include "base/decimal.hpp"
#include "base/error.hpp"
#include "cache/cache.hpp"
#include "json/bind.hpp"
#include "json/page.hpp"
#include "pg/cluster.hpp"
#include "runtime/call.hpp"

namespace cognive::http {
class Router;
}

namespace cognive::budgets {

// Whose calls a budget covers.
enum class Scope { organisation, team, agent, api_key, run };

constexpr auto enum_names(Scope) {
  return std::array{json::name(Scope::organisation, "organisation"), json::name(Scope::team, "team"),
                    json::name(Scope::agent, "agent"), json::name(Scope::api_key, "api_key"),
                    json::name(Scope::run, "run")};
}

// What is counted. Steps and tool calls are events of their own, wall clock is the time that runs take; the others are
// of LLM calls.
enum class Metric { cost, tokens, requests, steps, tool_calls, wall_clock };

constexpr auto enum_names(Metric) {
  return std::array{json::name(Metric::cost, "cost"),
                    json::name(Metric::tokens, "tokens"),
                    json::name(Metric::requests, "requests"),
                    json::name(Metric::steps, "steps"),
                    json::name(Metric::tool_calls, "tool_calls"),
                    json::name(Metric::wall_clock, "wall_clock")};
}

// For how long it is counted, before counting begins anew. Weeks are those of ISO 8601.
enum class WindowKind { run, day, week, month, total };

constexpr auto enum_names(WindowKind) {
  return std::array{json::name(WindowKind::run, "run"), json::name(WindowKind::day, "day"),
                    json::name(WindowKind::week, "week"), json::name(WindowKind::month, "month"),
                    json::name(WindowKind::total, "total")};
}

inline constexpr std::array<std::int64_t, 3> default_thresholds{80, 90, 100};
inline constexpr std::int64_t threshold_max = 1'000;
inline constexpr std::int64_t count_max = 1'000'000'000'000'000;  // of tokens, calls, steps
inline constexpr std::int64_t seconds_max = 1'000'000'000'000;    // of wall clock

// The limit of a budget, by its metric: one of these is said.
struct Limits {
  std::optional<Decimal> limit_usd;
  std::optional<std::int64_t> limit_tokens;
  std::optional<std::int64_t> limit_requests;
  std::optional<std::int64_t> limit_steps;
  std::optional<std::int64_t> limit_tool_calls;
  std::optional<std::int64_t> limit_wall_clock_s;

  template <typename T>
  static constexpr auto fields_of() {
    constexpr json::Rules counts{.min = 0, .max = count_max};
    return json::fields(json::field("limit_usd", &T::limit_usd, "Dollars that calls may cost.", {.example = "1.0"}),
                        json::field("limit_tokens", &T::limit_tokens, "Input and output tokens of LLM calls.", counts),
                        json::field("limit_requests", &T::limit_requests, "LLM calls.", counts),
                        json::field("limit_steps", &T::limit_steps, "Steps.", counts),
                        json::field("limit_tool_calls", &T::limit_tool_calls, "Tool invocations.", counts),
                        json::field("limit_wall_clock_s", &T::limit_wall_clock_s,
                                    "Seconds that runs take, counted every few seconds. Not with scope api_key.",
                                    {.min = 0, .max = seconds_max}));
  }

  // The metric and its amount as it is stored. Nothing when none, several or a wrong one is said; then faults say so.
  struct Stored {
    Metric metric = Metric::cost;
    std::int64_t amount = 0;
  };
  std::optional<Stored> stored(json::Faults& faults) const;
  static Limits of(const Stored& stored);
};

struct Budget : Limits {
  Uuid id;
  std::string name;
  Scope scope = Scope::organisation;
  std::optional<Uuid> team_id;
  std::optional<Uuid> agent_id;
  std::optional<Uuid> api_key_id;
  std::optional<Uuid> run_id;
  std::optional<std::string> provider;
  std::optional<std::string> model;
  WindowKind window = WindowKind::day;
  std::string time_zone;
  bool hard_stop = false;
  std::vector<std::int64_t> thresholds;
  std::optional<NanoUsd> assumed_usd_per_call;
  bool enabled = true;
  Timestamp created_at;
  Timestamp updated_at;

  static constexpr std::string_view schema_name = "Budget";
  static constexpr auto fields() {
    return std::tuple_cat(
        json::fields(
            json::field("id", &Budget::id, ""), json::field("name", &Budget::name, "For people."),
            json::field("scope", &Budget::scope, "Whose calls it covers."),
            json::field("team_id", &Budget::team_id, "The team, or that of the agent, key or run; null: organisation."),
            json::field("agent_id", &Budget::agent_id, ""), json::field("api_key_id", &Budget::api_key_id, ""),
            json::field("run_id", &Budget::run_id, ""),
            json::field("provider", &Budget::provider, "Only calls of providers that match; null: of any."),
            json::field("model", &Budget::model, "Only calls of models that match; null: of any."),
            json::field("window", &Budget::window, "How long it counts before it begins anew."),
            json::field("time_zone", &Budget::time_zone, "By which days, weeks and months begin.")),
        fields_of<Budget>(),
        json::fields(json::field("hard_stop", &Budget::hard_stop, "Refuses what would exceed it; else it only alerts."),
                     json::field("thresholds", &Budget::thresholds, "Percent of the limit that alert."),
                     json::field("assumed_usd_per_call", &Budget::assumed_usd_per_call,
                                 "What a call without a price is taken to cost; null: it cannot be reserved."),
                     json::field("enabled", &Budget::enabled, "A disabled budget covers nothing."),
                     json::field("created_at", &Budget::created_at, "It counts from then on."),
                     json::field("updated_at", &Budget::updated_at, "")));
  }
};

struct BudgetCreate : Limits {
  std::optional<Uuid> id;
  std::string name;
  Scope scope = Scope::organisation;
  std::optional<std::string> team;
  std::optional<Uuid> agent_id;
  std::optional<Uuid> api_key_id;
  std::optional<Uuid> run_id;
  std::optional<std::string> provider;
  std::optional<std::string> model;
  std::optional<WindowKind> window;
  std::string time_zone = "UTC";
  bool hard_stop = false;
  std::vector<std::int64_t> thresholds{default_thresholds.begin(), default_thresholds.end()};
  std::optional<Decimal> assumed_usd_per_call;
  bool enabled = true;

  void check(json::Faults& faults) const;

  static constexpr std::string_view schema_name = "BudgetCreate";
  static constexpr auto fields() {
    return std::tuple_cat(
        json::fields(
            json::field("id", &BudgetCreate::id, "The caller's own id, so that it can be repeated; ours when absent."),
            json::field("name", &BudgetCreate::name, "For people.", {.max_length = 128, .optional = true}),
            json::field("scope", &BudgetCreate::scope, "Whose calls it covers."),
            json::field("team", &BudgetCreate::team, "With scope team: its name; absent: the caller's own.",
                        {.min_length = 1, .max_length = 128}),
            json::field("agent_id", &BudgetCreate::agent_id, "With scope agent."),
            json::field("api_key_id", &BudgetCreate::api_key_id, "With scope api_key."),
            json::field("run_id", &BudgetCreate::run_id, "With scope run."),
            json::field("provider", &BudgetCreate::provider,
                        "Only calls of providers that match: `*` any text, `?` one "
                        "character.",
                        {.min_length = 1, .max_length = 128}),
            json::field("model", &BudgetCreate::model, "Only calls of models that match.",
                        {.min_length = 1, .max_length = 256, .example = "\"gpt-4*\""}),
            json::field("window", &BudgetCreate::window, "How long it counts before it begins anew; of a run: run.",
                        {.example = "\"day\""}),
            json::field("time_zone", &BudgetCreate::time_zone, "IANA name, by which days, weeks and months begin.",
                        {.min_length = 1, .max_length = 64, .optional = true, .example = "\"Europe/Berlin\""})),
        fields_of<BudgetCreate>(),
        json::fields(
            json::field("hard_stop", &BudgetCreate::hard_stop, "Refuse what would exceed it; else it only alerts.",
                        {.optional = true}),
            json::field("thresholds", &BudgetCreate::thresholds,
                        "Percent of the limit that alert; 80, 90 and 100 when "
                        "absent.",
                        {.max_length = 10, .optional = true}),
            json::field("assumed_usd_per_call", &BudgetCreate::assumed_usd_per_call,
                        "What a call without a price is taken to cost; without it such calls cannot be reserved."),
            json::field("enabled", &BudgetCreate::enabled, "", {.optional = true})));
  }
};

// What may change. What a budget counts, and when, never does: that is another budget.
struct BudgetChange : Limits {
  std::optional<std::string> name;
  std::optional<bool> hard_stop;
  std::optional<std::vector<std::int64_t>> thresholds;
  std::optional<bool> enabled;

  void check(json::Faults& faults) const;

  static constexpr std::string_view schema_name = "BudgetChange";
  static constexpr auto fields() {
    return std::tuple_cat(json::fields(json::field("name", &BudgetChange::name, "", {.max_length = 128})),
                          fields_of<BudgetChange>(),
                          json::fields(json::field("hard_stop", &BudgetChange::hard_stop, ""),
                                       json::field("thresholds", &BudgetChange::thresholds, "", {.max_length = 10}),
                                       json::field("enabled", &BudgetChange::enabled, "")));
  }
};

struct BudgetList {
  std::optional<std::string> team;
  std::optional<Scope> scope;
  std::optional<Uuid> agent_id;
  std::optional<Uuid> run_id;
  std::int64_t limit = 50;
  std::optional<json::PagePosition> cursor;

  static constexpr auto fields() {
    return json::fields(json::field("team", &BudgetList::team, "Only budgets of the team with this name."),
                        json::field("scope", &BudgetList::scope, "Only budgets of this scope."),
                        json::field("agent_id", &BudgetList::agent_id, "Only budgets of this agent."),
                        json::field("run_id", &BudgetList::run_id, "Only budgets of this run."),
                        json::field("limit", &BudgetList::limit, "Items per page.", json::page_limit_rules),
                        json::field("cursor", &BudgetList::cursor, "next_cursor of the page before."));
  }
};

struct CreateAnswer {
  Budget budget;
  bool created = false;
};

class Budgets {
 public:
  // `cache`: of their states, which a change makes wrong.
  Budgets(pg::Cluster& database, audit::Trail trail, cache::Cache& cache)
      : database_(database), trail_(trail), cache_(cache) {}

  // A repeat with the same id and content returns the budget. Code::conflict when the id is another budget's,
  // Code::forbidden when the caller's key belongs to one agent, or to a team and the budget would be the
  // organisation's.
  Async<Result<CreateAnswer>> create(const Call& call, BudgetCreate request);
  // Holds for the windows that have not ended, at once. Raising frees, lowering never takes back what is spent or
  // reserved: then nothing more is granted.
  Async<Result<Budget>> update(const Call& call, Uuid id, BudgetChange change);
  // What it has counted stays. Deleting twice is Code::not_found.
  Async<Result<Budget>> remove(const Call& call, Uuid id);
  Async<Result<Budget>> get(const Call& call, Uuid id);
  Async<Result<json::Page<Budget>>> list(const Call& call, BudgetList query);

 private:
  Async<Result<Budget>> budget_of(const Call& call, BudgetCreate request);
  // PostgreSQL reads hundreds of files to list its time zones, so it is asked once for each.
  Async<bool> knows_time_zone(const Call& call, const std::string& name);

  pg::Cluster& database_;
  audit::Trail trail_;
  cache::Cache& cache_;
  std::set<std::string> known_time_zones_{"UTC"};
};

void add_routes(http::Router& router, Budgets& budgets);

}  // namespace cognive::budgets
