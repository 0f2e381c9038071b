#include "rollups/tables.hpp"

namespace cognive::rollups {
namespace {

// What both tables have of each key.
std::vector<schema::Column> sums(const std::string& type) {
  return {{.name = "calls", .type = type},
          {.name = "errors", .type = type},
          {.name = "usage_calls", .type = type, .comment = "Calls whose usage is known"},
          {.name = "input_tokens", .type = type},
          {.name = "output_tokens", .type = type},
          {.name = "cache_read_tokens", .type = type},
          {.name = "cache_write_tokens", .type = type},
          {.name = "cost_nano_usd", .type = type, .comment = "1e-9 USD"},
          {.name = "first_at", .type = "timestamptz", .comment = "No call is earlier"},
          {.name = "last_at", .type = "timestamptz", .comment = "No call is later"},
          {.name = "latency_buckets",
           .type = "smallint[]",
           .comment = "Of the durations that are known; bounds are in src/rollups/latency.cpp"},
          {.name = "latency_counts", .type = type + "[]", .comment = "Calls in each of latency_buckets"}};
}

std::vector<schema::Column> key(std::vector<schema::Column> period) {
  const std::vector<schema::Column> rest{
      {.name = "team_id", .type = "uuid"},     {.name = "agent_id", .type = "uuid"},
      {.name = "environment", .type = "text"}, {.name = "provider", .type = "text", .comment = "Empty: not known"},
      {.name = "model", .type = "text"},       {.name = "price_status", .type = "text"}};
  period.insert(period.end(), rest.begin(), rest.end());
  return period;
}

std::vector<schema::Column> both(std::vector<schema::Column> first, const std::vector<schema::Column>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

// Arrays of arrays of different lengths do not exist: those are items of text.
std::vector<schema::Column> arrays(std::vector<schema::Column> columns) {
  for (auto& column : columns) column.type = column.type.ends_with("[]") ? "text[]" : column.type + "[]";
  columns.insert(columns.begin(), {.name = "items", .type = "bigint", .comment = "How many each array has"});
  return columns;
}

}  // namespace

std::vector<schema::Table> tables() {
  return {
      {.name = "usage_aggregations",
       .comment = "What LLM calls add up to, as they are charged now, but for what is still in usage_unfolded",
       .columns = both(key({{.name = "granularity",
                             .type = "text",
                             .comment = "team_…: over all agents of the team, with the nil UUID as agent_id"},
                            {.name = "period", .type = "timestamptz", .comment = "Begin of the UTC hour or day"}}),
                       sums("numeric")),
       .primary_key = {"granularity", "period", "team_id", "agent_id", "environment", "provider", "model",
                       "price_status"},
       .checks = {{.label = "granularity", .expression = "granularity IN ('hour', 'day', 'team_hour', 'team_day')"}}},
      // No index: rows are appended by every commit, read all together, and gone within seconds. The view
      // usage_unfolded shows their items as rows.
      {.name = "usage_commits",
       .comment = "What commits have added since it was last folded into usage_aggregations, two rows for "
                  "each: arrays have one item for each sum",
       .columns = both(
           arrays(both(key({{.name = "hour", .type = "timestamptz"}}), sums("bigint"))),
           {{.name = "of_teams",
             .type = "boolean",
             .default_value = "false",
             .comment = "Over all agents of each team, with the nil UUID as agent_id: the same calls once more"}})}};
}

}  // namespace cognive::rollups
