#include "exports/store.hpp"

namespace cognive::exports::sql {

namespace {

// clang-format off: it would break the texts inside of the macros
#define COGNIVE_EXPORT_COLUMNS                                                                                      \
  "e.id, e.kind, e.format, e.begins_at, e.ends_at, e.team_id, e.agent_id, e.run_id, e.state, e.progress, "            \
  "e.rows_written, e.bytes, encode(e.sha256, 'hex'), e.error, e.created_at, e.finished_at, e.expires_at, "          \
  "coalesce(e.object_key, ''), coalesce(e.etag, '') "
// Whoever sees only a team, or an agent, sees only what is of that; and only kinds that they may read.
#define COGNIVE_VISIBLE(team, agent, kinds)                                                                         \
  "e.removed_at IS NULL AND (e.expires_at IS NULL OR e.expires_at > now()) "                                        \
  "AND (" team "::uuid IS NULL OR e.team_id = " team ") AND (" agent "::uuid IS NULL OR e.agent_id = " agent ") "     \
  "AND e.kind = ANY(" kinds "::text[]) "
#define COGNIVE_TIME(column) "to_char(" column " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
#define COGNIVE_USD(nanos) "(" nanos "::numeric * 0.000000001)::numeric(38, 9)"
#define COGNIVE_CURSOR "DECLARE export_rows NO SCROLL CURSOR FOR SELECT row_to_json(x)::text FROM ("
// What a call is charged now: by its latest adjustment, else by its own cost.
#define COGNIVE_LATEST_ADJUSTMENT(call)                                                                             \
  "LEFT JOIN LATERAL (SELECT a.sequence, a.new_price_status, a.new_price_version_id, a.new_cost_nano_usd "           \
  "FROM charge_adjustments a WHERE a.run_id = " call ".run_id AND a.call_id = " call ".id "                         \
  "ORDER BY a.sequence DESC LIMIT 1) j ON true "
// clang-format on

constexpr pg::Query agent_query{"export_agent",
                                "SELECT team_id FROM agents WHERE id = $1 AND ($2::uuid IS NULL OR team_id = $2) AND "
                                "($3::uuid IS NULL OR id = $3)"};
constexpr pg::Query run_query{"export_run",
                              "SELECT team_id, agent_id FROM agent_runs WHERE id = $1 AND bucket = $2 AND ($3::uuid IS "
                              "NULL OR team_id = $3) AND ($4::uuid IS NULL OR agent_id = $4)"};
// Whoever asks for one of a team waits for others who do, so that all are counted.
constexpr pg::Query lock_query{
    "export_lock", "SELECT pg_advisory_xact_lock(hashtextextended('exports:' || coalesce($1::uuid::text, ''), 0))"};
constexpr pg::Query unfinished_query{
    "export_unfinished",
    "SELECT count(*) FROM exports e WHERE e.state IN ('waiting', 'running') AND e.removed_at IS NULL AND "
    "e.team_id IS NOT DISTINCT FROM $1"};
constexpr pg::Query insert_query{
    "export_insert",
    "INSERT INTO exports (id, kind, format, begins_at, ends_at, team_id, agent_id, run_id) VALUES ($1, $2, $3, $4, $5, "
    "$6, $7, $8) ON CONFLICT (id) DO NOTHING"};
constexpr pg::Query get_query{"export_get", "SELECT " COGNIVE_EXPORT_COLUMNS
                                            "FROM exports e WHERE e.id = $1 AND " COGNIVE_VISIBLE("$2", "$3", "$4")};
constexpr pg::Query list_query{
    "export_list", "SELECT " COGNIVE_EXPORT_COLUMNS "FROM exports e WHERE " COGNIVE_VISIBLE("$1", "$2", "$3")
                   "AND ($4::text IS NULL OR e.kind = $4) AND ($5::text IS NULL OR e.state = $5) "
                   "AND ($6::timestamptz IS NULL OR (e.created_at, e.id) < ($6, $7)) "
                   "ORDER BY e.created_at DESC, e.id DESC LIMIT $8"};
constexpr pg::Query remove_query{"export_remove",
                                 "UPDATE exports SET removed_at = now() WHERE id = $1 AND removed_at IS NULL"};

// The object of the attempt before, if there was any.
constexpr pg::Query former_query{
    "export_former",
    "SELECT kind, coalesce(object_key, '') FROM exports WHERE id = $1 AND state IN ('waiting', "
    "'running') AND removed_at IS NULL"};
// Under a key of its own, when the object of the attempt before ($3) has been removed.
constexpr pg::Query begin_query{"export_begin",
                                "UPDATE exports e SET state = 'running', object_key = $2, progress = 0, rows_written = "
                                "0 WHERE id = $1 AND state IN "
                                "('waiting', 'running') AND removed_at IS NULL AND coalesce(object_key, '') = $3 "
                                "RETURNING " COGNIVE_EXPORT_COLUMNS};
// Nothing when it was removed, or somebody else writes it by now.
constexpr pg::Query progress_query{
    "export_progress",
    "UPDATE exports SET progress = $3, rows_written = $4 WHERE id = $1 AND object_key = $2 AND state = 'running' AND "
    "removed_at IS NULL"};
constexpr pg::Query done_query{
    "export_done",
    "UPDATE exports SET state = 'done', progress = 1, rows_written = $3, bytes = $4, sha256 = decode($5, 'hex'), etag "
    "= $6, error = NULL, finished_at = now(), expires_at = CASE WHEN $7 > 0 THEN now() + $7 * interval '1 day' END "
    "WHERE id = $1 AND object_key = $2 AND state = 'running' AND removed_at IS NULL"};
// $4: for good.
constexpr pg::Query failed_query{
    "export_failed",
    "UPDATE exports SET error = $3, state = CASE WHEN $4 THEN 'failed' ELSE state END, finished_at = CASE WHEN $4 THEN "
    "now() END, expires_at = CASE WHEN $4 THEN now() + interval '30 days' END WHERE id = $1 AND object_key = $2 AND "
    "state = 'running'"};
// Their task has ended without having said so: its worker was lost in the last attempt, or it is a dead letter.
constexpr pg::Query given_up_query{
    "export_given_up",
    "UPDATE exports e SET state = 'failed', error = coalesce(error, 'It was given up: whoever wrote it was lost.'), "
    "finished_at = now(), expires_at = now() + interval '30 days' WHERE state IN ('waiting', 'running') AND created_at "
    "< now() - interval '5 minutes' AND NOT EXISTS (SELECT FROM tasks t WHERE t.name = $1 AND t.key = e.id::text AND "
    "t.died_at IS NULL) AND NOT EXISTS (SELECT FROM outbox o WHERE o.topic = $2 AND o.payload ->> 'id' = "
    "e.id::text)"};
constexpr pg::Query over_query{
    "export_over", "UPDATE exports SET removed_at = now() WHERE removed_at IS NULL AND expires_at <= now()"};
// Who downloads one may finish.
constexpr pg::Query removed_query{
    "export_removed",
    "SELECT id, kind, coalesce(object_key, '') FROM exports WHERE removed_at < now() - interval '1 minute' ORDER BY "
    "removed_at LIMIT $1"};
constexpr pg::Query put_off_query{"export_put_off", "UPDATE exports SET removed_at = now() WHERE id = $1"};
constexpr pg::Query forget_query{"export_forget", "DELETE FROM exports WHERE id = $1 AND removed_at IS NOT NULL"};

constexpr pg::Query one_moment_query{"export_one_moment", "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"};
// Minutes, since it reads much, and waits for the object storage in between. All rows will be read.
constexpr pg::Query patience_query{
    "export_patience",
    "SELECT set_config('statement_timeout', '300000', true), set_config('idle_in_transaction_session_timeout', "
    "'300000', true), set_config('cursor_tuple_fraction', '1', true), set_config('jit', 'off', true), "
    "set_config('plan_cache_mode', 'force_custom_plan', true)"};

constexpr pg::Query calls_query{
    "export_calls",
    COGNIVE_CURSOR
    "SELECT c.id, " COGNIVE_TIME("c.\"timestamp\"") " AS \"timestamp\", c.run_id, c.agent_id, c.team_id, "
    "c.environment, c.parent_step_id, c.provider, c.model, c.status, c.error, c.duration_ms, c.input_tokens, "
    "c.output_tokens, c.cache_read_tokens, c.cache_write_tokens, c.usage, "
    "CASE WHEN j.sequence IS NULL THEN c.price_status ELSE j.new_price_status END AS price_status, "
    "CASE WHEN j.sequence IS NULL THEN c.price_version_id ELSE j.new_price_version_id END AS price_version_id, "
    COGNIVE_USD("CASE WHEN j.sequence IS NULL THEN c.cost_nano_usd ELSE j.new_cost_nano_usd END") " AS cost_usd, "
    "c.violation, c.metadata FROM (SELECT * FROM llm_calls WHERE \"timestamp\" >= $1 AND \"timestamp\" < $2 "
    "AND ($3::uuid IS NULL OR team_id = $3) AND ($4::uuid IS NULL OR agent_id = $4) "
    "ORDER BY \"timestamp\", run_id, id) c " COGNIVE_LATEST_ADJUSTMENT("c")
    "ORDER BY c.\"timestamp\", c.run_id, c.id) x"};

constexpr pg::Query runs_query{
    "export_runs",
    COGNIVE_CURSOR
    "SELECT r.id AS run_id, r.agent_id, r.team_id, r.status, r.environment, r.parent_run_id, r.session_id, r.labels, "
    "r.metadata, r.error, " COGNIVE_TIME("r.started_at") " AS started_at, " COGNIVE_TIME("r.ended_at") " AS ended_at, "
    "r.terminated_by, s.llm_calls, s.unpriced_calls, s.input_tokens, s.output_tokens, " COGNIVE_USD("s.cost")
    " AS cost_usd FROM (SELECT * FROM agent_runs WHERE started_at >= $1 AND started_at < $2 "
    "AND ($3::uuid IS NULL OR team_id = $3) AND ($4::uuid IS NULL OR agent_id = $4) ORDER BY started_at, id) r "
    "CROSS JOIN LATERAL (SELECT count(*) AS llm_calls, count(*) FILTER (WHERE charge IS NULL) AS unpriced_calls, "
    "CASE WHEN count(*) = 0 THEN 0 ELSE sum(input_tokens) END AS input_tokens, CASE WHEN count(*) = 0 THEN 0 ELSE "
    "sum(output_tokens) END AS output_tokens, coalesce(sum(charge), 0) AS cost FROM "
    "(SELECT c.input_tokens, c.output_tokens, CASE WHEN j.sequence IS NULL THEN c.cost_nano_usd ELSE "
    "j.new_cost_nano_usd END AS charge FROM llm_calls c " COGNIVE_LATEST_ADJUSTMENT("c")
    "WHERE c.run_id = r.id) charged) s ORDER BY r.started_at, r.id) x"};

// Each call counts for the sums of its hour alone: what has been folded, and what has not been yet.
constexpr pg::Query costs_query{
    "export_costs",
    COGNIVE_CURSOR
    "SELECT to_char(g.day AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, g.team_id, t.name AS team, g.agent_id, a.name AS "
    "agent, g.environment, nullif(g.provider, '') AS provider, g.model, g.price_status, g.calls, g.errors, "
    "CASE WHEN g.usage_calls > 0 THEN g.input_tokens END AS input_tokens, "
    "CASE WHEN g.usage_calls > 0 THEN g.output_tokens END AS output_tokens, "
    "CASE WHEN g.usage_calls > 0 THEN g.cache_read_tokens END AS cache_read_tokens, "
    "CASE WHEN g.usage_calls > 0 THEN g.cache_write_tokens END AS cache_write_tokens, "
    "CASE WHEN g.price_status IN ('priced', 'partial') THEN " COGNIVE_USD("g.cost") " END AS cost_usd FROM (SELECT date_trunc('day', p.hour, 'UTC') AS day, team_id, agent_id, "
    "environment, provider, model, price_status, sum(calls) AS calls, sum(errors) AS errors, sum(usage_calls) AS "
    "usage_calls, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens, sum(cache_read_tokens) AS "
    "cache_read_tokens, sum(cache_write_tokens) AS cache_write_tokens, sum(cost_nano_usd) AS cost FROM "
    "(SELECT period AS hour, team_id, agent_id, environment, provider, model, price_status, calls, errors, "
    "usage_calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_nano_usd "
    "FROM usage_aggregations WHERE granularity = 'hour' AND period >= $1 AND period < $2 UNION ALL "
    "SELECT hour, team_id, agent_id, environment, provider, model, price_status, calls, errors, usage_calls, "
    "input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, cost_nano_usd FROM usage_unfolded "
    "WHERE NOT of_teams AND hour >= $1 AND hour < $2) p WHERE ($3::uuid IS NULL OR team_id = $3) "
    "AND ($4::uuid IS NULL OR agent_id = $4) GROUP BY 1, 2, 3, 4, 5, 6, 7 HAVING sum(calls) > 0) g "
    "LEFT JOIN teams t ON t.id = g.team_id LEFT JOIN agents a ON a.id = g.agent_id "
    "ORDER BY g.day, t.name, a.name, g.agent_id, g.environment, g.provider, g.model, g.price_status) x"};

constexpr pg::Query audit_query{
    "export_audit",
    COGNIVE_CURSOR
    "SELECT l.sequence, l.id, " COGNIVE_TIME("l.occurred_at") " AS occurred_at, l.actor_kind, l.actor_id, l.action, "
    "l.resource_kind, l.resource_id, l.team_id, l.request_id, l.details FROM audit_logs l WHERE l.occurred_at >= $1 "
    "AND l.occurred_at < $2 AND ($3::uuid IS NULL OR l.team_id = $3) AND $4::uuid IS NULL "
    "ORDER BY l.occurred_at, l.sequence NULLS FIRST, l.id) x"};

// The run first, then what it did, in the order of time. The buckets of events are those of their own ids, not of the
// run's.
constexpr pg::Query replay_query{
    "export_replay",
    "DECLARE export_rows NO SCROLL CURSOR FOR SELECT line FROM ("
    "SELECT '-infinity'::timestamptz AS at, 0 AS place, 0::bigint AS index, r.id, json_build_object("
    "'type', 'run', 'run_id', r.id, 'agent_id', r.agent_id, 'team_id', r.team_id, 'status', r.status, 'environment', "
    "r.environment, 'parent_run_id', r.parent_run_id, 'session_id', r.session_id, 'labels', r.labels, 'metadata', "
    "r.metadata, 'error', r.error, 'started_at', " COGNIVE_TIME("r.started_at") ", 'ended_at', "
    COGNIVE_TIME("r.ended_at") ", 'terminated_by', r.terminated_by)::text AS line "
    "FROM agent_runs r WHERE r.id = $1 AND r.bucket = $2 UNION ALL "
    "SELECT s.\"timestamp\", 1, s.index, s.id, json_build_object('type', 'step', 'id', s.id, "
    "'parent_step_id', s.parent_step_id, 'timestamp', " COGNIVE_TIME("s.\"timestamp\"") ", 'index', s.index, 'kind', "
    "s.kind, 'name', s.name, 'status', s.status, 'error', s.error, 'duration_ms', s.duration_ms, 'metadata', "
    "s.metadata, 'content', s.content)::text FROM execution_steps s WHERE s.run_id = $1 UNION ALL "
    "SELECT c.\"timestamp\", 2, 0, c.id, json_build_object('type', 'llm_call', 'id', c.id, "
    "'parent_step_id', c.parent_step_id, 'timestamp', " COGNIVE_TIME("c.\"timestamp\"") ", 'provider', c.provider, "
    "'model', c.model, 'status', c.status, 'error', c.error, 'duration_ms', c.duration_ms, 'input_tokens', "
    "c.input_tokens, 'output_tokens', c.output_tokens, 'cache_read_tokens', c.cache_read_tokens, 'cache_write_tokens', "
    "c.cache_write_tokens, 'usage', c.usage, 'price_status', CASE WHEN j.sequence IS NULL THEN c.price_status ELSE "
    "j.new_price_status END, 'cost_usd', " COGNIVE_USD("CASE WHEN j.sequence IS NULL THEN c.cost_nano_usd ELSE "
    "j.new_cost_nano_usd END") ", 'violation', c.violation, 'metadata', c.metadata, 'content', c.content)::text "
    "FROM llm_calls c " COGNIVE_LATEST_ADJUSTMENT("c") "WHERE c.run_id = $1 UNION ALL "
    "SELECT i.\"timestamp\", 3, 0, i.id, json_build_object('type', 'tool_invocation', 'id', i.id, "
    "'parent_step_id', i.parent_step_id, 'timestamp', " COGNIVE_TIME("i.\"timestamp\"") ", 'tool', i.tool, 'status', "
    "i.status, 'error', i.error, 'duration_ms', i.duration_ms, 'data_source', i.data_source, 'violation', i.violation, "
    "'metadata', i.metadata, 'content', i.content)::text FROM tool_invocations i WHERE i.run_id = $1) "
    "lines ORDER BY at, place, index, id"};

constexpr pg::Query impatience_query{"export_impatience", "SELECT set_config('lock_timeout', '500', true)"};
constexpr pg::Query summarize_query{
    "export_summarize",
    "SELECT sum(brin_summarize_new_values(x.indexrelid)) FROM pg_partition_tree($1::text::regclass) p JOIN pg_index x "
    "ON "
    "x.indrelid = p.relid JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_am a ON a.oid = i.relam AND a.amname = "
    "'brin' "
    "WHERE p.isleaf AND i.relkind = 'i' AND x.indisvalid AND pg_has_role(current_user, i.relowner, 'USAGE')"};
constexpr pg::Query fetch_query{"export_fetch", "FETCH 1000 FROM export_rows"};
// With content, which may be megabytes each.
constexpr pg::Query fetch_few_query{"export_fetch_few", "FETCH 20 FROM export_rows"};
constexpr pg::Query close_query{"export_close", "CLOSE export_rows"};

#undef COGNIVE_EXPORT_COLUMNS
#undef COGNIVE_VISIBLE
#undef COGNIVE_TIME
#undef COGNIVE_USD
#undef COGNIVE_CURSOR
#undef COGNIVE_LATEST_ADJUSTMENT

}  // namespace

const pg::Query& agent() {
  return agent_query;
}

const pg::Query& run() {
  return run_query;
}

const pg::Query& lock() {
  return lock_query;
}

const pg::Query& former() {
  return former_query;
}

const pg::Query& put_off() {
  return put_off_query;
}

const pg::Query& unfinished() {
  return unfinished_query;
}

const pg::Query& insert() {
  return insert_query;
}

const pg::Query& get() {
  return get_query;
}

const pg::Query& list() {
  return list_query;
}

const pg::Query& remove() {
  return remove_query;
}

const pg::Query& begin() {
  return begin_query;
}

const pg::Query& progress() {
  return progress_query;
}

const pg::Query& done() {
  return done_query;
}

const pg::Query& failed() {
  return failed_query;
}

const pg::Query& given_up() {
  return given_up_query;
}

const pg::Query& over() {
  return over_query;
}

const pg::Query& removed() {
  return removed_query;
}

const pg::Query& forget() {
  return forget_query;
}

const pg::Query& one_moment() {
  return one_moment_query;
}

std::string_view series_of(ExportKind kind) {
  switch (kind) {
    case ExportKind::calls:
      return "llm_calls";
    case ExportKind::runs:
      return "agent_runs";
    default:
      return {};
  }
}

const pg::Query& impatience() {
  return impatience_query;
}

const pg::Query& summarize() {
  return summarize_query;
}

const pg::Query& patience() {
  return patience_query;
}

const pg::Query& open(ExportKind kind) {
  switch (kind) {
    case ExportKind::calls:
      return calls_query;
    case ExportKind::runs:
      return runs_query;
    case ExportKind::costs:
      return costs_query;
    case ExportKind::audit:
      return audit_query;
    case ExportKind::replay:
      return replay_query;
  }
  return calls_query;
}

const pg::Query& fetch(ExportKind kind) {
  return kind == ExportKind::replay ? fetch_few_query : fetch_query;
}

const pg::Query& close() {
  return close_query;
}

std::vector<Row> read(const pg::Rows& rows) {
  std::vector<Row> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& row = out[static_cast<std::size_t>(i)];
    auto& one = row.shown;
    rows[i].read(one.id, one.kind, one.format, one.from, one.to, one.team_id, one.agent_id, one.run_id, one.state,
                 one.progress, one.rows, one.bytes, one.sha256, one.error, one.created_at, one.finished_at,
                 one.expires_at, row.object_key, row.etag);
  }
  return out;
}

}  // namespace cognive::exports::sql
