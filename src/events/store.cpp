#include "events/store.hpp"

namespace cognive::events::store {
namespace {

using Type = pg::ArrayBuilder::Type;

// The policy of an agent, which may be large, comes with the first of its runs only. LATERAL with LIMIT leaves the
// planner no other way than by the keys: its plan is kept, and may have been made when the tables were empty and a scan
// of all of them looked cheap.
constexpr pg::Query find_runs_query{
    "event_find_runs",
    "WITH found AS (SELECT r.id, r.team_id, r.agent_id, r.environment, r.status, r.error, "
    "row_number() OVER (PARTITION BY r.agent_id) = 1 AS is_first "
    "FROM unnest($1::date[], $2::uuid[]) AS wanted (bucket, id) CROSS JOIN LATERAL ("
    "SELECT * FROM agent_runs WHERE bucket = wanted.bucket AND id = wanted.id LIMIT 1) r) "
    "SELECT f.id, f.team_id, f.agent_id, f.environment, f.status, f.error, a.store, a.on_violation, "
    "a.allowed_providers, a.allowed_models, a.allowed_tools, a.allowed_data_sources "
    "FROM found f LEFT JOIN LATERAL (SELECT * FROM agents WHERE f.is_first AND id = f.agent_id LIMIT 1) a ON true"};

constexpr pg::Query begin_runs_query{
    "event_begin_runs",
    "WITH queued AS (SELECT r.bucket, r.id, wanted.first_at FROM (SELECT * FROM unnest($1::date[], $2::uuid[], "
    "$3::timestamptz[]) AS row (bucket, id, first_at) ORDER BY id) wanted CROSS JOIN LATERAL (SELECT s.bucket, s.id "
    "FROM agent_runs s WHERE s.bucket = wanted.bucket AND s.id = wanted.id AND s.status = 'queued' AND EXISTS (SELECT "
    "FROM agents WHERE id = s.agent_id AND status = 'active') LIMIT 1 FOR UPDATE OF s) r) "
    "UPDATE agent_runs r SET status = 'running', started_at = least(now(), q.first_at) FROM queued q "
    "WHERE r.bucket = q.bucket AND r.id = q.id AND r.status = 'queued'"};

constexpr pg::Query find_agents_query{
    "event_find_agents", "SELECT id, team_id, status, environment FROM agents WHERE id = ANY ($1::uuid[])"};

constexpr pg::Query insert_placeholders_query{
    "event_insert_placeholders",
    "INSERT INTO agent_runs (bucket, id, team_id, agent_id, environment, started_at, status, placeholder) "
    "SELECT row.*, 'running', true FROM unnest($1::date[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], "
    "$6::timestamptz[]) AS row "
    "ON CONFLICT DO NOTHING"};

template <typename Ids>
pg::ArrayBuilder uuids(const Ids& ids) {
  pg::ArrayBuilder out(Type::uuid);
  for (const auto& id : ids) out.add(id);
  return out;
}

pg::Params runs_params(const std::set<Uuid>& ids) {
  pg::ArrayBuilder buckets(Type::date);
  for (const auto& id : ids) buckets.add(bucket_of(id));
  pg::Params params;
  std::move(buckets).move_into(params);
  uuids(ids).move_into(params);
  return params;
}

RunRows read_runs(const pg::Rows& rows) {
  std::unordered_map<Uuid, std::shared_ptr<runs::KnownRun>> found;
  std::unordered_map<Uuid, std::shared_ptr<const agents::Policy>> policies;
  for (int i = 0; i < rows.size(); ++i) {
    Uuid id;
    const auto run = std::make_shared<runs::KnownRun>();
    std::optional<agents::Store> kept;
    std::optional<agents::OnViolation> on_violation;
    std::array<std::optional<std::vector<std::string>>, 4> allowed;
    rows[i].read(id, run->team_id, run->agent_id, run->environment, run->status, run->error, kept, on_violation,
                 allowed[0], allowed[1], allowed[2], allowed[3]);
    if (kept && on_violation && std::ranges::all_of(allowed, [](const auto& list) { return list.has_value(); })) {
      policies[run->agent_id] = std::make_shared<const agents::Policy>(
          agents::Policy{agents::Patterns(*allowed[0]), agents::Patterns(*allowed[1]), agents::Patterns(*allowed[2]),
                         agents::Patterns(*allowed[3]), *on_violation, *kept});
    }
    found.emplace(id, run);
  }
  RunRows out;
  for (auto& [id, run] : found) {
    run->policy = policies.at(run->agent_id);
    out.emplace(id, std::move(run));
  }
  return out;
}

}  // namespace

Async<RunRows> find_runs(pg::Transaction& transaction, const std::set<Uuid>& ids) {
  co_return read_runs(co_await transaction.execute(find_runs_query, runs_params(ids)));
}

Async<RunRows> find_runs(pg::Pool& database, const std::set<Uuid>& ids, Deadline deadline) {
  co_return read_runs(co_await database.execute(find_runs_query, runs_params(ids), deadline));
}

Async<std::unordered_map<Uuid, AgentRow>> find_agents(pg::Transaction& transaction, const std::set<Uuid>& ids) {
  pg::Params params;
  uuids(ids).move_into(params);
  const auto rows = co_await transaction.execute(find_agents_query, std::move(params));
  std::unordered_map<Uuid, AgentRow> out;
  for (int i = 0; i < rows.size(); ++i) {
    Uuid id;
    AgentRow agent;
    rows[i].read(id, agent.team_id, agent.status, agent.environment);
    out.emplace(id, std::move(agent));
  }
  co_return out;
}

Async<> insert_placeholders(pg::Transaction& transaction, const std::vector<Placeholder>& placeholders) {
  pg::ArrayBuilder bucket(Type::date);
  pg::ArrayBuilder id(Type::uuid);
  pg::ArrayBuilder team_id(Type::uuid);
  pg::ArrayBuilder agent_id(Type::uuid);
  pg::ArrayBuilder environment(Type::text);
  pg::ArrayBuilder started_at(Type::timestamptz);
  for (const auto& run : placeholders) {
    bucket.add(bucket_of(run.run_id));
    id.add(run.run_id);
    team_id.add(run.agent.team_id);
    agent_id.add(run.agent_id);
    environment.add(std::string_view(run.agent.environment));
    started_at.add(run.started_at);
  }
  pg::Params params;
  for (auto* column : {&bucket, &id, &team_id, &agent_id, &environment, &started_at})
    std::move(*column).move_into(params);
  co_await transaction.execute(insert_placeholders_query, std::move(params));
}

Async<> begin_runs(pg::Transaction& transaction, const std::map<Uuid, Timestamp>& first_events) {
  pg::ArrayBuilder buckets(Type::date);
  pg::ArrayBuilder ids(Type::uuid);
  pg::ArrayBuilder times(Type::timestamptz);
  for (const auto& [id, first_at] : first_events) {
    buckets.add(bucket_of(id));
    ids.add(id);
    times.add(first_at);
  }
  pg::Params params;
  for (auto* column : {&buckets, &ids, &times}) std::move(*column).move_into(params);
  co_await transaction.execute(begin_runs_query, std::move(params));
}

}  // namespace cognive::events::store
