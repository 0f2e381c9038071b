// SQL of events: everything that one group commit needs, in bulk.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

#include "agents/policy.hpp"
#include "events/events.hpp"
#include "pg/pool.hpp"
#include "prices/pricer.hpp"
#include "runs/known_runs.hpp"

namespace cognive::events::store {

struct AgentRow {
  Uuid team_id;
  std::string status;
  std::string environment;
};

struct Placeholder {
  Uuid run_id;
  Uuid agent_id;
  AgentRow agent;
  Timestamp started_at;
};

// One event with what it belongs to, what is kept of it and, for an LLM call, what it costs.
struct Row {
  const Event* event = nullptr;
  std::shared_ptr<const runs::KnownRun> run;
  prices::PricedCall price;
  std::optional<std::string> error;
  std::optional<std::string> content;  // JSON
  std::optional<std::string_view> violation;
  std::optional<std::int64_t> charge_set_id;  // of the budgets that cover it; nothing when none does
};

// As stored: input, output, cache read, cache write.
const std::array<prices::UnitId, 4>& token_units();
std::array<std::int64_t, 4> tokens_of(const prices::Usage& usage);
// Of an LLM call: as said, else of the rate card that was found.
std::optional<std::string_view> provider_of(const Row& row);

// What identifies an event within its table.
struct Key {
  Uuid run_id;
  Uuid id;
  bool operator==(const Key&) const = default;
  auto operator<=>(const Key&) const = default;
};

Async<std::unordered_map<Uuid, AgentRow>> find_agents(pg::Transaction& transaction, const std::set<Uuid>& ids);
// Leaves runs alone that somebody else has made meanwhile.
Async<> insert_placeholders(pg::Transaction& transaction, const std::vector<Placeholder>& placeholders);

// Begins those of the runs that are queued and whose agents are active, with the times of their first events.
Async<> begin_runs(pg::Transaction& transaction, const std::map<Uuid, Timestamp>& first_events);

// Inserts rows of one type; the keys of those that were new.
Async<std::set<Key>> insert(pg::Transaction& transaction, EventType type, const std::vector<const Row*>& rows);

// Inserts rows that are new as far as anybody knows: a unique violation when one is not.
pg::Statement add_statement(EventType type, const std::vector<const Row*>& rows);

// The same rows for COPY: `copy_sql` names the columns in whose order `encode` appends one row.
const char* copy_sql(EventType type);
void encode(const Row& row, std::string& out);

// What is stored of events whose key is taken.
struct Stored {
  std::int64_t content_hash = 0;
  std::optional<std::string> violation;
};
Async<std::map<Key, Stored>> find_stored(pg::Transaction& transaction, EventType type,
                                         const std::vector<const Row*>& rows);

}  // namespace cognive::events::store
