#include "runs/store.hpp"

namespace cognive::runs::store {
namespace {

// The LLM calls of a run with what they are charged now: by their latest adjustment, else by their own cost.
#define COGNIVE_CHARGED_CALLS(run_id)                                                                      \
  "(SELECT l.*, CASE WHEN j.sequence IS NULL THEN l.cost_nano_usd ELSE j.new_cost_nano_usd END AS charge " \
  "FROM llm_calls l LEFT JOIN LATERAL (SELECT a.sequence, a.new_cost_nano_usd FROM charge_adjustments a "  \
  "WHERE a.run_id = l.run_id AND a.call_id = l.id ORDER BY a.sequence DESC LIMIT 1) j ON true "            \
  "WHERE l.run_id = " run_id ")"

// Of run `r`.
#define COGNIVE_COST \
  "(SELECT least(coalesce(sum(c.charge), 0), 9223372036854775807)::bigint FROM " COGNIVE_CHARGED_CALLS("r.id") " c)"

#define COGNIVE_RUN_COLUMNS                                                                                      \
  "id, agent_id, team_id, status, environment, parent_run_id, session_id, labels, metadata, error, started_at, " \
  "ended_at, created_at, last_seen_at, terminated_by"

constexpr pg::Query agent_find_query{
    "run_agent_find",
    "SELECT team_id, status, environment FROM agents "
    "WHERE id = $1 AND ($2::uuid IS NULL OR team_id = $2) AND ($3::uuid IS NULL OR id = $3)"};

// The DO UPDATE completes a placeholder of the same agent, or begins a queued run, and touches nothing else; its WHERE
// decides, and a row that it passes over is not returned. States only move forward.
constexpr pg::Query start_query{
    "run_start",
    "INSERT INTO agent_runs AS r (bucket, id, agent_id, team_id, status, environment, parent_run_id, session_id, "
    "labels, metadata, "
    "started_at) VALUES ($1, $2, $3, $4, $11, $5, $6, $7, $8, $9, $10) "
    "ON CONFLICT (id, bucket) DO UPDATE SET placeholder = false, "
    "status = CASE r.status WHEN 'queued' THEN excluded.status ELSE r.status END, "
    "last_seen_at = CASE WHEN r.status = 'queued' AND excluded.status = 'running' THEN now() ELSE r.last_seen_at END, "
    "parent_run_id = coalesce(excluded.parent_run_id, r.parent_run_id), "
    "session_id = coalesce(excluded.session_id, r.session_id), "
    "labels = CASE excluded.labels WHEN '{}' THEN r.labels ELSE excluded.labels END, "
    "metadata = CASE excluded.metadata WHEN '{}' THEN r.metadata ELSE excluded.metadata END, "
    "started_at = excluded.started_at "
    "WHERE r.agent_id = excluded.agent_id AND (r.placeholder OR (r.status = 'queued' AND excluded.status = 'running')) "
    "RETURNING " COGNIVE_RUN_COLUMNS};

// Waits for a kill of the parent that is under way, and keeps the next one waiting.
constexpr pg::Query lock_parent_query{
    "run_lock_parent", "SELECT status FROM agent_runs WHERE bucket = $1 AND id = $2 AND team_id = $3 FOR SHARE"};

constexpr pg::Query touch_query{
    "run_touch",
    "UPDATE agent_runs SET last_seen_at = now(), status = 'running' WHERE bucket = $1 AND id = $2 "
    "AND status IN ('queued', 'running') RETURNING " COGNIVE_RUN_COLUMNS};

// Below a run are those that it started, whatever has become of the ones between. Locked in one order, so that no two
// of these wait for each other. Each keeps the reason as its own agent keeps texts.
constexpr pg::Query terminate_query{
    "run_terminate",
    "WITH RECURSIVE below AS (SELECT bucket, id, team_id FROM agent_runs WHERE bucket = $1 AND id = $2 "
    "UNION SELECT c.bucket, c.id, c.team_id FROM below b JOIN agent_runs c ON c.parent_run_id = b.id "
    "AND c.team_id = b.team_id), "
    "active AS (SELECT r.bucket, r.id, g.store FROM below JOIN agent_runs r USING (bucket, id) "
    "JOIN agents g ON g.id = r.agent_id "
    "WHERE r.status IN ('queued', 'running') ORDER BY r.id FOR UPDATE OF r) "
    "UPDATE agent_runs r SET status = 'terminated', terminated_by = 'operator', "
    "error = CASE a.store WHEN 'full' THEN $3 ELSE $4 END, "
    "ended_at = greatest(now(), r.started_at) FROM active a "
    "WHERE r.bucket = a.bucket AND r.id = a.id AND r.status IN ('queued', 'running') "
    "RETURNING r.id, r.agent_id, r.team_id, r.status, r.environment, r.parent_run_id, r.session_id, r.labels, "
    "r.metadata, r.error, r.started_at, r.ended_at, r.created_at, r.last_seen_at, r.terminated_by"};

// Heartbeats are noted every five seconds only, which is what is added to each limit. Events do not touch their run, so
// they are looked for here, and only for runs that seem silent. A run that turns out to be alive is marked, so that it
// is not looked at again at once.
constexpr pg::Query end_silent_query{
    "run_end_silent",
    "WITH quiet AS (SELECT r.bucket, r.id, t.limit_s, t.timeout, greatest(r.created_at, r.last_seen_at, "
    "(SELECT max(arrived_at) FROM llm_calls e WHERE e.run_id = r.id), "
    "(SELECT max(arrived_at) FROM tool_invocations e WHERE e.run_id = r.id), "
    "(SELECT max(arrived_at) FROM execution_steps e WHERE e.run_id = r.id)) AS seen "
    "FROM agent_runs r JOIN agents a ON a.id = r.agent_id CROSS JOIN LATERAL "
    "(SELECT coalesce(a.silence_timeout_s, $1) AS limit_s, make_interval(secs => coalesce(a.silence_timeout_s, $1) + "
    "5) "
    "AS timeout) t "
    "WHERE r.status = 'running' AND coalesce(a.silence_timeout_s, $1) > 0 "
    "AND greatest(r.created_at, r.last_seen_at) < now() - t.timeout ORDER BY r.id LIMIT 200 FOR UPDATE OF r SKIP "
    "LOCKED) "
    "UPDATE agent_runs r SET last_seen_at = q.seen, "
    "status = CASE WHEN q.seen < now() - q.timeout THEN 'terminated' ELSE r.status END, "
    "terminated_by = CASE WHEN q.seen < now() - q.timeout THEN 'silence' END, "
    "ended_at = CASE WHEN q.seen < now() - q.timeout THEN greatest(now(), r.started_at) END, "
    "error = CASE WHEN q.seen < now() - q.timeout THEN 'No sign of life for ' || "
    "q.limit_s || ' s.' ELSE r.error END "
    "FROM quiet q WHERE r.bucket = q.bucket AND r.id = q.id AND r.status = 'running' "
    "RETURNING r.id, r.agent_id, r.team_id, r.status, r.environment, r.parent_run_id, r.session_id, r.labels, "
    "r.metadata, r.error, r.started_at, r.ended_at, r.created_at, r.last_seen_at, r.terminated_by"};

constexpr pg::Query find_query{"run_find",
                               "SELECT " COGNIVE_RUN_COLUMNS
                               " FROM agent_runs WHERE bucket = $1 AND id = $2 AND ($3::uuid IS NULL OR team_id = $3) "
                               "AND ($4::uuid IS NULL OR agent_id = $4)"};

constexpr pg::Query lock_query{"run_lock",
                               "SELECT " COGNIVE_RUN_COLUMNS
                               " FROM agent_runs WHERE bucket = $1 AND id = $2 AND ($3::uuid IS NULL OR team_id = $3) "
                               "AND ($4::uuid IS NULL OR agent_id = $4) FOR UPDATE"};

constexpr pg::Query end_query{"run_end",
                              "UPDATE agent_runs r SET status = $3, ended_at = coalesce($6, now()), "
                              "error = CASE (SELECT a.store FROM agents a WHERE a.id = r.agent_id) "
                              "WHEN 'full' THEN $4 ELSE $5 END "
                              "WHERE bucket = $1 AND id = $2 RETURNING " COGNIVE_RUN_COLUMNS};

constexpr pg::Query totals_query{
    "run_totals",
    "SELECT (SELECT count(*) FROM execution_steps WHERE run_id = $1), (SELECT count(*) FROM tool_invocations WHERE "
    "run_id = $1), "
    "count(*), count(*) - count(c.charge), "
    "CASE WHEN count(*) = 0 THEN 0 WHEN sum(c.input_tokens) IS NOT NULL "
    "THEN least(sum(c.input_tokens), 9223372036854775807)::bigint END, "
    "CASE WHEN count(*) = 0 THEN 0 WHEN sum(c.output_tokens) IS NOT NULL "
    "THEN least(sum(c.output_tokens), 9223372036854775807)::bigint END, "
    "least(coalesce(sum(c.charge), 0), 9223372036854775807)::bigint, "
    "count(c.violation) + (SELECT count(violation) FROM tool_invocations WHERE run_id = $1) "
    "FROM " COGNIVE_CHARGED_CALLS("$1") " c"};

constexpr pg::Query list_query{
    "run_list", "SELECT " COGNIVE_RUN_COLUMNS ", coalesce(cost_nano_usd, " COGNIVE_COST
                ") FROM agent_runs r WHERE ($1::uuid IS NULL OR team_id = $1) AND ($2::uuid IS NULL OR agent_id = $2) "
                "AND ($3::uuid IS NULL OR agent_id = $3) AND ($4::text IS NULL OR status = $4) "
                "AND ($5::timestamptz IS NULL OR started_at >= $5) AND ($6::timestamptz IS NULL OR started_at < $6) "
                "AND ($7::timestamptz IS NULL OR (created_at, id) < ($7, $8)) "
                "AND ($10::text IS NULL OR team_id = (SELECT t.id FROM teams t WHERE t.name = $10)) "
                "AND ($11::uuid IS NULL OR parent_run_id = $11) AND ($12::text IS NULL OR session_id = $12) "
                "AND ($13::text IS NULL OR environment = $13) AND ($14::jsonb IS NULL OR labels @> $14) "
                "AND ($15::text IS NULL OR (error IS NOT NULL "
                "AND to_tsvector('simple', error) @@ websearch_to_tsquery('simple', $15))) "
                "AND ($16::bigint IS NULL OR cost_nano_usd >= $16 OR (cost_nano_usd IS NULL AND " COGNIVE_COST
                " >= $16)) AND ($17::bigint IS NULL OR cost_nano_usd <= $17 OR (cost_nano_usd IS NULL AND " COGNIVE_COST
                " <= $17)) "
                "ORDER BY created_at DESC, id DESC LIMIT $9"};

// Locked first, summed by a statement of its own: what others have committed meanwhile is in its snapshot.
constexpr pg::Query lock_due_costs_query{"run_lock_due_costs",
                                         "SELECT bucket, id FROM agent_runs WHERE cost_due_at <= now() "
                                         "ORDER BY cost_due_at, id LIMIT $1 FOR UPDATE SKIP LOCKED"};
constexpr pg::Query sum_costs_query{
    "run_sum_costs", "UPDATE agent_runs r SET cost_due_at = NULL, cost_nano_usd = " COGNIVE_COST
                     " FROM unnest($1::date[], $2::uuid[]) AS due (bucket, id) WHERE r.bucket = due.bucket "
                     "AND r.id = due.id AND r.status NOT IN ('queued', 'running')"};

constexpr pg::Query cost_changed_query{
    "run_cost_changed",
    "WITH ended AS (SELECT r.bucket, r.id FROM unnest($1::date[], $2::uuid[]) AS changed (bucket, id) "
    "JOIN agent_runs r ON r.bucket = changed.bucket AND r.id = changed.id "
    "WHERE r.status NOT IN ('queued', 'running') ORDER BY r.id FOR UPDATE OF r) "
    "UPDATE agent_runs r SET cost_nano_usd = NULL, cost_due_at = greatest(r.cost_due_at, now()) FROM ended e "
    "WHERE r.bucket = e.bucket AND r.id = e.id"};

#undef COGNIVE_COST
#undef COGNIVE_CHARGED_CALLS

constexpr pg::Query active_query{"run_active",
                                 "SELECT agent_id, count(*) FROM agent_runs WHERE status IN ('queued', 'running') "
                                 "GROUP BY agent_id ORDER BY 2 DESC LIMIT 100"};

#undef COGNIVE_RUN_COLUMNS

void read(pg::Row row, Run& run) {
  row.read(run.run_id, run.agent_id, run.team_id, run.status, run.environment, run.parent_run_id, run.session_id,
           run.labels, run.metadata, run.error, run.started_at, run.ended_at, run.created_at, run.last_seen_at,
           run.terminated_by);
}

std::vector<Run> all(const pg::Rows& rows) {
  std::vector<Run> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) read(rows[i], out[static_cast<std::size_t>(i)]);
  return out;
}

std::optional<NanoUsd> nanos_of(const std::optional<Decimal>& dollars) {
  return dollars ? NanoUsd::exactly(*dollars) : std::nullopt;
}

// "name=value" as the object that has it.
std::optional<std::string> label_object(const std::optional<std::string>& label) {
  if (!label) return std::nullopt;
  const auto equals = label->find('=');
  json::Writer out;
  out.begin_object();
  out.field(label->substr(0, equals), label->substr(equals + 1));
  out.end_object();
  return std::move(out).text();
}

std::optional<Run> first(const pg::Rows& rows) {
  if (rows.empty()) return std::nullopt;
  Run run;
  read(rows[0], run);
  return run;
}

}  // namespace

Async<std::optional<AgentRow>> agent_find(pg::Pool& database, Uuid id, const Principal& principal, Deadline deadline) {
  auto params = pg::Params::of(id, principal.team_id, principal.agent_id);
  const auto rows = co_await database.execute(agent_find_query, std::move(params), deadline);
  if (rows.empty()) co_return std::nullopt;
  AgentRow agent;
  rows[0].read(agent.team_id, agent.status, agent.environment);
  co_return agent;
}

namespace {

pg::Params start_params(const Run& run) {
  return pg::Params::of(bucket_of(run.run_id), run.run_id, run.agent_id, run.team_id, run.environment,
                        run.parent_run_id, run.session_id, pg::Json{run.labels.text}, pg::Json{run.metadata.text},
                        run.started_at, run.status);
}

// Of another team perhaps: the caller learns no more than that the id is taken.
pg::Params find_anybodys_params(const Uuid& id) {
  const std::optional<Uuid> anybody;
  return pg::Params::of(bucket_of(id), id, anybody, anybody);
}

}  // namespace

Async<Started> start(pg::Pool& database, const Run& run, const Call& call) {
  if (auto started = first(co_await database.write(start_query, start_params(run), call)))
    co_return Started{std::move(*started), true};
  auto existing = first(co_await database.execute(find_query, find_anybodys_params(run.run_id), call.deadline));
  if (!existing) throw Unavailable("a run appeared and vanished");
  co_return Started{std::move(*existing), false};
}

Async<Started> start(pg::Transaction& transaction, const Run& run) {
  if (auto started = first(co_await transaction.execute(start_query, start_params(run))))
    co_return Started{std::move(*started), true};
  auto existing = co_await find_anybodys(transaction, run.run_id);
  if (!existing) throw Unavailable("a run appeared and vanished");
  co_return Started{std::move(*existing), false};
}

Async<std::optional<Run>> find_anybodys(pg::Transaction& transaction, Uuid id) {
  co_return first(co_await transaction.execute(find_query, find_anybodys_params(id)));
}

Async<std::optional<Run>> lock(pg::Transaction& transaction, Uuid id, const Principal& principal) {
  auto params = pg::Params::of(bucket_of(id), id, principal.team_id, principal.agent_id);
  co_return first(co_await transaction.execute(lock_query, std::move(params)));
}

Async<Run> end(pg::Transaction& transaction, Uuid id, const RunEnd& request, const std::optional<Text>& error) {
  const auto full = error ? std::optional(error->full) : std::nullopt;
  const auto masked = error ? std::optional(error->masked) : std::nullopt;
  auto params = pg::Params::of(bucket_of(id), id, request.status, full, masked, request.ended_at);
  co_return *first(co_await transaction.execute(end_query, std::move(params)));
}

Async<std::optional<RunStatus>> lock_parent(pg::Transaction& transaction, Uuid id, Uuid team_id) {
  const auto rows = co_await transaction.execute(lock_parent_query, pg::Params::of(bucket_of(id), id, team_id));
  if (rows.empty()) co_return std::nullopt;
  co_return rows[0].at<RunStatus>(0);
}

Async<std::optional<Run>> find(pg::Pool& database, Uuid id, const Principal& principal, Deadline deadline) {
  auto params = pg::Params::of(bucket_of(id), id, principal.team_id, principal.agent_id);
  co_return first(co_await database.execute(find_query, std::move(params), deadline));
}

Async<std::optional<Run>> find(pg::Reader database, Uuid id, const Principal& principal, Deadline deadline) {
  auto params = pg::Params::of(bucket_of(id), id, principal.team_id, principal.agent_id);
  co_return first(co_await database.find(find_query, std::move(params), deadline));
}

Async<std::optional<Run>> touch(pg::Pool& database, Uuid id, const Call& call) {
  co_return first(co_await database.write(touch_query, pg::Params::of(bucket_of(id), id), call));
}

Async<std::vector<Run>> terminate(pg::Transaction& transaction, Uuid id, const Text& reason) {
  std::vector<Run> out;
  // Again until nothing is found: a run that was started below one of them a moment ago is seen by the next look only.
  for (;;) {
    auto params = pg::Params::of(bucket_of(id), id, reason.full, reason.masked);
    auto runs = all(co_await transaction.execute(terminate_query, std::move(params)));
    if (runs.empty()) break;
    std::ranges::move(runs, std::back_inserter(out));
  }
  std::ranges::partition(out, [&id](const Run& run) { return run.run_id == id; });
  co_return out;
}

Async<std::vector<Run>> end_silent(pg::Transaction& transaction, std::chrono::seconds default_timeout) {
  co_return all(co_await transaction.execute(end_silent_query, pg::Params::of(std::int64_t{default_timeout.count()})));
}

Async<std::optional<RunDetail>> get(pg::Reader database, Uuid id, const Principal& principal, Deadline deadline) {
  auto params = pg::Params::of(bucket_of(id), id, principal.team_id, principal.agent_id);
  const auto rows = co_await database.find(find_query, std::move(params), deadline);
  if (rows.empty()) co_return std::nullopt;
  RunDetail run;
  read(rows[0], run);
  const auto totals = co_await database.execute_apart(totals_query, pg::Params::of(id), deadline);
  totals[0].read(run.totals.steps, run.totals.tool_invocations, run.totals.llm_calls, run.totals.unpriced_calls,
                 run.totals.input_tokens, run.totals.output_tokens, run.totals.cost_usd, run.totals.violations);
  co_return run;
}

Async<std::vector<ListedRun>> list(pg::Reader database, const RunList& query, const Principal& principal,
                                   Deadline deadline) {
  const auto label = label_object(query.label);
  auto params =
      pg::Params::of(principal.team_id, principal.agent_id, query.agent_id, query.status, query.from, query.to,
                     query.cursor, query.limit + 1, query.team, query.parent_run_id, query.session_id,
                     query.environment, label ? std::optional(pg::Json{*label}) : std::nullopt, query.error,
                     nanos_of(query.min_cost_usd), nanos_of(query.max_cost_usd));
  const auto rows = co_await database.execute_apart(list_query, std::move(params), deadline);
  std::vector<ListedRun> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& run = out[static_cast<std::size_t>(i)];
    rows[i].read(run.run_id, run.agent_id, run.team_id, run.status, run.environment, run.parent_run_id, run.session_id,
                 run.labels, run.metadata, run.error, run.started_at, run.ended_at, run.created_at, run.last_seen_at,
                 run.terminated_by, run.cost_usd);
  }
  co_return out;
}

namespace {

template <typename Ids>
pg::Params run_keys(const Ids& ids) {
  pg::ArrayBuilder bucket(pg::ArrayBuilder::Type::date);
  pg::ArrayBuilder id(pg::ArrayBuilder::Type::uuid);
  for (const auto& one : ids) {
    bucket.add(bucket_of(one));
    id.add(one);
  }
  pg::Params params;
  std::move(bucket).move_into(params);
  std::move(id).move_into(params);
  return params;
}

}  // namespace

Async<std::int64_t> sum_costs(pg::Transaction& transaction, std::int64_t count) {
  const auto due = co_await transaction.execute(lock_due_costs_query, pg::Params::of(count));
  std::vector<Uuid> ids;
  for (int i = 0; i < due.size(); ++i) ids.push_back(due[i].at<Uuid>(1));
  if (!ids.empty()) co_await transaction.execute(sum_costs_query, run_keys(ids));
  co_return due.size();
}

Async<> cost_changed(pg::Transaction& transaction, const std::set<Uuid>& ids) {
  co_await transaction.execute(cost_changed_query, run_keys(ids));
}

Async<std::vector<std::pair<Uuid, std::int64_t>>> active_by_agent(pg::Reader database, Deadline deadline) {
  const auto rows = co_await database.execute_apart(active_query, {}, deadline);
  std::vector<std::pair<Uuid, std::int64_t>> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i)
    rows[i].read(out[static_cast<std::size_t>(i)].first, out[static_cast<std::size_t>(i)].second);
  co_return out;
}

}  // namespace cognive::runs::store
