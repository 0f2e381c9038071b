// SQL of agents. Every query has the team predicate: rows of other teams do not exist for the caller.
#pragma once

#include "agents/agents.hpp"

namespace cognive::agents::store {

// The team of that name, if the principal may see it.
Async<std::optional<Uuid>> team_find(pg::Transaction& transaction, const std::string& name, const Principal& principal);

// False when the team has an agent of this name.
Async<bool> insert(pg::Transaction& transaction, const Agent& agent);
Async<std::optional<Agent>> lock_by_name(pg::Transaction& transaction, Uuid team_id, const std::string& name,
                                         const Principal& principal);
Async<std::optional<Agent>> lock(pg::Transaction& transaction, Uuid id, const Principal& principal);
// Writes every attribute and sets updated_at; returns it.
Async<Timestamp> update(pg::Transaction& transaction, const Agent& agent);

Async<std::optional<Agent>> get(pg::Reader database, Uuid id, const Principal& principal, Deadline deadline);
// The same on the primary: for what is allowed.
Async<std::optional<Agent>> get_for_verdict(pg::Pool& database, Uuid id, const Principal& principal, Deadline deadline);
Async<std::vector<Agent>> list(pg::Reader database, const AgentList& query, const Principal& principal,
                               Deadline deadline);

}  // namespace cognive::agents::store
