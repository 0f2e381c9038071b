// How models and tools perform: durations, errors and what policies forbade.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "analytics/analytics.hpp"

namespace cognive::analytics {

// Milliseconds; null when nothing was measured. The nearest rank: of tools one of the durations as reported, of calls
// what is within 5 % of one (rollups/latency.hpp).
struct Percentiles {
  std::optional<std::int64_t> p50_ms;
  std::optional<std::int64_t> p95_ms;
  std::optional<std::int64_t> p99_ms;
};

struct LatencyQuery {
  std::optional<Timestamp> from;
  std::optional<Timestamp> to;
  std::vector<Dimension> group_by;
  std::optional<Uuid> agent_id;
  std::optional<std::string> team;
  std::optional<std::string> model;
  std::optional<std::string> provider;
  std::optional<std::string> environment;

  static constexpr auto fields() {
    return json::fields(
        json::field("from", &LatencyQuery::from, "Calls at or after this time."),
        json::field("to", &LatencyQuery::to, "Calls before this time."),
        json::field("group_by", &LatencyQuery::group_by, "Comma-separated: team, agent, model, provider, environment.",
                    {.max_length = 5, .optional = true}),
        json::field("agent_id", &LatencyQuery::agent_id, "Only calls of this agent."),
        json::field("team", &LatencyQuery::team, "Only calls of the team with this name."),
        json::field("model", &LatencyQuery::model, "Only calls of this model."),
        json::field("provider", &LatencyQuery::provider, "Only calls to this provider."),
        json::field("environment", &LatencyQuery::environment, "Only calls of runs in this environment."));
  }
};

// Fields that were not grouped by are null.
struct LatencyRow : Percentiles {
  std::optional<std::string> team;
  std::optional<std::string> agent;
  std::optional<Uuid> agent_id;
  std::optional<std::string> model;
  std::optional<std::string> provider;
  std::optional<std::string> environment;
  std::int64_t calls = 0;
  std::int64_t measured_calls = 0;
  std::int64_t errors = 0;

  static constexpr std::string_view schema_name = "LatencyRow";
  static constexpr auto fields() {
    return json::fields(
        json::field("team", &LatencyRow::team, ""), json::field("agent", &LatencyRow::agent, "Name."),
        json::field("agent_id", &LatencyRow::agent_id, ""), json::field("model", &LatencyRow::model, "As reported."),
        json::field("provider", &LatencyRow::provider, ""), json::field("environment", &LatencyRow::environment, ""),
        json::field("calls", &LatencyRow::calls, ""),
        json::field("measured_calls", &LatencyRow::measured_calls, "Of them with a duration."),
        json::field("errors", &LatencyRow::errors, "Calls that failed."),
        json::field("p50_ms", &LatencyRow::p50_ms, "Median duration; each is within 5 % of one that was reported."),
        json::field("p95_ms", &LatencyRow::p95_ms, ""), json::field("p99_ms", &LatencyRow::p99_ms, ""));
  }
};

struct LatencyAnswer {
  std::vector<LatencyRow> items;

  static constexpr std::string_view schema_name = "LatencyAnswer";
  static constexpr auto fields() {
    return json::fields(json::field("items", &LatencyAnswer::items, "Most calls first."));
  }
};

enum class ToolDimension { team, agent, tool, data_source };

constexpr auto enum_names(ToolDimension) {
  return std::array{json::name(ToolDimension::team, "team"), json::name(ToolDimension::agent, "agent"),
                    json::name(ToolDimension::tool, "tool"), json::name(ToolDimension::data_source, "data_source")};
}

struct ToolQuery {
  std::optional<Timestamp> from;
  std::optional<Timestamp> to;
  std::vector<ToolDimension> group_by = {ToolDimension::tool};
  std::optional<Uuid> agent_id;
  std::optional<std::string> team;
  std::optional<std::string> tool;

  static constexpr auto fields() {
    return json::fields(
        json::field("from", &ToolQuery::from, "Invocations at or after this time."),
        json::field("to", &ToolQuery::to, "Invocations before this time."),
        json::field("group_by", &ToolQuery::group_by, "Comma-separated: team, agent, tool (the default), data_source.",
                    {.max_length = 4, .optional = true}),
        json::field("agent_id", &ToolQuery::agent_id, "Only invocations of this agent."),
        json::field("team", &ToolQuery::team, "Only invocations of the team with this name."),
        json::field("tool", &ToolQuery::tool, "Only invocations of this tool."));
  }
};

// Fields that were not grouped by are null.
struct ToolRow : Percentiles {
  std::optional<std::string> team;
  std::optional<std::string> agent;
  std::optional<Uuid> agent_id;
  std::optional<std::string> tool;
  std::optional<std::string> data_source;
  std::int64_t invocations = 0;
  std::int64_t errors = 0;
  std::int64_t violations = 0;

  static constexpr std::string_view schema_name = "ToolRow";
  static constexpr auto fields() {
    return json::fields(json::field("team", &ToolRow::team, ""), json::field("agent", &ToolRow::agent, "Name."),
                        json::field("agent_id", &ToolRow::agent_id, ""), json::field("tool", &ToolRow::tool, ""),
                        json::field("data_source", &ToolRow::data_source, ""),
                        json::field("invocations", &ToolRow::invocations, ""),
                        json::field("errors", &ToolRow::errors, "Invocations that failed."),
                        json::field("violations", &ToolRow::violations, "Invocations that the agent's policy forbade."),
                        json::field("p50_ms", &ToolRow::p50_ms, "Median duration."),
                        json::field("p95_ms", &ToolRow::p95_ms, ""), json::field("p99_ms", &ToolRow::p99_ms, ""));
  }
};

struct ToolAnswer {
  std::vector<ToolRow> items;

  static constexpr std::string_view schema_name = "ToolAnswer";
  static constexpr auto fields() {
    return json::fields(json::field("items", &ToolAnswer::items, "Most invocations first."));
  }
};

}  // namespace cognive::analytics
