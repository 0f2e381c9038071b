// The feed: what the rest of a company hears of runs, calls, tool invocations, steps, budgets and alerts. What happens
// leaves a row in the transaction in which it does, and the leader publishes the rows on RabbitMQ: nothing is told that
// was not committed, and nothing that was is left out. Rows are only written while the feed is on, which it is while
// the leader has a RabbitMQ.
//
// Runs, alerts and used up budgets leave their rows by triggers (migrations), whoever writes them. Events do not, since
// nothing may slow them down: their writers append one row for all of a commit.
#pragma once

#include <span>
#include <vector>

#include "base/uuid.hpp"
#include "pg/pool.hpp"

namespace cognive::feed {

// As the rows name them, and the routing keys of their messages begin: call.stored, tool.stored, step.stored.
enum class Kind { step, call, tool };

struct Key {
  Uuid run_id;
  Uuid id;
};

// New events of one kind, as statements of their transaction; few, however many they are.
std::vector<pg::Statement> append_statements(Kind kind, std::span<const Key> keys);

}  // namespace cognive::feed
