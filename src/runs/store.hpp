// SQL of runs. Every query has the predicates of team and agent: what the caller may not see does not exist.
#pragma once

#include "runs/runs.hpp"

namespace cognive::runs::store {

struct AgentRow {
  Uuid team_id;
  std::string status;
  std::string environment;
};
Async<std::optional<AgentRow>> agent_find(pg::Pool& database, Uuid id, const Principal& principal, Deadline deadline);

// Inserts, or completes a placeholder that early events left. What happened, and the row as it is now: not created and
// of whichever agent when the run existed before.
struct Started {
  Run run;
  bool created = false;
};
Async<Started> start(pg::Pool& database, const Run& run, const Call& call);

Async<std::optional<Run>> lock(pg::Transaction& transaction, Uuid id, const Principal& principal);
Async<Run> end(pg::Transaction& transaction, Uuid id, const RunEnd& request);

Async<std::optional<RunDetail>> get(pg::Reader database, Uuid id, const Principal& principal, Deadline deadline);
Async<std::vector<Run>> list(pg::Reader database, const RunList& query, const Principal& principal, Deadline deadline);

// Runs that have not ended, of the hundred agents with the most.
Async<std::vector<std::pair<Uuid, std::int64_t>>> active_by_agent(pg::Reader database, Deadline deadline);

}  // namespace cognive::runs::store
