#include "analytics/store.hpp"

namespace cognive::analytics::store {
namespace {

// clang-format off: it would break the texts inside of the macros
// Calls of a range as they are charged now: by their latest adjustment, else by their own cost. Adjustments carry the
// time of their call, so that only those of the range are looked at.
#define COGNIVE_WITHIN(from, to, team)                                  \
  "(" from "::timestamptz IS NULL OR \"timestamp\" >= " from ") " \
  "AND (" to "::timestamptz IS NULL OR \"timestamp\" < " to ") " \
  "AND (" team "::uuid IS NULL OR team_id = " team ") "
#define COGNIVE_CHARGED_CALLS(from, to, team)                                                                            \
  "(SELECT l.*, CASE WHEN j.call_id IS NULL THEN l.cost_nano_usd ELSE j.new_cost_nano_usd END AS charge, "         \
  "CASE WHEN j.call_id IS NULL THEN l.price_status ELSE j.new_price_status END AS charge_status "                  \
  "FROM (SELECT * FROM llm_calls WHERE " COGNIVE_WITHIN(from, to, team) ") l LEFT JOIN (SELECT DISTINCT ON (run_id, "    \
  "call_id) run_id, call_id, new_cost_nano_usd, new_price_status FROM charge_adjustments "                         \
  "WHERE " COGNIVE_WITHIN(from, to, team) "ORDER BY run_id, call_id, sequence DESC) j "                                  \
  "ON j.run_id = l.run_id AND j.call_id = l.id) c "

// Sums end at the largest number that there is; NULL when no call has the value.
#define COGNIVE_SUM(column) \
  "CASE WHEN sum(" column ") IS NOT NULL THEN least(sum(" column "), 9223372036854775807)::bigint END "

// One statement for every grouping: a dimension that is not asked for is NULL in every row and so makes no groups.
// Names are joined after the aggregation. A label is the run's, else the agent's.
constexpr pg::Query costs_query{
    "analytics_costs",
    "SELECT g.period, t.name, a.name, g.agent_id, g.model, g.provider, g.environment, g.label, g.calls, "
    "g.unpriced_calls, g.errors, g.input_tokens, g.output_tokens, g.cache_read_tokens, g.cache_write_tokens, g.cost "
    "FROM (SELECT CASE WHEN $1::text IS NOT NULL THEN date_trunc($1, c.\"timestamp\", 'UTC') END AS period, "
    "CASE WHEN $2 THEN c.team_id END AS team_id, CASE WHEN $3 THEN c.agent_id END AS agent_id, "
    "CASE WHEN $4 THEN c.model END AS model, CASE WHEN $5 THEN c.provider END AS provider, "
    "CASE WHEN $6 THEN c.environment END AS environment, coalesce(r.labels ->> $17, o.labels ->> $17) AS label, "
    "count(*) AS calls, count(*) - count(c.charge) AS unpriced_calls, "
    "count(*) FILTER (WHERE c.status = 'error') AS errors, "
    COGNIVE_SUM("c.input_tokens") "AS input_tokens, "
    COGNIVE_SUM("c.output_tokens") "AS output_tokens, "
    COGNIVE_SUM("c.cache_read_tokens") "AS cache_read_tokens, "
    COGNIVE_SUM("c.cache_write_tokens") "AS cache_write_tokens, "
    "coalesce(" COGNIVE_SUM("c.charge") ", 0) AS cost "
    "FROM " COGNIVE_CHARGED_CALLS("$7", "$8", "$9")
    "LEFT JOIN agent_runs r ON $17::text IS NOT NULL AND r.id = c.run_id "
    "LEFT JOIN agents o ON $17::text IS NOT NULL AND o.id = c.agent_id "
    "WHERE ($10::uuid IS NULL OR c.agent_id = $10) "
    "AND ($11::uuid IS NULL OR c.agent_id = $11) "
    "AND ($12::text IS NULL OR c.team_id = (SELECT id FROM teams WHERE name = $12)) "
    "AND ($13::text IS NULL OR c.model = $13) AND ($14::text IS NULL OR c.provider = $14) "
    "AND ($15::text IS NULL OR c.environment = $15) "
    "GROUP BY 1, 2, 3, 4, 5, 6, 7) g LEFT JOIN teams t ON t.id = g.team_id LEFT JOIN agents a ON a.id = g.agent_id "
    "ORDER BY g.period, g.cost DESC, g.calls DESC, g.model, g.provider, g.environment, g.label, a.name, t.name, "
    "g.agent_id LIMIT $16"};

constexpr pg::Query coverage_totals_query{
    "analytics_coverage_totals",
    "SELECT count(*), count(*) FILTER (WHERE charge_status = 'priced'), "
    "coalesce(" COGNIVE_SUM("input_tokens + output_tokens") ", 0), "
    "least(coalesce(sum(input_tokens + output_tokens) FILTER (WHERE charge_status = 'priced'), 0), "
    "9223372036854775807)::bigint FROM " COGNIVE_CHARGED_CALLS("$1", "$2", "$3")
    "WHERE ($4::uuid IS NULL OR agent_id = $4)"};

constexpr pg::Query coverage_rows_query{
    "analytics_coverage_rows",
    "SELECT charge_status, provider, model, count(*), "
    "coalesce(" COGNIVE_SUM("input_tokens + output_tokens") ", 0) FROM " COGNIVE_CHARGED_CALLS("$1", "$2", "$3")
    "WHERE charge_status <> 'priced' "
    "AND ($4::uuid IS NULL OR agent_id = $4) GROUP BY 1, 2, 3 ORDER BY 4 DESC, 3, 2, 1 LIMIT 100"};
// clang-format on

#undef COGNIVE_SUM
#undef COGNIVE_CHARGED_CALLS
#undef COGNIVE_WITHIN

constexpr pg::Query runs_query{
    "analytics_runs",
    "SELECT t.name, a.name, g.agent_id, g.environment, g.runs, g.active, g.succeeded, g.failed, g.cancelled, "
    "g.terminated FROM ("
    "SELECT CASE WHEN $1 THEN team_id END AS team_id, CASE WHEN $2 THEN agent_id END AS agent_id, "
    "CASE WHEN $3 THEN environment END AS environment, count(*) AS runs, "
    "count(*) FILTER (WHERE status IN ('queued', 'running')) AS active, count(*) FILTER (WHERE status = 'succeeded') "
    "AS succeeded, "
    "count(*) FILTER (WHERE status = 'failed') AS failed, count(*) FILTER (WHERE status = 'cancelled') AS cancelled, "
    "count(*) FILTER (WHERE status = 'terminated') AS terminated FROM agent_runs "
    "WHERE ($4::timestamptz IS NULL OR started_at >= $4) AND ($5::timestamptz IS NULL OR started_at < $5) "
    "AND ($6::uuid IS NULL OR team_id = $6) AND ($7::uuid IS NULL OR agent_id = $7) AND ($8::uuid IS NULL OR agent_id "
    "= $8) "
    "GROUP BY 1, 2, 3) g LEFT JOIN teams t ON t.id = g.team_id LEFT JOIN agents a ON a.id = g.agent_id "
    "ORDER BY g.runs DESC, a.name, t.name, g.environment, g.agent_id LIMIT $9"};

constexpr pg::Query latency_query{
    "analytics_latency",
    "SELECT t.name, a.name, g.agent_id, g.model, g.provider, g.environment, g.calls, g.measured, g.errors, "
    "g.durations[1], g.durations[2], g.durations[3] FROM ("
    "SELECT CASE WHEN $1 THEN team_id END AS team_id, CASE WHEN $2 THEN agent_id END AS agent_id, "
    "CASE WHEN $3 THEN model END AS model, CASE WHEN $4 THEN provider END AS provider, "
    "CASE WHEN $5 THEN environment END AS environment, count(*) AS calls, count(duration_ms) AS measured, "
    "count(*) FILTER (WHERE status = 'error') AS errors, "
    "percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY duration_ms) AS durations FROM llm_calls "
    "WHERE ($6::timestamptz IS NULL OR \"timestamp\" >= $6) AND ($7::timestamptz IS NULL OR \"timestamp\" < $7) "
    "AND ($8::uuid IS NULL OR team_id = $8) AND ($9::uuid IS NULL OR agent_id = $9) "
    "AND ($10::uuid IS NULL OR agent_id = $10) "
    "AND ($11::text IS NULL OR team_id = (SELECT id FROM teams WHERE name = $11)) "
    "AND ($12::text IS NULL OR model = $12) AND ($13::text IS NULL OR provider = $13) "
    "AND ($14::text IS NULL OR environment = $14) "
    "GROUP BY 1, 2, 3, 4, 5) g LEFT JOIN teams t ON t.id = g.team_id LEFT JOIN agents a ON a.id = g.agent_id "
    "ORDER BY g.calls DESC, g.model, g.provider, g.environment, a.name, t.name, g.agent_id LIMIT $15"};

constexpr pg::Query tools_query{
    "analytics_tools",
    "SELECT t.name, a.name, g.agent_id, g.tool, g.data_source, g.invocations, g.errors, g.violations, "
    "g.durations[1], g.durations[2], g.durations[3] FROM ("
    "SELECT CASE WHEN $1 THEN team_id END AS team_id, CASE WHEN $2 THEN agent_id END AS agent_id, "
    "CASE WHEN $3 THEN tool END AS tool, CASE WHEN $4 THEN data_source END AS data_source, count(*) AS invocations, "
    "count(*) FILTER (WHERE status = 'error') AS errors, count(violation) AS violations, "
    "percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY duration_ms) AS durations FROM tool_invocations "
    "WHERE ($5::timestamptz IS NULL OR \"timestamp\" >= $5) AND ($6::timestamptz IS NULL OR \"timestamp\" < $6) "
    "AND ($7::uuid IS NULL OR team_id = $7) AND ($8::uuid IS NULL OR agent_id = $8) "
    "AND ($9::uuid IS NULL OR agent_id = $9) "
    "AND ($10::text IS NULL OR team_id = (SELECT id FROM teams WHERE name = $10)) "
    "AND ($11::text IS NULL OR tool = $11) "
    "GROUP BY 1, 2, 3, 4) g LEFT JOIN teams t ON t.id = g.team_id LEFT JOIN agents a ON a.id = g.agent_id "
    "ORDER BY g.invocations DESC, g.tool, g.data_source, a.name, t.name, g.agent_id LIMIT $12"};

}  // namespace

Async<std::vector<CostRow>> costs(pg::Reader database, const CostQuery& query, const Principal& principal,
                                  Deadline deadline) {
  const auto grouped = [&](Dimension dimension) {
    return std::ranges::find(query.group_by, json::enum_text(dimension)) != query.group_by.end();
  };
  auto params = pg::Params::of(query.interval, grouped(Dimension::team), grouped(Dimension::agent),
                               grouped(Dimension::model), grouped(Dimension::provider), grouped(Dimension::environment),
                               query.from, query.to, principal.team_id, principal.agent_id, query.agent_id, query.team,
                               query.model, query.provider, query.environment, rows_max + 1, query.label());
  const auto rows = co_await database.execute_apart(costs_query, std::move(params), deadline);
  std::vector<CostRow> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& row = out[static_cast<std::size_t>(i)];
    rows[i].read(row.period, row.team, row.agent, row.agent_id, row.model, row.provider, row.environment, row.label,
                 row.calls, row.unpriced_calls, row.errors, row.input_tokens, row.output_tokens, row.cache_read_tokens,
                 row.cache_write_tokens, row.cost_usd);
  }
  co_return out;
}

Async<CoverageAnswer> coverage(pg::Reader database, const CoverageQuery& query, const Principal& principal,
                               Deadline deadline) {
  auto params = pg::Params::of(query.from, query.to, principal.team_id, principal.agent_id);
  const auto totals = co_await database.execute_apart(coverage_totals_query, params, deadline);
  CoverageAnswer out;
  totals[0].read(out.calls, out.priced_calls, out.tokens, out.priced_tokens);
  const auto rows = co_await database.execute_apart(coverage_rows_query, std::move(params), deadline);
  for (int i = 0; i < rows.size(); ++i) {
    auto& row = out.unpriced.emplace_back();
    rows[i].read(row.price_status, row.provider, row.model, row.calls, row.tokens);
  }
  co_return out;
}

Async<std::vector<RunRow>> runs(pg::Reader database, const RunQuery& query, const Principal& principal,
                                Deadline deadline) {
  const auto grouped = [&](RunDimension dimension) {
    return std::ranges::find(query.group_by, dimension) != query.group_by.end();
  };
  auto params =
      pg::Params::of(grouped(RunDimension::team), grouped(RunDimension::agent), grouped(RunDimension::environment),
                     query.from, query.to, principal.team_id, principal.agent_id, query.agent_id, rows_max + 1);
  const auto rows = co_await database.execute_apart(runs_query, std::move(params), deadline);
  std::vector<RunRow> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& row = out[static_cast<std::size_t>(i)];
    rows[i].read(row.team, row.agent, row.agent_id, row.environment, row.runs, row.active, row.succeeded, row.failed,
                 row.cancelled, row.terminated);
  }
  co_return out;
}

Async<std::vector<LatencyRow>> latency(pg::Reader database, const LatencyQuery& query, const Principal& principal,
                                       Deadline deadline) {
  const auto grouped = [&](Dimension dimension) {
    return std::ranges::find(query.group_by, dimension) != query.group_by.end();
  };
  auto params = pg::Params::of(grouped(Dimension::team), grouped(Dimension::agent), grouped(Dimension::model),
                               grouped(Dimension::provider), grouped(Dimension::environment), query.from, query.to,
                               principal.team_id, principal.agent_id, query.agent_id, query.team, query.model,
                               query.provider, query.environment, rows_max + 1);
  const auto rows = co_await database.execute_apart(latency_query, std::move(params), deadline);
  std::vector<LatencyRow> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& row = out[static_cast<std::size_t>(i)];
    rows[i].read(row.team, row.agent, row.agent_id, row.model, row.provider, row.environment, row.calls,
                 row.measured_calls, row.errors, row.p50_ms, row.p95_ms, row.p99_ms);
  }
  co_return out;
}

Async<std::vector<ToolRow>> tools(pg::Reader database, const ToolQuery& query, const Principal& principal,
                                  Deadline deadline) {
  const auto grouped = [&](ToolDimension dimension) {
    return std::ranges::find(query.group_by, dimension) != query.group_by.end();
  };
  auto params =
      pg::Params::of(grouped(ToolDimension::team), grouped(ToolDimension::agent), grouped(ToolDimension::tool),
                     grouped(ToolDimension::data_source), query.from, query.to, principal.team_id, principal.agent_id,
                     query.agent_id, query.team, query.tool, rows_max + 1);
  const auto rows = co_await database.execute_apart(tools_query, std::move(params), deadline);
  std::vector<ToolRow> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& row = out[static_cast<std::size_t>(i)];
    rows[i].read(row.team, row.agent, row.agent_id, row.tool, row.data_source, row.invocations, row.errors,
                 row.violations, row.p50_ms, row.p95_ms, row.p99_ms);
  }
  co_return out;
}

}  // namespace cognive::analytics::store
