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
Async<Started> start(pg::Transaction& transaction, const Run& run);
Async<std::optional<Run>> find_anybodys(pg::Transaction& transaction, Uuid id);

Async<std::optional<Run>> lock(pg::Transaction& transaction, Uuid id, const Principal& principal);

// What a caller wrote about a run. Only a run whose agent stores everything keeps it as it came.
struct Text {
  std::string full;
  std::string masked;
};
// `error`: in place of the one of the request.
Async<Run> end(pg::Transaction& transaction, Uuid id, const RunEnd& request, const std::optional<Text>& error);

// The state of a run of this team, which no kill changes until the transaction ends; nothing when there is none.
Async<std::optional<RunStatus>> lock_parent(pg::Transaction& transaction, Uuid id, Uuid team_id);

// For a heartbeat, on the primary.
Async<std::optional<Run>> find(pg::Pool& database, Uuid id, const Principal& principal, Deadline deadline);
Async<std::optional<Run>> find(pg::Reader database, Uuid id, const Principal& principal, Deadline deadline);
// Notes that an active run lives, and begins a queued one. Nothing when it has ended meanwhile.
Async<std::optional<Run>> touch(pg::Pool& database, Uuid id, const Call& call);

// Ends the run and every active run below it, the run itself first.
Async<std::vector<Run>> terminate(pg::Transaction& transaction, Uuid id, const Text& reason);

// Ends up to a few hundred running runs without a sign of life.
Async<std::vector<Run>> end_silent(pg::Transaction& transaction, std::chrono::seconds default_timeout);

Async<std::optional<RunDetail>> get(pg::Reader database, Uuid id, const Principal& principal, Deadline deadline);
// Sums what the calls of at most `count` ended runs are charged; how many they were.
Async<std::int64_t> sum_costs(pg::Transaction& transaction, std::int64_t count);
Async<> cost_changed(pg::Transaction& transaction, const std::set<Uuid>& ids);
Async<std::vector<ListedRun>> list(pg::Reader database, const RunList& query, const Principal& principal,
                                   Deadline deadline);

// Runs that have not ended, of the hundred agents with the most.
Async<std::vector<std::pair<Uuid, std::int64_t>>> active_by_agent(pg::Reader database, Deadline deadline);

}  // namespace cognive::runs::store
