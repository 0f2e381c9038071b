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
// The run of this agent, if it has been started: neither announced only nor made by an event that came early.
Async<std::optional<Run>> find_started(pg::Pool& database, Uuid id, Uuid agent_id, Deadline deadline);
Async<std::optional<Run>> find(pg::Transaction& transaction, Uuid id, const Principal& principal);

Async<std::optional<Run>> lock(pg::Transaction& transaction, Uuid id, const Principal& principal);

// What somebody said about a run. Only a run whose agent stores everything keeps it as it came.
struct Text {
  std::string full;
  std::string masked;
};
// `error`: in place of the one of the request.
Async<Run> end(pg::Transaction& transaction, Uuid id, const RunEnd& request, const std::optional<Text>& error,
               const Principal& principal);

// A run of this team and those above it up to the first active one, in no order; none when there is no such run. No
// kill changes them until the transaction ends.
struct Above {
  Uuid run_id;
  RunStatus status = RunStatus::running;
  std::optional<TerminatedBy> terminated_by;

  [[nodiscard]] bool is_active() const { return status == RunStatus::queued || status == RunStatus::running; }
};
Async<std::vector<Above>> lock_above(pg::Transaction& transaction, Uuid id, Uuid team_id);

Async<std::optional<Run>> find(pg::Reader database, Uuid id, const Principal& principal, Deadline deadline);

// For a heartbeat, on the primary: the run, and whether the heartbeat is to be noted.
struct Beat {
  Run run;
  bool is_due = false;
  std::string agent_status;
};
Async<std::optional<Beat>> beat(pg::Pool& database, Uuid id, const Principal& principal, Deadline deadline);
// Notes that an active run lives, and begins a queued one of an active agent. Nothing when it has ended meanwhile, or
// has been noted.
Async<std::optional<Run>> touch(pg::Pool& database, Uuid id, const Call& call);

// Ends active runs that the caller may see and every active run of their teams below them; which they were, each with
// the run that brought it. With `even_if_ended` also what is below those that have ended.
struct Termination {
  Uuid run_id;
  Text reason;
  Text reason_below;
};
struct Terminated {
  Run run;
  Uuid root;
};
Async<std::vector<Terminated>> terminate(pg::Transaction& transaction, const std::vector<Termination>& terminations,
                                         TerminatedBy by, bool even_if_ended = false);

// Looks at up to `runs_max` running runs that seem silent, of those whose agents could reach us for long enough, and
// ends the ones without a sign of life: all that it looked at.
Async<std::vector<Run>> end_silent(pg::Transaction& transaction, const SilenceOptions& options,
                                   std::chrono::seconds reachable_for, std::int64_t runs_max);

Async<std::optional<RunDetail>> get(pg::Reader database, Uuid id, const Principal& principal, Deadline deadline);
// Sums what the calls of at most `count` ended runs are charged; how many they were.
Async<std::int64_t> sum_costs(pg::Transaction& transaction, std::int64_t count);
Async<> apply(pg::Transaction& transaction, const CostChanges& changes);
Async<std::vector<ListedRun>> list(pg::Reader database, const RunList& query, const Principal& principal,
                                   Deadline deadline);

// Runs that have not ended, of the hundred agents with the most.
Async<std::vector<std::pair<Uuid, std::int64_t>>> active_by_agent(pg::Reader database, Deadline deadline);

}  // namespace cognive::runs::store
