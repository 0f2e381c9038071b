// The audit trail: who changed what. An entry is written in the transaction of the change that it tells of, or not at
// all. Entries form a chain: each is sealed under a key that the database does not have, together with the one before,
// so that nobody who can write to the database can change, add, drop or reorder one unnoticed.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/crypto.hpp"
#include "base/uuid.hpp"
#include "keyring/root_key.hpp"
#include "pg/pool.hpp"
#include "runtime/call.hpp"

namespace cognive::audit {

struct Entry {
  std::string_view action;         // resource first, verb last: agent_update
  std::string_view resource_kind;  // agent
  std::string resource_id;
  std::optional<Uuid> team_id;
  std::string details = "{}";  // a JSON object of what changed; never secrets or prompt text
};

class Trail {
 public:
  // While the root key is not known, nothing can be recorded.
  explicit Trail(const keyring::RootKey& root = {});

  // Of the transaction, when it commits: the end of the chain is what all of them lock, and the last that they lock.
  // The commit throws Unavailable when there is no key, or no chain.
  void record(pg::Transaction& transaction, const Call& call, Entry entry) const;
  void record(pg::Transaction& transaction, const Call& call, std::vector<Entry> entries) const;

 private:
  keyring::DerivedKey key_;
};

}  // namespace cognive::audit
