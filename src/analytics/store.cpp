#include "analytics/store.hpp"

#include "rollups/latency.hpp"
#include "rollups/range.hpp"

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

// Labels are those of runs, else of agents, of which rollups know nothing: these costs are read from the ledger.
constexpr pg::Query costs_by_label_query{
    "analytics_costs_by_label",
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

// What calls add up to in a range (rollups::Range): $1 to $4 are its first hour, first day, last day and last hour;
// `of` is the parameter of granularity_prefix().
#define COGNIVE_SUMS                                                                                              \
  "team_id, agent_id, environment, provider, model, price_status, calls, errors, usage_calls, input_tokens, "       \
  "output_tokens, cache_read_tokens, cache_write_tokens, cost_nano_usd, latency_buckets, "                        \
  "latency_counts::numeric[] AS latency_counts "
#define COGNIVE_WHOLE_PARTS(of)                                                                                   \
  "SELECT period AS at, " COGNIVE_SUMS "FROM usage_aggregations WHERE granularity = " of "::text || 'day' "         \
  "AND period >= $2 AND period < $3 UNION ALL "                                                                   \
  "SELECT period, " COGNIVE_SUMS "FROM usage_aggregations WHERE granularity = " of "::text || 'hour' "              \
  "AND period >= $1 AND period < $2 UNION ALL "                                                                   \
  "SELECT period, " COGNIVE_SUMS "FROM usage_aggregations WHERE granularity = " of "::text || 'hour' AND period >= $3 " \
  "AND period < $4 UNION ALL "                                                                                    \
  "SELECT hour, " COGNIVE_SUMS "FROM usage_unfolded WHERE of_teams = (" of "::text = 'team_') AND hour >= $1 AND hour < $4 "
// Where the range begins or ends within an hour, $5 to $7 (hour, begin, end) are its edges: when all that is known of
// the hour lies within, its sums will do, else the calls themselves are read. $8: bounds of latency buckets.
#define COGNIVE_EDGES(of)                                                                                         \
  "edges AS MATERIALIZED (SELECT e.*, EXISTS (SELECT FROM usage_aggregations WHERE granularity = " of "::text || 'hour' " \
  "AND period = e.hour AND (first_at < e.begin_at OR last_at >= e.end_at)) OR EXISTS (SELECT FROM usage_unfolded d "  \
  "WHERE d.of_teams = (" of "::text = 'team_') AND d.hour = e.hour AND (first_at < e.begin_at OR last_at >= e.end_at)) AS is_cut "                          \
  "FROM unnest($5::timestamptz[], $6::timestamptz[], $7::timestamptz[]) AS e (hour, begin_at, end_at)) "
#define COGNIVE_EDGE_PARTS(of)                                                                                    \
  "UNION ALL SELECT period, " COGNIVE_SUMS "FROM usage_aggregations JOIN edges e ON granularity = " of "::text || 'hour' " \
  "AND period = e.hour AND NOT e.is_cut UNION ALL "                                                               \
  "SELECT d.hour, " COGNIVE_SUMS "FROM usage_unfolded d JOIN edges e ON d.of_teams = (" of "::text = 'team_') "          \
  "AND d.hour = e.hour AND NOT e.is_cut UNION ALL "  \
  "SELECT e.hour, c.team_id, c.agent_id, c.environment, coalesce(c.provider, ''), c.model, c.charge_status, 1, "    \
  "CASE c.status WHEN 'error' THEN 1 ELSE 0 END, CASE WHEN c.input_tokens IS NULL THEN 0 ELSE 1 END, "            \
  "coalesce(c.input_tokens, 0), coalesce(c.output_tokens, 0), coalesce(c.cache_read_tokens, 0), "                 \
  "coalesce(c.cache_write_tokens, 0), coalesce(c.charge, 0), "                                                    \
  "CASE WHEN c.duration_ms IS NULL THEN '{}' ELSE ARRAY[width_bucket(c.duration_ms, $8::bigint[]) - 1]::smallint[] END, " \
  "CASE WHEN c.duration_ms IS NULL THEN '{}' ELSE ARRAY[1]::numeric[] END "                                       \
  "FROM edges e CROSS JOIN LATERAL " COGNIVE_CHARGED_CALLS("e.begin_at", "e.end_at", "NULL") "WHERE e.is_cut "

// A dimension that is not asked for is NULL in every row and so makes no groups. Names are joined after the aggregation.
#define COGNIVE_FILTER(n1, n2, n3, n4, n5, n6, n7)                                                                \
  "WHERE (" n1 "::uuid IS NULL OR p.team_id = " n1 ") AND (" n2 "::uuid IS NULL OR p.agent_id = " n2 ") "         \
  "AND (" n3 "::uuid IS NULL OR p.agent_id = " n3 ") "                                                            \
  "AND (" n4 "::text IS NULL OR p.team_id = (SELECT id FROM teams WHERE name = " n4 ")) "                         \
  "AND (" n5 "::text IS NULL OR p.model = " n5 ") AND (" n6 "::text IS NULL OR nullif(p.provider, '') = " n6 ") "             \
  "AND (" n7 "::text IS NULL OR p.environment = " n7 ") "
#define COGNIVE_COSTS                                                                                             \
  "SELECT g.period, t.name, a.name, g.agent_id, g.model, g.provider, g.environment, NULL::text, g.calls, "          \
  "g.unpriced_calls, g.errors, g.input_tokens, g.output_tokens, g.cache_read_tokens, g.cache_write_tokens, g.cost " \
  "FROM (SELECT CASE WHEN $9::text IS NOT NULL THEN date_trunc($9, p.at, 'UTC') END AS period, "                  \
  "CASE WHEN $10 THEN p.team_id END AS team_id, CASE WHEN $11 THEN p.agent_id END AS agent_id, "                  \
  "CASE WHEN $12 THEN p.model END AS model, CASE WHEN $13 THEN nullif(p.provider, '') END AS provider, "          \
  "CASE WHEN $14 THEN p.environment END AS environment, " COGNIVE_SUM("p.calls") "AS calls, "                     \
  "least(coalesce(sum(p.calls) FILTER (WHERE p.price_status NOT IN ('priced', 'partial')), 0), 9223372036854775807)::bigint " \
  "AS unpriced_calls, " COGNIVE_SUM("p.errors") "AS errors, "                                                     \
  "CASE WHEN sum(p.usage_calls) > 0 THEN " COGNIVE_SUM("p.input_tokens") "END AS input_tokens, "                  \
  "CASE WHEN sum(p.usage_calls) > 0 THEN " COGNIVE_SUM("p.output_tokens") "END AS output_tokens, "                \
  "CASE WHEN sum(p.usage_calls) > 0 THEN " COGNIVE_SUM("p.cache_read_tokens") "END AS cache_read_tokens, "        \
  "CASE WHEN sum(p.usage_calls) > 0 THEN " COGNIVE_SUM("p.cache_write_tokens") "END AS cache_write_tokens, "      \
  COGNIVE_SUM("p.cost_nano_usd") "AS cost FROM parts p "                                                          \
  COGNIVE_FILTER("$15", "$16", "$17", "$18", "$19", "$20", "$21")                                                 \
  "GROUP BY 1, 2, 3, 4, 5, 6 HAVING sum(p.calls) > 0) g LEFT JOIN teams t ON t.id = g.team_id "                   \
  "LEFT JOIN agents a ON a.id = g.agent_id "                                                                      \
  "ORDER BY g.period, g.cost DESC, g.calls DESC, g.model, g.provider, g.environment, a.name, t.name, g.agent_id "   \
  "LIMIT $22"
#define COGNIVE_COUNT(value, condition)                                                                           \
  "least(coalesce(sum(" value ") FILTER (WHERE " condition "), 0), 9223372036854775807)::bigint"
#define COGNIVE_COVERAGE                                                                                          \
  "SELECT GROUPING(p.model) = 1, coalesce(p.price_status, ''), nullif(p.provider, ''), coalesce(p.model, ''), "     \
  COGNIVE_COUNT("p.calls", "true") ", " COGNIVE_COUNT("p.calls", "p.price_status = 'priced'") ", "                \
  COGNIVE_COUNT("p.input_tokens + p.output_tokens", "true") ", "                                                  \
  COGNIVE_COUNT("p.input_tokens + p.output_tokens", "p.price_status = 'priced'") " FROM parts p "                 \
  "WHERE ($9::uuid IS NULL OR p.team_id = $9) AND ($10::uuid IS NULL OR p.agent_id = $10) "                       \
  "GROUP BY GROUPING SETS ((), (p.price_status, nullif(p.provider, ''), p.model)) "                               \
  "HAVING GROUPING(p.model) = 1 OR (p.price_status <> 'priced' AND sum(p.calls) > 0) "                            \
  "ORDER BY 1 DESC, 5 DESC, 4, 3, 2 LIMIT 101"
// Counts of calls and counts by bucket in one list, whose groups are then ranked: the nearest rank's bucket.
#define COGNIVE_LATENCY                                                                                           \
  ", grouped AS MATERIALIZED (SELECT CASE WHEN $9 THEN p.team_id END AS team_id, "                                \
  "CASE WHEN $10 THEN p.agent_id END AS agent_id, CASE WHEN $11 THEN p.model END AS model, "                      \
  "CASE WHEN $12 THEN nullif(p.provider, '') END AS provider, CASE WHEN $13 THEN p.environment END AS environment, " \
  "p.calls, p.errors, p.latency_buckets, p.latency_counts FROM parts p "                                          \
  COGNIVE_FILTER("$14", "$15", "$16", "$17", "$18", "$19", "$20") "), "                                           \
  "counted AS (SELECT team_id, agent_id, model, provider, environment, bucket, sum(calls) AS calls, "               \
  "sum(errors) AS errors, sum(count) AS count FROM (SELECT team_id, agent_id, model, provider, environment, "       \
  "NULL::smallint AS bucket, calls, errors, 0 AS count FROM grouped UNION ALL SELECT team_id, agent_id, model, "    \
  "provider, environment, l.bucket, 0, 0, l.count FROM grouped, unnest(latency_buckets, latency_counts) AS l (bucket, count)) " \
  "listed GROUP BY team_id, agent_id, model, provider, environment, bucket), "                                    \
  "ranked AS (SELECT *, sum(count) OVER (w ORDER BY bucket NULLS FIRST) AS upto, sum(count) OVER w AS measured "    \
  "FROM counted WINDOW w AS (PARTITION BY team_id, agent_id, model, provider, environment)), "                    \
  "g AS (SELECT team_id, agent_id, model, provider, environment, " COGNIVE_SUM("calls") "AS calls, "              \
  "max(measured)::bigint AS measured, " COGNIVE_SUM("errors") "AS errors, "                                       \
  "min(bucket) FILTER (WHERE count > 0 AND upto >= 0.5 * measured)::bigint AS p50, "                              \
  "min(bucket) FILTER (WHERE count > 0 AND upto >= 0.95 * measured)::bigint AS p95, "                             \
  "min(bucket) FILTER (WHERE count > 0 AND upto >= 0.99 * measured)::bigint AS p99 "                              \
  "FROM ranked GROUP BY 1, 2, 3, 4, 5 HAVING sum(calls) > 0) "                                                    \
  "SELECT t.name, a.name, g.agent_id, g.model, g.provider, g.environment, g.calls, g.measured, g.errors, g.p50, "   \
  "g.p95, g.p99 FROM g LEFT JOIN teams t ON t.id = g.team_id LEFT JOIN agents a ON a.id = g.agent_id "            \
  "ORDER BY g.calls DESC, g.model, g.provider, g.environment, a.name, t.name, g.agent_id LIMIT $21"

// Each in two forms: a range of whole hours needs no look at the ledger, whose many partitions take long to plan with.
#define COGNIVE_WHOLE(of) "WITH parts AS (" COGNIVE_WHOLE_PARTS(of) "AND $5::timestamptz[] IS NOT NULL "                  \
  "AND $6::timestamptz[] IS NOT NULL AND $7::timestamptz[] IS NOT NULL AND $8::bigint[] IS NOT NULL) "
#define COGNIVE_CUT(of) "WITH " COGNIVE_EDGES(of) ", parts AS (" COGNIVE_WHOLE_PARTS(of) COGNIVE_EDGE_PARTS(of) ") "

constexpr pg::Query costs_query{"analytics_costs", COGNIVE_WHOLE("$23") COGNIVE_COSTS};
constexpr pg::Query costs_cut_query{"analytics_costs_cut", COGNIVE_CUT("$23") COGNIVE_COSTS};
constexpr pg::Query coverage_query{"analytics_coverage", COGNIVE_WHOLE("$11") COGNIVE_COVERAGE};
constexpr pg::Query coverage_cut_query{"analytics_coverage_cut", COGNIVE_CUT("$11") COGNIVE_COVERAGE};
constexpr pg::Query latency_query{"analytics_latency", COGNIVE_WHOLE("$22") COGNIVE_LATENCY};
constexpr pg::Query latency_cut_query{"analytics_latency_cut", COGNIVE_CUT("$22") COGNIVE_LATENCY};
// clang-format on

#undef COGNIVE_CUT
#undef COGNIVE_WHOLE
#undef COGNIVE_LATENCY
#undef COGNIVE_COVERAGE
#undef COGNIVE_COUNT
#undef COGNIVE_COSTS
#undef COGNIVE_FILTER
#undef COGNIVE_EDGE_PARTS
#undef COGNIVE_EDGES
#undef COGNIVE_WHOLE_PARTS
#undef COGNIVE_SUMS
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

namespace {

// Which sums do: those of agents, or the far fewer of teams. The last parameter of the statements that read rollups.
std::string_view granularity_prefix(bool tells_agents, const Principal& principal,
                                    const std::optional<Uuid>& agent_id = {}) {
  return tells_agents || principal.agent_id || agent_id ? "" : "team_";
}

// $1 to $8 of the statements that read rollups.
pg::Params range_params(const rollups::Range& range) {
  auto params = pg::Params::of(range.first_hour, range.first_day, range.last_day, range.last_hour);
  pg::ArrayBuilder hours(pg::ArrayBuilder::Type::timestamptz);
  pg::ArrayBuilder begins(pg::ArrayBuilder::Type::timestamptz);
  pg::ArrayBuilder ends(pg::ArrayBuilder::Type::timestamptz);
  pg::ArrayBuilder bounds(pg::ArrayBuilder::Type::int8);
  for (const auto& edge : range.edges) {
    hours.add(edge.hour);
    begins.add(edge.begin);
    ends.add(edge.end);
  }
  for (const auto bound : rollups::latency_bounds()) bounds.add(bound);
  for (auto* column : {&hours, &begins, &ends, &bounds}) std::move(*column).move_into(params);
  return params;
}

template <typename... Values>
pg::Params params_of(const rollups::Range& range, const Values&... values) {
  auto params = range_params(range);
  (params.add(values), ...);
  return params;
}

Async<pg::Rows> read_costs(pg::Reader database, const CostQuery& query, const Principal& principal, Deadline deadline) {
  const auto grouped = [&](Dimension dimension) {
    return std::ranges::find(query.group_by, json::enum_text(dimension)) != query.group_by.end();
  };
  if (const auto label = query.label()) {
    auto params =
        pg::Params::of(query.interval, grouped(Dimension::team), grouped(Dimension::agent), grouped(Dimension::model),
                       grouped(Dimension::provider), grouped(Dimension::environment), query.from, query.to,
                       principal.team_id, principal.agent_id, query.agent_id, query.team, query.model, query.provider,
                       query.environment, rows_max + 1, label);
    co_return co_await database.execute_apart(costs_by_label_query, std::move(params), deadline);
  }
  const auto range = rollups::Range::of(query.from, query.to, query.interval != Interval::hour);
  auto params =
      params_of(range, query.interval, grouped(Dimension::team), grouped(Dimension::agent), grouped(Dimension::model),
                grouped(Dimension::provider), grouped(Dimension::environment), principal.team_id, principal.agent_id,
                query.agent_id, query.team, query.model, query.provider, query.environment, rows_max + 1,
                granularity_prefix(grouped(Dimension::agent), principal, query.agent_id));
  const auto& statement = range.edges.empty() ? costs_query : costs_cut_query;
  co_return co_await database.execute_apart(statement, std::move(params), deadline);
}

}  // namespace

Async<std::vector<CostRow>> costs(pg::Reader database, const CostQuery& query, const Principal& principal,
                                  Deadline deadline) {
  const auto rows = co_await read_costs(database, query, principal, deadline);
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
  const auto range = rollups::Range::of(query.from, query.to, true);
  auto params = params_of(range, principal.team_id, principal.agent_id, granularity_prefix(false, principal));
  const auto& statement = range.edges.empty() ? coverage_query : coverage_cut_query;
  const auto rows = co_await database.execute_apart(statement, std::move(params), deadline);
  CoverageAnswer out;
  for (int i = 0; i < rows.size(); ++i) {
    bool is_total = false;
    CoverageRow row;
    std::int64_t priced_calls = 0;
    std::int64_t priced_tokens = 0;
    rows[i].read(is_total, row.price_status, row.provider, row.model, row.calls, priced_calls, row.tokens,
                 priced_tokens);
    if (is_total) {
      out.calls = row.calls;
      out.priced_calls = priced_calls;
      out.tokens = row.tokens;
      out.priced_tokens = priced_tokens;
    } else {
      out.unpriced.push_back(std::move(row));
    }
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
  const auto range = rollups::Range::of(query.from, query.to, true);
  auto params =
      params_of(range, grouped(Dimension::team), grouped(Dimension::agent), grouped(Dimension::model),
                grouped(Dimension::provider), grouped(Dimension::environment), principal.team_id, principal.agent_id,
                query.agent_id, query.team, query.model, query.provider, query.environment, rows_max + 1,
                granularity_prefix(grouped(Dimension::agent), principal, query.agent_id));
  const auto& statement = range.edges.empty() ? latency_query : latency_cut_query;
  const auto rows = co_await database.execute_apart(statement, std::move(params), deadline);
  const auto duration = [](std::optional<std::int64_t>& bucket) {
    if (bucket) bucket = rollups::latency_of_bucket(static_cast<std::int16_t>(*bucket));
  };
  std::vector<LatencyRow> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& row = out[static_cast<std::size_t>(i)];
    rows[i].read(row.team, row.agent, row.agent_id, row.model, row.provider, row.environment, row.calls,
                 row.measured_calls, row.errors, row.p50_ms, row.p95_ms, row.p99_ms);
    for (auto* bucket : {&row.p50_ms, &row.p95_ms, &row.p99_ms}) duration(*bucket);
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
