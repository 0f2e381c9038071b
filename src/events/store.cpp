#include "events/store.hpp"

namespace cognive::events::store {
namespace {

using Type = pg::ArrayBuilder::Type;

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

}  // namespace

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
