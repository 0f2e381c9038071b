// SQL of rollups.
#pragma once

#include "rollups/rollups.hpp"

namespace cognive::rollups::store {

pg::Statement append(const Deltas& deltas);

// Folds what commits have appended, until it is `count` sums or more; how many there were, nothing when somebody else
// is at it.
Async<std::optional<std::int64_t>> fold(pg::Transaction& transaction, std::int64_t count);
// Gives the room of folded deltas to the next ones.
Async<> vacuum(pg::Pool& database, Deadline deadline);

Async<Verification> verify(pg::Transaction& transaction, Timestamp from, Timestamp to);

}  // namespace cognive::rollups::store
