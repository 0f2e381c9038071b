// The audit trail: who changed what. An entry is written in the transaction of the change that it tells of, or not at
// all.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/uuid.hpp"
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

Async<> record(pg::Transaction& transaction, const Call& call, Entry entry);
Async<> record(pg::Transaction& transaction, const Call& call, const std::vector<Entry>& entries);

}  // namespace cognive::audit
