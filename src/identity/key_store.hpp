// SQL of API keys.
#pragma once

#include "identity/keys.hpp"

namespace cognive::identity::store {

struct StoredKey {
  Principal principal;
  std::string secret_hash;
  std::optional<std::string> previous_secret_hash;  // while it is accepted
  bool usable = false;                              // by the database's clock
};

Async<std::optional<StoredKey>> key_find(pg::Pool& database, Uuid id, Deadline deadline);
// Whose a key of these would be; nothing when there is no such team, or no such agent in it, for the principal.
struct KeyScope {
  std::optional<Uuid> team_id;
  std::optional<std::string> team;
};
Async<std::optional<KeyScope>> team_scope(pg::Transaction& transaction, const std::string& team,
                                          const Principal& principal);
Async<std::optional<KeyScope>> agent_scope(pg::Transaction& transaction, Uuid agent_id, const Principal& principal);
Async<> key_insert(pg::Transaction& transaction, const ApiKey& key, Digest secret_hash);
Async<std::optional<ApiKey>> key_lock(pg::Transaction& transaction, Uuid id, std::optional<Uuid> team_id);
Async<bool> key_is_usable(pg::Transaction& transaction, Uuid id);
Async<> key_rotate(pg::Transaction& transaction, Uuid id, Digest secret_hash, std::int64_t overlap_s);
Async<> key_revoke(pg::Transaction& transaction, Uuid id);
Async<std::optional<ApiKey>> key_get(pg::Reader database, Uuid id, std::optional<Uuid> team_id, Deadline deadline);
Async<std::vector<ApiKey>> key_list(pg::Reader database, const ApiKeyList& query, std::optional<Uuid> team_id,
                                    Deadline deadline);
Async<> store_uses(pg::Pool& database, std::unordered_map<Uuid, Timestamp> uses, Deadline deadline);

}  // namespace cognive::identity::store
