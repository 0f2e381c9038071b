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

// Where another table in the statement has columns of the same names.
#define COGNIVE_RUN_COLUMNS_OF(r)                                                                                      \
  r ".id, " r ".agent_id, " r ".team_id, " r ".status, " r ".environment, " r ".parent_run_id, " r ".session_id, " r   \
    ".labels, " r ".metadata, " r ".error, " r ".started_at, " r ".ended_at, " r ".created_at, " r ".last_seen_at, " r \
    ".terminated_by"

constexpr pg::Query agent_find_query{
    "run_agent_find",
    "SELECT team_id, status, environment FROM agents "
    "WHERE id = $1 AND ($2::uuid IS NULL OR team_id = $2) AND ($3::uuid IS NULL OR id = $3)"};

// The DO UPDATE completes a placeholder of the same agent, or begins a queued run, and touches nothing else; its WHERE
// decides, and a row that it passes over is not returned. States only move forward, and a parent, once named, stays:
// whoever kills that one counts on it.
constexpr pg::Query start_query{
    "run_start",
    "INSERT INTO agent_runs AS r (bucket, id, agent_id, team_id, status, environment, parent_run_id, session_id, "
    "labels, metadata, "
    "started_at) VALUES ($1, $2, $3, $4, $11, $5, $6, $7, $8, $9, $10) "
    "ON CONFLICT (id, bucket) DO UPDATE SET placeholder = false, "
    "status = CASE r.status WHEN 'queued' THEN excluded.status ELSE r.status END, "
    "last_seen_at = CASE WHEN r.status = 'queued' AND excluded.status = 'running' THEN now() ELSE r.last_seen_at END, "
    "parent_run_id = coalesce(r.parent_run_id, excluded.parent_run_id), "
    "session_id = coalesce(excluded.session_id, r.session_id), "
    "labels = CASE excluded.labels WHEN '{}' THEN r.labels ELSE excluded.labels END, "
    "metadata = CASE excluded.metadata WHEN '{}' THEN r.metadata ELSE excluded.metadata END, "
    "started_at = least(excluded.started_at, r.ended_at) "
    "WHERE r.agent_id = excluded.agent_id AND (r.placeholder OR (r.status = 'queued' AND excluded.status = 'running')) "
    "RETURNING " COGNIVE_RUN_COLUMNS};

// The run and those above it, up to the first one that is active: a kill of one further up would have to end that one
// too. Waits for kills of them that are under way, and keeps the next ones waiting. Locked in one order, so that no two
// of these wait for each other. The bound is there for chains that grow without end.
constexpr pg::Query lock_above_query{
    "run_lock_above",
    "WITH RECURSIVE above AS (SELECT bucket, id, team_id, parent_run_id, status FROM agent_runs "
    "WHERE bucket = $1 AND id = $2 AND team_id = $3 "
    "UNION SELECT p.bucket, p.id, p.team_id, p.parent_run_id, p.status FROM above a JOIN agent_runs p "
    "ON p.id = a.parent_run_id AND p.team_id = a.team_id WHERE a.status NOT IN ('queued', 'running')) "
    "SELECT r.id, r.status, r.terminated_by FROM (SELECT bucket, id FROM above LIMIT 1000) chain "
    "JOIN agent_runs r ON r.bucket = chain.bucket AND r.id = chain.id ORDER BY r.id FOR SHARE OF r"};

// Every heartbeat as a write would only cost: nobody needs to know it to the second. Whether it is time again, the
// clock says by which silence is judged: that of the database. A time in the future is a former primary's.
#define COGNIVE_BEAT_IS_DUE(r)                                                                                         \
  "(" r ".status = 'queued' OR " r ".last_seen_at IS NULL OR " r ".last_seen_at <= now() - interval '5 seconds' OR " r \
  ".last_seen_at > now())"

constexpr pg::Query beat_query{
    "run_beat",
    "SELECT " COGNIVE_RUN_COLUMNS_OF("r") ", r.status IN ('queued', 'running') AND " COGNIVE_BEAT_IS_DUE("r")
    ", a.status FROM agent_runs r JOIN agents a ON a.id = r.agent_id WHERE r.bucket = $1 AND r.id = $2 "
    "AND ($3::uuid IS NULL OR r.team_id = $3) AND ($4::uuid IS NULL OR r.agent_id = $4)"};

constexpr pg::Query touch_query{
    "run_touch",
    "UPDATE agent_runs r SET last_seen_at = now(), status = 'running', "
    "started_at = CASE r.status WHEN 'queued' THEN now() ELSE r.started_at END FROM agents a "
    "WHERE r.bucket = $1 AND r.id = $2 AND ($3::uuid IS NULL OR r.team_id = $3) "
    "AND ($4::uuid IS NULL OR r.agent_id = $4) AND a.id = r.agent_id "
    "AND (r.status = 'running' OR (r.status = 'queued' AND a.status = 'active')) AND " COGNIVE_BEAT_IS_DUE(
        "r") " RETURNING " COGNIVE_RUN_COLUMNS_OF("r")};

#undef COGNIVE_BEAT_IS_DUE

// An event that saw its run go on may be committed a little after the run has ended, and must be in the sum.
#define COGNIVE_COST_IS_DUE "cost_due_at = now() + interval '60 seconds'"

// Below a run are those of its team that it started, whatever has become of the ones between. The active ones are
// locked in one order, so that no two of these wait for each other. How many there are, active or not.
constexpr pg::Query lock_below_query{
    "run_lock_below",
    "WITH RECURSIVE below AS (SELECT r.bucket, r.id, r.team_id FROM unnest($1::date[], $2::uuid[]) AS wanted "
    "(bucket, id) JOIN agent_runs r ON r.bucket = wanted.bucket AND r.id = wanted.id "
    "UNION SELECT c.bucket, c.id, c.team_id FROM below b JOIN agent_runs c ON c.parent_run_id = b.id "
    "AND c.team_id = b.team_id), "
    "active AS (SELECT r.id FROM below b JOIN agent_runs r ON r.bucket = b.bucket AND r.id = b.id "
    "WHERE r.status IN ('queued', 'running') ORDER BY r.id FOR UPDATE OF r) "
    "SELECT (SELECT count(*) FROM below), (SELECT count(*) FROM active)"};

// A run that is wanted itself and below another one that is keeps its own reason. One that has ended meanwhile ends
// nothing below it, unless $8. Each keeps the reason as its own agent keeps texts.
constexpr pg::Query terminate_query{
    "run_terminate",
    "WITH RECURSIVE roots AS (SELECT r.bucket, r.id, r.team_id, wanted.reason, wanted.masked, wanted.reason_below, "
    "wanted.masked_below FROM unnest($1::date[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[]) AS wanted "
    "(bucket, id, reason, masked, reason_below, masked_below) "
    "JOIN agent_runs r ON r.bucket = wanted.bucket AND r.id = wanted.id "
    "WHERE $8 OR r.status IN ('queued', 'running')), "
    "below AS (SELECT bucket, id, team_id, id AS root, reason, masked, reason_below, masked_below FROM roots "
    "UNION SELECT c.bucket, c.id, c.team_id, b.root, b.reason_below, b.masked_below, b.reason_below, b.masked_below "
    "FROM below b JOIN agent_runs c ON c.parent_run_id = b.id AND c.team_id = b.team_id "
    "AND c.id NOT IN (SELECT id FROM roots)) "
    "UPDATE agent_runs r SET status = 'terminated', terminated_by = $7, "
    "error = CASE a.store WHEN 'full' THEN b.reason ELSE b.masked END, "
    "ended_at = greatest(now(), r.started_at), " COGNIVE_COST_IS_DUE
    " FROM below b, agents a "
    "WHERE r.bucket = b.bucket AND r.id = b.id AND a.id = r.agent_id AND r.status IN ('queued', 'running') "
    "RETURNING " COGNIVE_RUN_COLUMNS_OF("r") ", b.root"};

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
    "(SELECT coalesce(a.silence_timeout_s, $1) AS limit_s, "
    "make_interval(secs => coalesce(a.silence_timeout_s, $1) + 5) AS timeout) t "
    "WHERE r.status = 'running' AND t.limit_s > 0 AND least(t.limit_s + 5, $2) <= $3 "
    "AND greatest(r.created_at, r.last_seen_at) < now() - t.timeout ORDER BY r.id LIMIT $4 "
    "FOR UPDATE OF r SKIP LOCKED) "
    "UPDATE agent_runs r SET last_seen_at = q.seen, "
    "status = CASE WHEN q.seen < now() - q.timeout THEN 'terminated' ELSE r.status END, "
    "terminated_by = CASE WHEN q.seen < now() - q.timeout THEN 'silence' END, "
    "ended_at = CASE WHEN q.seen < now() - q.timeout THEN greatest(now(), r.started_at) END, "
    "cost_due_at = CASE WHEN q.seen < now() - q.timeout THEN now() + interval '60 seconds' END, "
    "error = CASE WHEN q.seen < now() - q.timeout THEN 'No sign of life for ' || "
    "q.limit_s || ' s.' ELSE r.error END "
    "FROM quiet q WHERE r.bucket = q.bucket AND r.id = q.id AND r.status = 'running' "
    "RETURNING " COGNIVE_RUN_COLUMNS_OF("r")};

constexpr pg::Query find_query{"run_find",
                               "SELECT " COGNIVE_RUN_COLUMNS
                               " FROM agent_runs WHERE bucket = $1 AND id = $2 AND ($3::uuid IS NULL OR team_id = $3) "
                               "AND ($4::uuid IS NULL OR agent_id = $4)"};

constexpr pg::Query find_started_query{"run_find_started",
                                       "SELECT " COGNIVE_RUN_COLUMNS
                                       " FROM agent_runs WHERE bucket = $1 AND id = $2 AND agent_id = $3 "
                                       "AND status <> 'queued' AND NOT placeholder"};

constexpr pg::Query lock_query{"run_lock",
                               "SELECT " COGNIVE_RUN_COLUMNS
                               " FROM agent_runs WHERE bucket = $1 AND id = $2 AND ($3::uuid IS NULL OR team_id = $3) "
                               "AND ($4::uuid IS NULL OR agent_id = $4) FOR UPDATE"};

constexpr pg::Query end_query{
    "run_end",
    "UPDATE agent_runs r SET status = $5, "
    "error = CASE (SELECT a.store FROM agents a WHERE a.id = r.agent_id) "
    "WHEN 'full' THEN $6 ELSE $7 END, ended_at = greatest(coalesce($8, now()), started_at), " COGNIVE_COST_IS_DUE
    " WHERE bucket = $1 AND id = $2 "
    "AND ($3::uuid IS NULL OR team_id = $3) AND ($4::uuid IS NULL OR agent_id = $4) "
    "RETURNING " COGNIVE_RUN_COLUMNS};

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

// The sum is kept true where there is one. Runs whose sum is due are locked as well: it waits for this, or is added to.
// What has neither is summed whenever it is asked for.
constexpr pg::Query change_costs_query{
    "run_change_costs",
    "WITH summed AS (SELECT r.bucket, r.id, changed.difference FROM unnest($1::date[], $2::uuid[], $3::bigint[]) AS "
    "changed (bucket, id, difference) JOIN agent_runs r ON r.bucket = changed.bucket AND r.id = changed.id "
    "WHERE r.cost_nano_usd IS NOT NULL OR r.cost_due_at IS NOT NULL ORDER BY r.id FOR UPDATE OF r) "
    "UPDATE agent_runs r SET cost_nano_usd = "
    "least(r.cost_nano_usd::numeric + s.difference, 9223372036854775807)::bigint FROM summed s "
    "WHERE r.bucket = s.bucket AND r.id = s.id"};

#undef COGNIVE_COST
#undef COGNIVE_CHARGED_CALLS

constexpr pg::Query active_query{"run_active",
                                 "SELECT agent_id, count(*) FROM agent_runs WHERE status IN ('queued', 'running') "
                                 "GROUP BY agent_id ORDER BY 2 DESC LIMIT 100"};

#undef COGNIVE_RUN_COLUMNS_OF
#undef COGNIVE_RUN_COLUMNS

// The columns of a run, and what the query adds to them.
template <typename... More>
void read(pg::Row row, Run& run, More&... more) {
  row.read(run.run_id, run.agent_id, run.team_id, run.status, run.environment, run.parent_run_id, run.session_id,
           run.labels, run.metadata, run.error, run.started_at, run.ended_at, run.created_at, run.last_seen_at,
           run.terminated_by, more...);
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

Async<std::optional<Run>> find_started(pg::Pool& database, Uuid id, Uuid agent_id, Deadline deadline) {
  co_return first(co_await database.execute(find_started_query, pg::Params::of(bucket_of(id), id, agent_id), deadline));
}

Async<std::optional<Run>> find_anybodys(pg::Transaction& transaction, Uuid id) {
  co_return first(co_await transaction.execute(find_query, find_anybodys_params(id)));
}

Async<std::optional<Run>> find(pg::Transaction& transaction, Uuid id, const Principal& principal) {
  auto params = pg::Params::of(bucket_of(id), id, principal.team_id, principal.agent_id);
  co_return first(co_await transaction.execute(find_query, std::move(params)));
}

Async<std::optional<Run>> lock(pg::Transaction& transaction, Uuid id, const Principal& principal) {
  auto params = pg::Params::of(bucket_of(id), id, principal.team_id, principal.agent_id);
  co_return first(co_await transaction.execute(lock_query, std::move(params)));
}

Async<Run> end(pg::Transaction& transaction, Uuid id, const RunEnd& request, const std::optional<Text>& error,
               const Principal& principal) {
  const auto full = error ? std::optional(error->full) : std::nullopt;
  const auto masked = error ? std::optional(error->masked) : std::nullopt;
  auto params = pg::Params::of(bucket_of(id), id, principal.team_id, principal.agent_id, request.status, full, masked,
                               request.ended_at);
  co_return *first(co_await transaction.execute(end_query, std::move(params)));
}

Async<std::vector<Above>> lock_above(pg::Transaction& transaction, Uuid id, Uuid team_id) {
  std::vector<Above> out;
  // Again until there is nothing new: one that was active when the way up ended with it may have ended before it was
  // locked.
  for (;;) {
    const auto rows = co_await transaction.execute(lock_above_query, pg::Params::of(bucket_of(id), id, team_id));
    const bool same = static_cast<std::size_t>(rows.size()) == out.size();
    out.resize(static_cast<std::size_t>(rows.size()));
    for (int i = 0; i < rows.size(); ++i) {
      auto& run = out[static_cast<std::size_t>(i)];
      rows[i].read(run.run_id, run.status, run.terminated_by);
    }
    if (same || std::ranges::any_of(out, &Above::is_active)) co_return out;
  }
}

Async<std::optional<Run>> find(pg::Reader database, Uuid id, const Principal& principal, Deadline deadline) {
  auto params = pg::Params::of(bucket_of(id), id, principal.team_id, principal.agent_id);
  co_return first(co_await database.find(find_query, std::move(params), deadline));
}

Async<std::optional<Beat>> beat(pg::Pool& database, Uuid id, const Principal& principal, Deadline deadline) {
  auto params = pg::Params::of(bucket_of(id), id, principal.team_id, principal.agent_id);
  const auto rows = co_await database.execute(beat_query, std::move(params), deadline);
  if (rows.empty()) co_return std::nullopt;
  Beat beat;
  read(rows[0], beat.run, beat.is_due, beat.agent_status);
  co_return beat;
}

Async<std::optional<Run>> touch(pg::Pool& database, Uuid id, const Call& call) {
  auto params = pg::Params::of(bucket_of(id), id, call.principal.team_id, call.principal.agent_id);
  co_return first(co_await database.write(touch_query, std::move(params), call));
}

namespace {

// Locks what is active below the runs and themselves, until nothing more can come below them: whoever starts a run
// there holds on to the first active one above it, and has either committed before that one was locked here, so that
// the next look sees what it started, or waits for this transaction.
Async<> lock_below(pg::Transaction& transaction, const std::vector<Termination>& terminations) {
  std::int64_t known = -1;
  for (;;) {
    pg::ArrayBuilder buckets(pg::ArrayBuilder::Type::date);
    pg::ArrayBuilder ids(pg::ArrayBuilder::Type::uuid);
    for (const auto& termination : terminations) {
      buckets.add(bucket_of(termination.run_id));
      ids.add(termination.run_id);
    }
    pg::Params params;
    for (auto* column : {&buckets, &ids}) std::move(*column).move_into(params);
    const auto rows = co_await transaction.execute(lock_below_query, std::move(params));
    const auto found = rows[0].at<std::int64_t>(0);
    if (found == known) co_return;
    known = found;
  }
}

}  // namespace

Async<std::vector<Terminated>> terminate(pg::Transaction& transaction, const std::vector<Termination>& terminations,
                                         TerminatedBy by, bool even_if_ended) {
  using Type = pg::ArrayBuilder::Type;
  co_await lock_below(transaction, terminations);
  pg::ArrayBuilder buckets(Type::date);
  pg::ArrayBuilder ids(Type::uuid);
  pg::ArrayBuilder reasons(Type::text);
  pg::ArrayBuilder masked(Type::text);
  pg::ArrayBuilder reasons_below(Type::text);
  pg::ArrayBuilder masked_below(Type::text);
  for (const auto& termination : terminations) {
    buckets.add(bucket_of(termination.run_id));
    ids.add(termination.run_id);
    reasons.add(std::string_view(termination.reason.full));
    masked.add(std::string_view(termination.reason.masked));
    reasons_below.add(std::string_view(termination.reason_below.full));
    masked_below.add(std::string_view(termination.reason_below.masked));
  }
  pg::Params params;
  for (auto* column : {&buckets, &ids, &reasons, &masked, &reasons_below, &masked_below})
    std::move(*column).move_into(params);
  params.add(by);
  params.add(even_if_ended);
  const auto rows = co_await transaction.execute(terminate_query, std::move(params));
  std::vector<Terminated> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& one = out[static_cast<std::size_t>(i)];
    read(rows[i], one.run, one.root);
  }
  co_return out;
}

Async<std::vector<Run>> end_silent(pg::Transaction& transaction, const SilenceOptions& options,
                                   std::chrono::seconds reachable_for, std::int64_t runs_max) {
  auto params = pg::Params::of(std::int64_t{options.default_timeout.count()}, std::int64_t{options.grace_max.count()},
                               std::int64_t{reachable_for.count()}, runs_max);
  co_return all(co_await transaction.execute(end_silent_query, std::move(params)));
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

pg::Params run_keys(const std::vector<Uuid>& ids) {
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

Async<> apply(pg::Transaction& transaction, const CostChanges& changes) {
  std::vector<Uuid> ids;
  pg::ArrayBuilder differences(pg::ArrayBuilder::Type::int8);
  for (const auto& [id, nanos] : changes.nanos) {
    ids.push_back(id);
    differences.add(nanos);
  }
  auto params = run_keys(ids);
  std::move(differences).move_into(params);
  co_await transaction.execute(change_costs_query, std::move(params));
}

Async<std::vector<std::pair<Uuid, std::int64_t>>> active_by_agent(pg::Reader database, Deadline deadline) {
  const auto rows = co_await database.execute_apart(active_query, {}, deadline);
  std::vector<std::pair<Uuid, std::int64_t>> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i)
    rows[i].read(out[static_cast<std::size_t>(i)].first, out[static_cast<std::size_t>(i)].second);
  co_return out;
}

}  // namespace cognive::runs::store
