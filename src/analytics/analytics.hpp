// Analytics: what agents cost, over time and by whatever one wants to compare.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "json/bind.hpp"
#include "pg/cluster.hpp"
#include "runtime/call.hpp"

namespace cognive::http {
class Router;
}

namespace cognive::analytics {

enum class Interval { hour, day, week, month };

constexpr auto enum_names(Interval) {
  return std::array{json::name(Interval::hour, "hour"), json::name(Interval::day, "day"),
                    json::name(Interval::week, "week"), json::name(Interval::month, "month")};
}

enum class Dimension { team, agent, model, provider, environment };

constexpr auto enum_names(Dimension) {
  return std::array{json::name(Dimension::team, "team"), json::name(Dimension::agent, "agent"),
                    json::name(Dimension::model, "model"), json::name(Dimension::provider, "provider"),
                    json::name(Dimension::environment, "environment")};
}

struct CostQuery {
  std::optional<Timestamp> from;
  std::optional<Timestamp> to;
  std::optional<Interval> interval;
  std::vector<std::string> group_by;
  std::optional<Uuid> agent_id;
  std::optional<std::string> team;
  std::optional<std::string> model;
  std::optional<std::string> provider;
  std::optional<std::string> environment;

  // The label that is grouped by, if any.
  [[nodiscard]] std::optional<std::string> label() const {
    for (const auto& one : group_by) {
      if (one.starts_with(label_prefix)) return one.substr(label_prefix.size());
    }
    return std::nullopt;
  }
  void check(json::Faults& faults) const;

  static constexpr std::string_view label_prefix = "label:";
  static constexpr auto fields() {
    return json::fields(
        json::field("from", &CostQuery::from, "Calls at or after this time; since ever when absent."),
        json::field("to", &CostQuery::to, "Calls before this time; until now and beyond when absent."),
        json::field("interval", &CostQuery::interval,
                    "Split by UTC hour, day, ISO week or month; one total when absent."),
        json::field("group_by", &CostQuery::group_by,
                    "Comma-separated: team, agent, model, provider, environment, and label:x for one label of the run, "
                    "else of its agent.",
                    {.max_length = 6, .optional = true}),
        json::field("agent_id", &CostQuery::agent_id, "Only calls of this agent."),
        json::field("team", &CostQuery::team, "Only calls of the team with this name."),
        json::field("model", &CostQuery::model, "Only calls of this model."),
        json::field("provider", &CostQuery::provider, "Only calls to this provider."),
        json::field("environment", &CostQuery::environment, "Only calls of runs in this environment."));
  }
};

// Fields that were not grouped by are null.
struct CostRow {
  std::optional<Timestamp> period;
  std::optional<std::string> team;
  std::optional<std::string> agent;
  std::optional<Uuid> agent_id;
  std::optional<std::string> model;
  std::optional<std::string> provider;
  std::optional<std::string> environment;
  std::optional<std::string> label;
  std::int64_t calls = 0;
  std::int64_t unpriced_calls = 0;
  std::int64_t errors = 0;
  std::optional<std::int64_t> input_tokens;
  std::optional<std::int64_t> output_tokens;
  std::optional<std::int64_t> cache_read_tokens;
  std::optional<std::int64_t> cache_write_tokens;
  NanoUsd cost_usd;

  static constexpr std::string_view schema_name = "CostRow";
  static constexpr auto fields() {
    return json::fields(
        json::field("period", &CostRow::period, "Begin of the interval."), json::field("team", &CostRow::team, ""),
        json::field("agent", &CostRow::agent, "Name."), json::field("agent_id", &CostRow::agent_id, ""),
        json::field("model", &CostRow::model, "As reported."), json::field("provider", &CostRow::provider, ""),
        json::field("environment", &CostRow::environment, ""),
        json::field("label", &CostRow::label, "Value of the label; null where there is none."),
        json::field("calls", &CostRow::calls, ""),
        json::field("unpriced_calls", &CostRow::unpriced_calls,
                    "Calls without a cost; their tokens count, their money is not known."),
        json::field("errors", &CostRow::errors, "Calls that failed."),
        json::field("input_tokens", &CostRow::input_tokens, "Of the calls whose usage is known; null: of none."),
        json::field("output_tokens", &CostRow::output_tokens, ""),
        json::field("cache_read_tokens", &CostRow::cache_read_tokens, ""),
        json::field("cache_write_tokens", &CostRow::cache_write_tokens, ""),
        json::field("cost_usd", &CostRow::cost_usd, "Exact sum over the priced calls, as they are charged now."));
  }
};

struct CostAnswer {
  std::vector<CostRow> items;
  CostRow total;

  static constexpr std::string_view schema_name = "CostAnswer";
  static constexpr auto fields() {
    return json::fields(json::field("items", &CostAnswer::items, "Ordered by period, then by cost, the highest first."),
                        json::field("total", &CostAnswer::total, "Over all items."));
  }
};

struct CoverageQuery {
  std::optional<Timestamp> from;
  std::optional<Timestamp> to;

  static constexpr auto fields() {
    return json::fields(json::field("from", &CoverageQuery::from, "Calls at or after this time."),
                        json::field("to", &CoverageQuery::to, "Calls before this time."));
  }
};

struct CoverageRow {
  std::string price_status;
  std::optional<std::string> provider;
  std::string model;
  std::int64_t calls = 0;
  std::int64_t tokens = 0;

  static constexpr std::string_view schema_name = "CoverageRow";
  static constexpr auto fields() {
    return json::fields(json::field("price_status", &CoverageRow::price_status, "Why there is no complete price."),
                        json::field("provider", &CoverageRow::provider, ""),
                        json::field("model", &CoverageRow::model, ""), json::field("calls", &CoverageRow::calls, ""),
                        json::field("tokens", &CoverageRow::tokens, "Input and output."));
  }
};

// What share of the traffic has a price.
struct CoverageAnswer {
  std::int64_t calls = 0;
  std::int64_t priced_calls = 0;
  std::int64_t tokens = 0;
  std::int64_t priced_tokens = 0;
  std::vector<CoverageRow> unpriced;

  static constexpr std::string_view schema_name = "CoverageAnswer";
  static constexpr auto fields() {
    return json::fields(json::field("calls", &CoverageAnswer::calls, ""),
                        json::field("priced_calls", &CoverageAnswer::priced_calls, ""),
                        json::field("tokens", &CoverageAnswer::tokens, "Input and output."),
                        json::field("priced_tokens", &CoverageAnswer::priced_tokens, ""),
                        json::field("unpriced", &CoverageAnswer::unpriced,
                                    "The models behind the rest, most calls first, at most 100."));
  }
};

enum class RunDimension { team, agent, environment };

constexpr auto enum_names(RunDimension) {
  return std::array{json::name(RunDimension::team, "team"), json::name(RunDimension::agent, "agent"),
                    json::name(RunDimension::environment, "environment")};
}

struct RunQuery {
  std::optional<Timestamp> from;
  std::optional<Timestamp> to;
  std::vector<RunDimension> group_by;
  std::optional<Uuid> agent_id;

  static constexpr auto fields() {
    return json::fields(json::field("from", &RunQuery::from, "Runs that started at or after this time."),
                        json::field("to", &RunQuery::to, "Runs that started before this time."),
                        json::field("group_by", &RunQuery::group_by, "Comma-separated: team, agent, environment.",
                                    {.max_length = 3, .optional = true}),
                        json::field("agent_id", &RunQuery::agent_id, "Only runs of this agent."));
  }
};

// Fields that were not grouped by are null.
struct RunRow {
  std::optional<std::string> team;
  std::optional<std::string> agent;
  std::optional<Uuid> agent_id;
  std::optional<std::string> environment;
  std::int64_t runs = 0;
  std::int64_t active = 0;
  std::int64_t succeeded = 0;
  std::int64_t failed = 0;
  std::int64_t cancelled = 0;
  std::int64_t terminated = 0;

  static constexpr std::string_view schema_name = "RunRow";
  static constexpr auto fields() {
    return json::fields(
        json::field("team", &RunRow::team, ""), json::field("agent", &RunRow::agent, "Name."),
        json::field("agent_id", &RunRow::agent_id, ""), json::field("environment", &RunRow::environment, ""),
        json::field("runs", &RunRow::runs, ""), json::field("active", &RunRow::active, "Queued or running."),
        json::field("succeeded", &RunRow::succeeded, ""), json::field("failed", &RunRow::failed, ""),
        json::field("cancelled", &RunRow::cancelled, ""), json::field("terminated", &RunRow::terminated, ""));
  }
};

struct RunAnswer {
  std::vector<RunRow> items;

  static constexpr std::string_view schema_name = "RunAnswer";
  static constexpr auto fields() { return json::fields(json::field("items", &RunAnswer::items, "Most runs first.")); }
};

struct LatencyQuery;
struct LatencyAnswer;
struct ToolQuery;
struct ToolAnswer;

class Analytics {
 public:
  explicit Analytics(pg::Cluster& database) : database_(database) {}

  // Code::unprocessable when the answer would have more than ten thousand rows.
  Async<Result<CostAnswer>> costs(const Call& call, CostQuery query);
  Async<Result<CoverageAnswer>> coverage(const Call& call, CoverageQuery query);
  Async<Result<RunAnswer>> runs(const Call& call, RunQuery query);
  Async<Result<LatencyAnswer>> latency(const Call& call, LatencyQuery query);
  Async<Result<ToolAnswer>> tools(const Call& call, ToolQuery query);

 private:
  pg::Cluster& database_;
};

void add_routes(http::Router& router, Analytics& analytics);

}  // namespace cognive::analytics
