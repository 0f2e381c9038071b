#include "runs/known_runs.hpp"

namespace cognive::runs {
namespace {

// The policy of an agent, which may be large, comes with the first of its runs only. LATERAL with LIMIT leaves the
// planner no other way than by the keys: its plan is kept, and may have been made when the tables were empty and a scan
// of all of them looked cheap.
constexpr pg::Query find_query{
    "known_runs_find",
    "WITH found AS (SELECT r.id, r.team_id, r.agent_id, r.environment, r.status, r.error, "
    "row_number() OVER (PARTITION BY r.agent_id) = 1 AS is_first "
    "FROM unnest($1::date[], $2::uuid[]) AS wanted (bucket, id) CROSS JOIN LATERAL ("
    "SELECT * FROM agent_runs WHERE bucket = wanted.bucket AND id = wanted.id LIMIT 1) r) "
    "SELECT f.id, f.team_id, f.agent_id, f.environment, f.status, f.error, a.store, a.on_violation, "
    "a.allowed_providers, a.allowed_models, a.allowed_tools, a.allowed_data_sources "
    "FROM found f LEFT JOIN LATERAL (SELECT * FROM agents WHERE f.is_first AND id = f.agent_id LIMIT 1) a ON true"};

pg::Params params_of(const std::set<Uuid>& ids) {
  pg::ArrayBuilder buckets(pg::ArrayBuilder::Type::date);
  pg::ArrayBuilder uuids(pg::ArrayBuilder::Type::uuid);
  for (const auto& id : ids) {
    buckets.add(bucket_of(id));
    uuids.add(id);
  }
  pg::Params params;
  std::move(buckets).move_into(params);
  std::move(uuids).move_into(params);
  return params;
}

KnownRunRows read(const pg::Rows& rows) {
  std::unordered_map<Uuid, std::shared_ptr<KnownRun>> found;
  std::unordered_map<Uuid, std::shared_ptr<const agents::Policy>> policies;
  for (int i = 0; i < rows.size(); ++i) {
    Uuid id;
    const auto run = std::make_shared<KnownRun>();
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
  KnownRunRows out;
  for (auto& [id, run] : found) {
    run->policy = policies.at(run->agent_id);
    out.emplace(id, std::move(run));
  }
  return out;
}

}  // namespace

Async<KnownRunRows> find_known(pg::Transaction& transaction, const std::set<Uuid>& ids) {
  co_return read(co_await transaction.execute(find_query, params_of(ids)));
}

Async<KnownRunRows> find_known(pg::Pool& database, const std::set<Uuid>& ids, Deadline deadline) {
  co_return read(co_await database.execute(find_query, params_of(ids), deadline));
}

std::shared_ptr<const KnownRun> KnownRuns::find(const Uuid& id) {
  auto& place = shard(id);
  const std::lock_guard lock(place.mutex);
  const auto found = place.runs.find(id);
  if (found == place.runs.end()) return nullptr;
  if (found->second.until > std::chrono::steady_clock::now()) return found->second.run;
  place.runs.erase(found);
  return nullptr;
}

KnownRuns::Ticket KnownRuns::ticket(const Uuid& id) {
  auto& place = shard(id);
  const std::lock_guard lock(place.mutex);
  return place.changes;
}

void KnownRuns::put(const Uuid& id, std::shared_ptr<const KnownRun> run, Ticket ticket) {
  auto& place = shard(id);
  const auto now = std::chrono::steady_clock::now();
  const std::lock_guard lock(place.mutex);
  if (place.changes != ticket) return;
  if (place.runs.size() >= kept_max) {
    std::erase_if(place.runs, [now](const auto& one) { return one.second.until <= now; });
    if (place.runs.size() >= kept_max) place.runs.erase(place.runs.begin());
  }
  place.runs[id] = {std::move(run), now + age_max};
}

void KnownRuns::forget(const Uuid& id) {
  auto& place = shard(id);
  const std::lock_guard lock(place.mutex);
  ++place.changes;
  place.runs.erase(id);
}

void KnownRuns::forget_agent(const Uuid& agent_id) {
  for (auto& place : shards_) {
    const std::lock_guard lock(place.mutex);
    ++place.changes;
    std::erase_if(place.runs, [&](const auto& one) { return one.second.run->agent_id == agent_id; });
  }
}

}  // namespace cognive::runs
