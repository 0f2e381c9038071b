#include "rollups/store.hpp"

#include <charconv>

#include "rollups/latency.hpp"
#include "rollups/periods.hpp"

namespace cognive::rollups::store {
namespace {

using Type = pg::ArrayBuilder::Type;

#define COGNIVE_KEY "team_id, agent_id, environment, provider, model, price_status"

#define COGNIVE_SUM_NAMES                                                                                           \
  "calls, errors, usage_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_nano_usd, " \
  "first_at, last_at, latency_buckets, latency_counts"

// Two rows however many sums there are: a row for each would cost about as much as the calls themselves. The few sums
// of teams stand apart, so that who asks for them need not add up those of all agents.
constexpr pg::Query append_query{
    "rollups_append",
    "INSERT INTO usage_commits (of_teams, hour, " COGNIVE_KEY ", " COGNIVE_SUM_NAMES
    ", items) VALUES (false, $1::timestamptz[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], "
    "$7::text[], "
    "$8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], "
    "$15::bigint[], $16::timestamptz[], $17::timestamptz[], $18::text[], $19::text[], $20), "
    "(true, $21::timestamptz[], $22::uuid[], $23::uuid[], $24::text[], $25::text[], $26::text[], $27::text[], "
    "$28::bigint[], $29::bigint[], $30::bigint[], $31::bigint[], $32::bigint[], $33::bigint[], $34::bigint[], "
    "$35::bigint[], $36::timestamptz[], $37::timestamptz[], $38::text[], $39::text[], $40)"};

constexpr pg::Query lock_query{"rollups_lock",
                               "SELECT pg_try_advisory_xact_lock(hashtextextended('rollups.compact', 0))"};

// Whole commits until there are $1 sums.
constexpr pg::Query take_query{
    "rollups_take",
    "DELETE FROM usage_commits WHERE ctid = ANY (ARRAY(SELECT ctid FROM (SELECT ctid, sum(items) OVER (ROWS BETWEEN "
    "UNBOUNDED PRECEDING AND 1 PRECEDING) AS before FROM usage_commits) AS waiting WHERE coalesce(before, 0) < $1)) "
    "RETURNING of_teams, hour, " COGNIVE_KEY ", " COGNIVE_SUM_NAMES};

constexpr pg::Query fold_query{
    "rollups_fold",
    "INSERT INTO usage_aggregations AS a (granularity, period, " COGNIVE_KEY ", " COGNIVE_SUM_NAMES
    ") "
    "SELECT $20, row.period, row.team_id, row.agent_id, row.environment, row.provider, row.model, row.price_status, "
    "row.calls, row.errors, row.usage_calls, row.input_tokens, row.output_tokens, row.cache_read_tokens, "
    "row.cache_write_tokens, row.cost_nano_usd, row.first_at, row.last_at, row.buckets::smallint[], "
    "row.counts::numeric[] FROM unnest($1::timestamptz[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], "
    "$7::text[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], "
    "$14::bigint[], $15::bigint[], $16::timestamptz[], $17::timestamptz[], $18::text[], $19::text[]) AS row "
    "(period, " COGNIVE_KEY
    ", calls, errors, usage_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, "
    "cost_nano_usd, first_at, last_at, buckets, counts) "
    "ON CONFLICT (granularity, period, " COGNIVE_KEY
    ") DO UPDATE SET calls = a.calls + excluded.calls, "
    "errors = a.errors + excluded.errors, usage_calls = a.usage_calls + excluded.usage_calls, "
    "input_tokens = a.input_tokens + excluded.input_tokens, "
    "output_tokens = a.output_tokens + excluded.output_tokens, "
    "cache_read_tokens = a.cache_read_tokens + excluded.cache_read_tokens, "
    "cache_write_tokens = a.cache_write_tokens + excluded.cache_write_tokens, "
    "cost_nano_usd = a.cost_nano_usd + excluded.cost_nano_usd, first_at = least(a.first_at, excluded.first_at), "
    "last_at = greatest(a.last_at, excluded.last_at), (latency_buckets, latency_counts) = "
    "(SELECT coalesce(array_agg(bucket ORDER BY bucket), '{}'), coalesce(array_agg(count ORDER BY bucket), '{}') FROM ("
    "SELECT bucket, sum(count) AS count FROM (SELECT * FROM unnest(a.latency_buckets, a.latency_counts) UNION ALL "
    "SELECT * FROM unnest(excluded.latency_buckets, excluded.latency_counts)) AS both_of (bucket, count) "
    "GROUP BY bucket HAVING sum(count) <> 0) counted)"};

// What calls are charged now, without those of other hours. $1 ≤ timestamp < $2; $3: bounds of latency buckets.
// clang-format off
#define COGNIVE_LEDGER                                                                                               \
  "SELECT date_trunc('hour', l.\"timestamp\", 'UTC') AS hour, l.team_id, l.agent_id, l.environment, "                \
  "coalesce(l.provider, '') AS provider, l.model, "                                                                  \
  "CASE WHEN j.call_id IS NULL THEN l.price_status ELSE j.new_price_status END AS price_status, "                    \
  "CASE WHEN j.call_id IS NULL THEN l.cost_nano_usd ELSE j.new_cost_nano_usd END AS charge, l.status, "              \
  "l.input_tokens, l.output_tokens, l.cache_read_tokens, l.cache_write_tokens, "                                     \
  "width_bucket(l.duration_ms, $3::bigint[]) - 1 AS bucket FROM llm_calls l LEFT JOIN "                              \
  "(SELECT DISTINCT ON (run_id, call_id) run_id, call_id, new_cost_nano_usd, new_price_status "                      \
  "FROM charge_adjustments WHERE \"timestamp\" >= $1 AND \"timestamp\" < $2 "                                        \
  "ORDER BY run_id, call_id, sequence DESC) j ON j.run_id = l.run_id AND j.call_id = l.id "                          \
  "WHERE l.\"timestamp\" >= $1 AND l.\"timestamp\" < $2"

// Both sides as (granularity, period, key, sums, histogram), and where they differ: compared as numbers, not as the JSON
// that is shown, where 1 and 1.0 are two. A sum of nothing at all is as good as none.
#define COGNIVE_SUM_COLUMNS                                                                                          \
  "sum(calls) AS calls, sum(errors) AS errors, sum(usage_calls) AS usage_calls, sum(input_tokens) AS input_tokens, "  \
  "sum(output_tokens) AS output_tokens, sum(cache_read_tokens) AS cache_read_tokens, "                               \
  "sum(cache_write_tokens) AS cache_write_tokens, sum(cost_nano_usd) AS cost_nano_usd"

// The sums that each part of an hour counts for. Deltas of teams and of agents are apart already.
#define COGNIVE_COARSER_DELTAS                                                                                       \
  "CROSS JOIN LATERAL (VALUES (CASE WHEN d.of_teams THEN 'team_hour' ELSE 'hour' END, d.hour), "                     \
  "(CASE WHEN d.of_teams THEN 'team_day' ELSE 'day' END, date_trunc('day', d.hour, 'UTC'))) "                        \
  "AS coarser (granularity, period)"
#define COGNIVE_COARSER(part)                                                                                        \
  "CROSS JOIN LATERAL (VALUES ('hour', " part ".hour, " part ".agent_id), "                                          \
  "('day', date_trunc('day', " part ".hour, 'UTC'), " part ".agent_id), "                                            \
  "('team_hour', " part ".hour, '00000000-0000-0000-0000-000000000000'), "                                           \
  "('team_day', date_trunc('day', " part ".hour, 'UTC'), '00000000-0000-0000-0000-000000000000')) "                  \
  "AS coarser (granularity, period, agent_id)"

#define COGNIVE_SUMS_JSON(side)                                                                                      \
  "CASE WHEN " side ".calls IS NOT NULL THEN json_build_object('calls', " side ".calls, 'errors', " side             \
  ".errors, 'usage_calls', " side ".usage_calls, 'input_tokens', " side ".input_tokens, 'output_tokens', " side      \
  ".output_tokens, 'cache_read_tokens', " side ".cache_read_tokens, 'cache_write_tokens', " side                     \
  ".cache_write_tokens, 'cost_nano_usd', " side ".cost_nano_usd, 'latencies', " side ".latencies)::text ELSE 'null' END"

constexpr pg::Query verify_query{
    "rollups_verify",
    "WITH ledger_calls AS MATERIALIZED (" COGNIVE_LEDGER "), "
    "ledger_parts AS (SELECT hour, " COGNIVE_KEY ", bucket, count(*) AS calls, "
    "count(*) FILTER (WHERE status = 'error') AS errors, count(input_tokens) AS usage_calls, "
    "coalesce(sum(input_tokens), 0) AS input_tokens, coalesce(sum(output_tokens), 0) AS output_tokens, "
    "coalesce(sum(cache_read_tokens), 0) AS cache_read_tokens, "
    "coalesce(sum(cache_write_tokens), 0) AS cache_write_tokens, coalesce(sum(charge), 0) AS cost_nano_usd "
    "FROM ledger_calls GROUP BY hour, " COGNIVE_KEY ", bucket), "
    "ledger_periods AS (SELECT granularity, period, team_id, coarser.agent_id, environment, provider, model, "
    "price_status, bucket, calls, errors, usage_calls, input_tokens, output_tokens, cache_read_tokens, "
    "cache_write_tokens, cost_nano_usd FROM ledger_parts p " COGNIVE_COARSER("p") "), "
    "ledger AS (SELECT granularity, period, " COGNIVE_KEY ", " COGNIVE_SUM_COLUMNS
    ", jsonb_object_agg(bucket, calls) FILTER (WHERE bucket IS NOT NULL) AS latencies FROM "
    "(SELECT granularity, period, " COGNIVE_KEY ", bucket, " COGNIVE_SUM_COLUMNS " FROM ledger_periods "
    "GROUP BY granularity, period, " COGNIVE_KEY ", bucket) by_bucket GROUP BY granularity, period, " COGNIVE_KEY "), "
    "stored_parts AS (SELECT * FROM usage_aggregations WHERE granularity IN ('hour', 'day', 'team_hour', 'team_day') "
    "AND period >= $1 AND period < $2 UNION ALL SELECT granularity, period, team_id, d.agent_id, environment, "
    "provider, model, price_status, calls, errors, usage_calls, input_tokens, output_tokens, cache_read_tokens, "
    "cache_write_tokens, cost_nano_usd, first_at, last_at, latency_buckets, latency_counts::numeric[] "
    "FROM usage_unfolded d " COGNIVE_COARSER_DELTAS " WHERE hour >= $1 AND hour < $2), "
    "stored_sums AS (SELECT granularity, period, " COGNIVE_KEY ", " COGNIVE_SUM_COLUMNS " FROM stored_parts "
    "GROUP BY granularity, period, " COGNIVE_KEY "), "
    "stored_latencies AS (SELECT granularity, period, " COGNIVE_KEY ", jsonb_object_agg(bucket, count) AS latencies "
    "FROM (SELECT granularity, period, " COGNIVE_KEY ", bucket, sum(count) AS count FROM stored_parts, "
    "unnest(latency_buckets, latency_counts) AS latency (bucket, count) "
    "GROUP BY granularity, period, " COGNIVE_KEY ", bucket HAVING sum(count) <> 0) counted "
    "GROUP BY granularity, period, " COGNIVE_KEY "), "
    "stored AS (SELECT * FROM stored_sums LEFT JOIN stored_latencies USING (granularity, period, " COGNIVE_KEY ") "
    "WHERE (calls, errors, usage_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, "
    "cost_nano_usd) <> (0, 0, 0, 0, 0, 0, 0, 0) OR latencies IS NOT NULL), "
    "compared AS (SELECT granularity, period, " COGNIVE_KEY ", coalesce(s.calls, 0) AS calls, "
    COGNIVE_SUMS_JSON("s") " AS stored, " COGNIVE_SUMS_JSON("l") " AS ledger, "
    "(s.calls, s.errors, s.usage_calls, s.input_tokens, s.output_tokens, s.cache_read_tokens, s.cache_write_tokens, "
    "s.cost_nano_usd, s.latencies) IS NOT DISTINCT FROM (l.calls, l.errors, l.usage_calls, l.input_tokens, "
    "l.output_tokens, l.cache_read_tokens, l.cache_write_tokens, l.cost_nano_usd, l.latencies) AS agrees "
    "FROM stored s FULL JOIN ledger l USING (granularity, period, " COGNIVE_KEY ")) "
    "SELECT granularity, period, " COGNIVE_KEY ", stored, ledger, 0::bigint, 0::bigint FROM (SELECT * FROM compared "
    "WHERE NOT agrees ORDER BY period, granularity DESC, " COGNIVE_KEY " LIMIT $4) disagreeing UNION ALL "
    "SELECT '', $1, '00000000-0000-0000-0000-000000000000', '00000000-0000-0000-0000-000000000000', '', '', '', '', '', "
    "'', count(*), coalesce(sum(calls) FILTER (WHERE granularity = 'hour'), 0)::bigint FROM compared"};
// clang-format on

#undef COGNIVE_SUMS_JSON
#undef COGNIVE_COARSER
#undef COGNIVE_COARSER_DELTAS
#undef COGNIVE_SUM_COLUMNS
#undef COGNIVE_LEDGER
#undef COGNIVE_SUM_NAMES
#undef COGNIVE_KEY

// {1,2,3}
template <typename Item>
std::string array_text(const std::vector<std::pair<std::int16_t, std::int64_t>>& latencies, Item item) {
  std::string out = "{";
  for (const auto& latency : latencies) {
    if (out.size() > 1) out.push_back(',');
    fmt::format_to(std::back_inserter(out), "{}", item(latency));
  }
  out.push_back('}');
  return out;
}

void add_params(pg::Params& params, const std::vector<Deltas::Row>& rows) {
  pg::ArrayBuilder hour(Type::timestamptz);
  pg::ArrayBuilder team_id(Type::uuid);
  pg::ArrayBuilder agent_id(Type::uuid);
  pg::ArrayBuilder environment(Type::text);
  pg::ArrayBuilder provider(Type::text);
  pg::ArrayBuilder model(Type::text);
  pg::ArrayBuilder price_status(Type::text);
  pg::ArrayBuilder calls(Type::int8);
  pg::ArrayBuilder errors(Type::int8);
  pg::ArrayBuilder usage_calls(Type::int8);
  std::array<pg::ArrayBuilder, 4> tokens{pg::ArrayBuilder(Type::int8), pg::ArrayBuilder(Type::int8),
                                         pg::ArrayBuilder(Type::int8), pg::ArrayBuilder(Type::int8)};
  pg::ArrayBuilder cost(Type::int8);
  pg::ArrayBuilder first_at(Type::timestamptz);
  pg::ArrayBuilder last_at(Type::timestamptz);
  pg::ArrayBuilder buckets(Type::text);
  pg::ArrayBuilder counts(Type::text);
  for (const auto& row : rows) {
    hour.add(row.hour);
    team_id.add(row.team_id);
    agent_id.add(row.agent_id);
    environment.add(std::string_view(row.environment));
    provider.add(std::string_view(row.provider));
    model.add(std::string_view(row.model));
    price_status.add(std::string_view(row.price_status));
    calls.add(row.sums->calls);
    errors.add(row.sums->errors);
    usage_calls.add(row.sums->usage_calls);
    for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i].add(row.sums->tokens[i]);
    cost.add(row.sums->cost_nanos);
    first_at.add(row.sums->first_at);
    last_at.add(row.sums->last_at);
    buckets.add(std::string_view(array_text(row.sums->latencies, [](const auto& one) { return one.first; })));
    counts.add(std::string_view(array_text(row.sums->latencies, [](const auto& one) { return one.second; })));
  }
  for (auto* column :
       {&hour, &team_id, &agent_id, &environment, &provider, &model, &price_status, &calls, &errors, &usage_calls,
        &tokens[0], &tokens[1], &tokens[2], &tokens[3], &cost, &first_at, &last_at, &buckets, &counts}) {
    std::move(*column).move_into(params);
  }
}

// All that the transaction has; sessions are made for shorter statements.
Async<> allow_time(pg::Transaction& transaction) {
  static constexpr pg::Query query{"rollups_timeout", "SELECT set_config('statement_timeout', $1, true)"};
  const auto milliseconds = std::to_string(transaction.deadline().remaining().count() + 1);
  co_await transaction.execute(query, pg::Params::of(milliseconds));
}

// {1,2,3}
template <typename Number>
void read_array_text(std::string_view text, std::vector<Number>& out) {
  out.clear();
  const auto* at = text.data() + 1;
  const auto* end = text.data() + text.size() - 1;
  while (at < end) {
    at = std::from_chars(at, end, out.emplace_back()).ptr;
    ++at;
  }
}

// Sums by hour, of agents and of teams.
struct Taken {
  Deltas of_agents;
  Deltas of_teams;
};

// What one commit has appended. How many sums that were.
std::size_t add_taken(pg::Row row, Taken& taken) {
  bool of_teams = false;
  struct {
    std::vector<Timestamp> hour, first_at, last_at;
    std::vector<Uuid> team_id, agent_id;
    std::vector<std::string_view> environment, provider, model, price_status, latency_buckets, latency_counts;
    std::vector<std::int64_t> calls, errors, usage_calls, cost_nanos;
    std::array<std::vector<std::int64_t>, 4> tokens;
  } all;
  row.read(of_teams, all.hour, all.team_id, all.agent_id, all.environment, all.provider, all.model, all.price_status,
           all.calls, all.errors, all.usage_calls, all.tokens[0], all.tokens[1], all.tokens[2], all.tokens[3],
           all.cost_nanos, all.first_at, all.last_at, all.latency_buckets, all.latency_counts);
  auto& sums_by_hour = of_teams ? taken.of_teams : taken.of_agents;
  std::vector<std::int16_t> buckets;
  std::vector<std::int64_t> counts;
  for (std::size_t i = 0; i < all.hour.size(); ++i) {
    Deltas::Sums sums{.calls = all.calls.at(i),
                      .errors = all.errors.at(i),
                      .usage_calls = all.usage_calls.at(i),
                      .tokens = {},
                      .cost_nanos = all.cost_nanos.at(i),
                      .first_at = all.first_at.at(i),
                      .last_at = all.last_at.at(i),
                      .latencies = {}};
    for (std::size_t unit = 0; unit < sums.tokens.size(); ++unit) sums.tokens[unit] = all.tokens[unit].at(i);
    read_array_text(all.latency_buckets.at(i), buckets);
    read_array_text(all.latency_counts.at(i), counts);
    for (std::size_t j = 0; j < std::min(buckets.size(), counts.size()); ++j)
      sums.latencies.emplace_back(buckets[j], counts[j]);
    sums_by_hour.add({.timestamp = all.hour[i],
                      .team_id = all.team_id.at(i),
                      .agent_id = all.agent_id.at(i),
                      .environment = all.environment.at(i),
                      .provider = all.provider.at(i),
                      .model = all.model.at(i),
                      .price_status = all.price_status.at(i)},
                     sums);
  }
  return all.hour.size();
}

// The same by longer periods, or over all agents of a team.
Deltas coarser(const Deltas& sums_by_period, std::int64_t period, bool keeps_agents) {
  Deltas out;
  for (const auto& row : sums_by_period.rows()) {
    out.add({.timestamp = period_of(row.hour, period),
             .team_id = row.team_id,
             .agent_id = keeps_agents ? row.agent_id : Uuid{},
             .environment = row.environment,
             .provider = row.provider,
             .model = row.model,
             .price_status = row.price_status},
            *row.sums);
  }
  return out;
}

// One row may not be met twice by a statement: what stands apart because it would not fit goes in by itself.
Async<> add_to_sums(pg::Transaction& transaction, std::string_view granularity, const Deltas& deltas) {
  auto rows = deltas.rows();
  const auto by_key = [](const Deltas::Row& row) {
    return std::tie(row.hour, row.team_id, row.agent_id, row.environment, row.provider, row.model, row.price_status);
  };
  std::ranges::sort(rows, {}, by_key);
  while (!rows.empty()) {
    std::vector<Deltas::Row> now;
    std::vector<Deltas::Row> later;
    for (auto& row : rows) (now.empty() || by_key(now.back()) != by_key(row) ? now : later).push_back(std::move(row));
    pg::Params params;
    add_params(params, now);
    params.add(granularity);
    co_await transaction.execute(fold_query, std::move(params));
    rows = std::move(later);
  }
}

}  // namespace

pg::Statement append(const Deltas& deltas) {
  pg::Params params;
  const auto add = [&params](const Deltas& sums) {
    const auto rows = sums.rows();
    add_params(params, rows);
    params.add(static_cast<std::int64_t>(rows.size()));
  };
  add(deltas);
  add(coarser(deltas, hour_micros, false));
  return {&append_query, std::move(params)};
}

Async<std::optional<std::int64_t>> fold(pg::Transaction& transaction, std::int64_t count) {
  co_await allow_time(transaction);
  const auto locked = co_await transaction.execute(lock_query, {});
  if (!locked[0].at<bool>(0)) co_return std::nullopt;
  const auto rows = co_await transaction.execute(take_query, pg::Params::of(count));
  Taken hours;
  std::size_t folded = 0;
  for (int i = 0; i < rows.size(); ++i) {
    folded += add_taken(rows[i], hours);
    // Nothing here waits: others on this thread get their turns in between.
    co_await sleep_for(std::chrono::milliseconds{0});
  }
  co_await add_to_sums(transaction, "hour", hours.of_agents);
  co_await add_to_sums(transaction, "day", coarser(hours.of_agents, day_micros, true));
  co_await add_to_sums(transaction, "team_hour", hours.of_teams);
  co_await add_to_sums(transaction, "team_day", coarser(hours.of_teams, day_micros, false));
  co_return static_cast<std::int64_t>(folded);
}

Async<> vacuum(pg::Pool& database, Deadline deadline) {
  // Never the tail: that would lock the writers out.
  static constexpr pg::Query query{"rollups_vacuum", "VACUUM (TRUNCATE false) usage_commits"};
  co_await database.execute_apart(query, {}, deadline);
}

Async<Verification> verify(pg::Transaction& transaction, Timestamp from, Timestamp to) {
  co_await allow_time(transaction);
  pg::ArrayBuilder bounds(Type::int8);
  for (const auto bound : latency_bounds()) bounds.add(bound);
  pg::Params params = pg::Params::of(from, to);
  std::move(bounds).move_into(params);
  params.add(disagreements_max);
  const auto rows = co_await transaction.execute(verify_query, std::move(params));
  Verification out{.from = from, .to = to};
  for (int i = 0; i < rows.size(); ++i) {
    Disagreement one;
    Uuid agent_id;
    std::int64_t sums = 0;
    std::int64_t calls = 0;
    rows[i].read(one.granularity, one.period, one.team_id, agent_id, one.environment, one.provider, one.model,
                 one.price_status, one.stored, one.ledger, sums, calls);
    if (one.granularity.empty()) {
      out.sums = sums;
      out.calls = calls;
    } else {
      if (agent_id != Uuid{}) one.agent_id = agent_id;
      out.disagreements.push_back(std::move(one));
    }
  }
  co_return out;
}

}  // namespace cognive::rollups::store
