// Proof that the audit trail is what was recorded: the chain of its seals, reckoned again from what its entries say.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "audit/chain.hpp"
#include "pg/cluster.hpp"

namespace cognive::audit {

struct Verification {
  std::int64_t entries = 0;  // that are proved
  std::int64_t earlier = 0;  // recorded before the chain: proved to be what they were when it began
  std::optional<Break> broken;
};

// On the primary. `kept`: a checkpoint from outside of the database; without one, what was cut off from the end is
// found only when the end of the chain was not set back with it. `progress` is told now and then how many entries are
// proved.
Async<Verification> verify(pg::Pool& database, const keyring::RootKey& root, const std::optional<Checkpoint>& kept,
                           Deadline deadline, const std::function<void(std::int64_t proved)>& progress);

}  // namespace cognive::audit
