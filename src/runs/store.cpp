#include "runs/store.hpp"

namespace cognive::runs::store {
namespace {

#define COGNIVE_RUN_COLUMNS                                                                                      \
  "id, agent_id, team_id, status, environment, parent_run_id, session_id, labels, metadata, error, started_at, " \
  "ended_at, created_at"

constexpr pg::Query agent_find_query{
    "run_agent_find",
    "SELECT team_id, status, environment FROM agents "
    "WHERE id = $1 AND ($2::uuid IS NULL OR team_id = $2) AND ($3::uuid IS NULL OR id = $3)"};

// The DO UPDATE completes a placeholder of the same agent and touches nothing else; its WHERE decides, and a row that
// it passes over is not returned.
constexpr pg::Query start_query{
    "run_start",
    "INSERT INTO agent_runs AS r (bucket, id, agent_id, team_id, status, environment, parent_run_id, session_id, "
    "labels, metadata, "
    "started_at) VALUES ($1, $2, $3, $4, 'running', $5, $6, $7, $8, $9, $10) "
    "ON CONFLICT (id, bucket) DO UPDATE SET placeholder = false, parent_run_id = excluded.parent_run_id, "
    "session_id = excluded.session_id, labels = excluded.labels, metadata = excluded.metadata, started_at = "
    "excluded.started_at "
    "WHERE r.placeholder AND r.agent_id = excluded.agent_id RETURNING " COGNIVE_RUN_COLUMNS};

constexpr pg::Query find_query{"run_find",
                               "SELECT " COGNIVE_RUN_COLUMNS
                               " FROM agent_runs WHERE bucket = $1 AND id = $2 AND ($3::uuid IS NULL OR team_id = $3) "
                               "AND ($4::uuid IS NULL OR agent_id = $4)"};

constexpr pg::Query lock_query{"run_lock",
                               "SELECT " COGNIVE_RUN_COLUMNS
                               " FROM agent_runs WHERE bucket = $1 AND id = $2 AND ($3::uuid IS NULL OR team_id = $3) "
                               "AND ($4::uuid IS NULL OR agent_id = $4) FOR UPDATE"};

constexpr pg::Query end_query{"run_end",
                              "UPDATE agent_runs SET status = $3, error = $4, ended_at = coalesce($5, now()) "
                              "WHERE bucket = $1 AND id = $2 RETURNING " COGNIVE_RUN_COLUMNS};

constexpr pg::Query totals_query{
    "run_totals",
    "SELECT (SELECT count(*) FROM execution_steps WHERE run_id = $1), (SELECT count(*) FROM tool_invocations WHERE "
    "run_id = $1), "
    "count(*), count(*) FILTER (WHERE cost_nano_usd IS NULL), least(coalesce(sum(input_tokens), 0), "
    "9223372036854775807)::bigint, "
    "least(coalesce(sum(output_tokens), 0), 9223372036854775807)::bigint, least(coalesce(sum(cost_nano_usd), 0), "
    "9223372036854775807)::bigint FROM llm_calls WHERE run_id = "
    "$1"};

constexpr pg::Query list_query{
    "run_list",
    "SELECT " COGNIVE_RUN_COLUMNS
    " FROM agent_runs WHERE ($1::uuid IS NULL OR team_id = $1) AND ($2::uuid IS NULL OR agent_id = $2) "
    "AND ($3::uuid IS NULL OR agent_id = $3) AND ($4::text IS NULL OR status = $4) "
    "AND ($5::timestamptz IS NULL OR started_at >= $5) AND ($6::timestamptz IS NULL OR started_at < $6) "
    "AND ($7::timestamptz IS NULL OR (created_at, id) < ($7, $8)) ORDER BY created_at DESC, id DESC LIMIT $9"};

constexpr pg::Query active_query{"run_active",
                                 "SELECT agent_id, count(*) FROM agent_runs WHERE status IN ('queued', 'running') "
                                 "GROUP BY agent_id ORDER BY 2 DESC LIMIT 100"};

#undef COGNIVE_RUN_COLUMNS

void read(pg::Row row, Run& run) {
  row.read(run.run_id, run.agent_id, run.team_id, run.status, run.environment, run.parent_run_id, run.session_id,
           run.labels, run.metadata, run.error, run.started_at, run.ended_at, run.created_at);
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

Async<Started> start(pg::Pool& database, const Run& run, const Call& call) {
  auto params =
      pg::Params::of(bucket_of(run.run_id), run.run_id, run.agent_id, run.team_id, run.environment, run.parent_run_id,
                     run.session_id, pg::Json{run.labels.text}, pg::Json{run.metadata.text}, run.started_at);
  if (auto started = first(co_await database.write(start_query, std::move(params), call))) {
    co_return Started{std::move(*started), true};
  }
  // Of another team perhaps: the caller learns no more than that the id is taken.
  const std::optional<Uuid> anybody;
  auto find = pg::Params::of(bucket_of(run.run_id), run.run_id, anybody, anybody);
  auto existing = first(co_await database.execute(find_query, std::move(find), call.deadline));
  if (!existing) throw Unavailable("a run appeared and vanished");
  co_return Started{std::move(*existing), false};
}

Async<std::optional<Run>> lock(pg::Transaction& transaction, Uuid id, const Principal& principal) {
  auto params = pg::Params::of(bucket_of(id), id, principal.team_id, principal.agent_id);
  co_return first(co_await transaction.execute(lock_query, std::move(params)));
}

Async<Run> end(pg::Transaction& transaction, Uuid id, const RunEnd& request) {
  auto params = pg::Params::of(bucket_of(id), id, request.status, request.error, request.ended_at);
  co_return *first(co_await transaction.execute(end_query, std::move(params)));
}

Async<std::optional<RunDetail>> get(pg::Reader database, Uuid id, const Principal& principal, Deadline deadline) {
  auto params = pg::Params::of(bucket_of(id), id, principal.team_id, principal.agent_id);
  const auto rows = co_await database.find(find_query, std::move(params), deadline);
  if (rows.empty()) co_return std::nullopt;
  RunDetail run;
  read(rows[0], run);
  const auto totals = co_await database.execute_apart(totals_query, pg::Params::of(id), deadline);
  totals[0].read(run.totals.steps, run.totals.tool_invocations, run.totals.llm_calls, run.totals.unpriced_calls,
                 run.totals.input_tokens, run.totals.output_tokens, run.totals.cost_usd);
  co_return run;
}

Async<std::vector<Run>> list(pg::Reader database, const RunList& query, const Principal& principal, Deadline deadline) {
  auto params = pg::Params::of(principal.team_id, principal.agent_id, query.agent_id, query.status, query.from,
                               query.to, query.cursor, query.limit + 1);
  const auto rows = co_await database.execute_apart(list_query, std::move(params), deadline);
  std::vector<Run> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) read(rows[i], out[static_cast<std::size_t>(i)]);
  co_return out;
}

Async<std::vector<std::pair<Uuid, std::int64_t>>> active_by_agent(pg::Reader database, Deadline deadline) {
  const auto rows = co_await database.execute_apart(active_query, {}, deadline);
  std::vector<std::pair<Uuid, std::int64_t>> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i)
    rows[i].read(out[static_cast<std::size_t>(i)].first, out[static_cast<std::size_t>(i)].second);
  co_return out;
}

}  // namespace cognive::runs::store
