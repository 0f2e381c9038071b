#include "agents/store.hpp"

namespace cognive::agents::store {
namespace {

#define COGNIVE_AGENT_COLUMNS                                                                                    \
  "id, team_id, name, description, framework, environment, version, status, allowed_providers, allowed_models, " \
  "allowed_tools, allowed_data_sources, on_violation, store, silence_timeout_s, labels, metadata, created_at, "  \
  "updated_at, archived_at "

constexpr pg::Query team_find_query{"agent_team_find",
                                    "SELECT id FROM teams WHERE name = $1 AND ($2::uuid IS NULL OR id = $2)"};

constexpr pg::Query insert_query{
    "agent_insert",
    "INSERT INTO agents (id, team_id, name, description, framework, environment, version, status, allowed_providers, "
    "allowed_models, allowed_tools, allowed_data_sources, labels, metadata, on_violation, store, silence_timeout_s, "
    "created_at, updated_at) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $18) ON CONFLICT "
    "(team_id, name) DO "
    "NOTHING"};

constexpr pg::Query lock_by_name_query{"agent_lock_by_name",
                                       "SELECT " COGNIVE_AGENT_COLUMNS
                                       "FROM agents WHERE team_id = $1 AND name = $2 AND ($3::uuid IS NULL OR team_id "
                                       "= $3) AND ($4::uuid IS NULL OR id = $4) FOR UPDATE"};

constexpr pg::Query lock_query{
    "agent_lock",
    "SELECT " COGNIVE_AGENT_COLUMNS
    "FROM agents WHERE id = $1 AND ($2::uuid IS NULL OR team_id = $2) AND ($3::uuid IS NULL OR id = $3) FOR UPDATE"};

constexpr pg::Query update_query{
    "agent_update",
    "UPDATE agents SET description = $2, framework = $3, environment = $4, version = $5, status = $6, "
    "allowed_providers = $7, "
    "allowed_models = $8, allowed_tools = $9, allowed_data_sources = $10, labels = $11, metadata = $12, "
    "on_violation = $13, store = $14, silence_timeout_s = $15, "
    "archived_at = CASE WHEN $6 = 'archived' THEN now() END, updated_at = now() WHERE id = $1 RETURNING updated_at"};

constexpr pg::Query get_query{
    "agent_get", "SELECT " COGNIVE_AGENT_COLUMNS
                 "FROM agents WHERE id = $1 AND ($2::uuid IS NULL OR team_id = $2) AND ($3::uuid IS NULL OR id = $3)"};

constexpr pg::Query list_query{
    "agent_list", "SELECT " COGNIVE_AGENT_COLUMNS
                  "FROM agents WHERE ($1::uuid IS NULL OR team_id = $1) AND ($2::uuid IS NULL OR id = $2) "
                  "AND ($3::text IS NULL OR team_id = (SELECT t.id FROM teams t WHERE t.name = $3)) AND ($4::text IS "
                  "NULL OR status = $4) "
                  "AND ($5::text IS NULL OR name = $5) AND ($6::timestamptz IS NULL OR (created_at, id) < ($6, $7)) "
                  "ORDER BY created_at DESC, id DESC LIMIT $8"};

#undef COGNIVE_AGENT_COLUMNS

std::vector<Agent> read(const pg::Rows& rows) {
  std::vector<Agent> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& agent = out[static_cast<std::size_t>(i)];
    rows[i].read(agent.id, agent.team_id, agent.name, agent.description, agent.framework, agent.environment,
                 agent.version, agent.status, agent.allowed_providers, agent.allowed_models, agent.allowed_tools,
                 agent.allowed_data_sources, agent.on_violation, agent.store, agent.silence_timeout_s, agent.labels,
                 agent.metadata, agent.created_at, agent.updated_at, agent.archived_at);
  }
  return out;
}

std::optional<Agent> first(std::vector<Agent> agents) {
  if (agents.empty()) return std::nullopt;
  return std::move(agents.front());
}

}  // namespace

Async<std::optional<Uuid>> team_find(pg::Transaction& transaction, const std::string& name,
                                     const Principal& principal) {
  const auto rows = co_await transaction.execute(team_find_query, pg::Params::of(name, principal.team_id));
  if (rows.empty()) co_return std::nullopt;
  co_return rows[0].at<Uuid>(0);
}

Async<bool> insert(pg::Transaction& transaction, const Agent& agent) {
  auto params =
      pg::Params::of(agent.id, agent.team_id, agent.name, agent.description, agent.framework, agent.environment,
                     agent.version, agent.status, agent.allowed_providers, agent.allowed_models, agent.allowed_tools,
                     agent.allowed_data_sources, pg::Json{agent.labels.text}, pg::Json{agent.metadata.text},
                     agent.on_violation, agent.store, agent.silence_timeout_s, agent.created_at);
  const auto rows = co_await transaction.execute(insert_query, std::move(params));
  co_return rows.affected() == 1;
}

Async<std::optional<Agent>> lock_by_name(pg::Transaction& transaction, Uuid team_id, const std::string& name,
                                         const Principal& principal) {
  auto params = pg::Params::of(team_id, name, principal.team_id, principal.agent_id);
  co_return first(read(co_await transaction.execute(lock_by_name_query, std::move(params))));
}

Async<std::optional<Agent>> lock(pg::Transaction& transaction, Uuid id, const Principal& principal) {
  auto params = pg::Params::of(id, principal.team_id, principal.agent_id);
  co_return first(read(co_await transaction.execute(lock_query, std::move(params))));
}

Async<Timestamp> update(pg::Transaction& transaction, const Agent& agent) {
  auto params = pg::Params::of(agent.id, agent.description, agent.framework, agent.environment, agent.version,
                               agent.status, agent.allowed_providers, agent.allowed_models, agent.allowed_tools,
                               agent.allowed_data_sources, pg::Json{agent.labels.text}, pg::Json{agent.metadata.text},
                               agent.on_violation, agent.store, agent.silence_timeout_s);
  const auto rows = co_await transaction.execute(update_query, std::move(params));
  co_return rows[0].at<Timestamp>(0);
}

Async<std::optional<Agent>> get(pg::Reader database, Uuid id, const Principal& principal, Deadline deadline) {
  auto params = pg::Params::of(id, principal.team_id, principal.agent_id);
  co_return first(read(co_await database.find(get_query, std::move(params), deadline)));
}

Async<std::optional<Agent>> get_for_verdict(pg::Pool& database, Uuid id, const Principal& principal,
                                            Deadline deadline) {
  auto params = pg::Params::of(id, principal.team_id, principal.agent_id);
  co_return first(read(co_await database.execute(get_query, std::move(params), deadline)));
}

Async<std::vector<Agent>> list(pg::Reader database, const AgentList& query, const Principal& principal,
                               Deadline deadline) {
  auto params = pg::Params::of(principal.team_id, principal.agent_id, query.team, query.status, query.name,
                               query.cursor, query.limit + 1);
  co_return read(co_await database.execute(list_query, std::move(params), deadline));
}

}  // namespace cognive::agents::store
