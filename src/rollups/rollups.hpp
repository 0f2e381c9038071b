// Rollups: what LLM calls add up to by hour and by day, by agent and by team, so that a month costs milliseconds.
//
// Every commit that adds calls, or changes what they are charged, appends its deltas in the same transaction. A
// compactor folds them into the sums now and then. Readers add both up in one snapshot, so that rollups and ledger
// never disagree; `verify` recomputes the sums from the ledger and tells where they do.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "pg/cluster.hpp"
#include "rollups/deltas.hpp"
#include "runtime/call.hpp"

namespace cognive::rollups {

// Appends deltas in the transaction that makes them true.
Async<> append(pg::Transaction& transaction, const Deltas& deltas);
// The same as a statement, for who runs several at once. `deltas` must not be empty.
pg::Statement append_statement(const Deltas& deltas);

// Folds all deltas there are, until the deadline. How many they were. Any number of processes may call it: one works.
Async<std::int64_t> compact(pg::Cluster& database, Deadline deadline);

// A sum that is not what the ledger says.
struct Disagreement {
  std::string granularity;  // hour, day; team_hour, team_day: over all agents of the team, without agent_id
  Timestamp period;
  Uuid team_id;
  std::optional<Uuid> agent_id;
  std::string environment;
  std::string provider;
  std::string model;
  std::string price_status;
  std::string stored;  // JSON; null: there is no such sum
  std::string ledger;  // JSON; null: there are no such calls
};

struct Verification {
  Timestamp from;
  Timestamp to;
  std::int64_t sums = 0;                    // compared
  std::int64_t calls = 0;                   // that they are made of
  std::vector<Disagreement> disagreements;  // at most `disagreements_max`
};
inline constexpr std::int64_t disagreements_max = 100;

// Compares the sums of whole hours and whole days, of agents and of teams, with those of the ledger, in one snapshot.
// The range is widened to whole UTC days. Reads every call in it, on the primary.
Async<Verification> verify(pg::Cluster& database, Timestamp from, Timestamp to, Deadline deadline);

}  // namespace cognive::rollups
