// SQL of identity.
#pragma once

#include "identity/identity.hpp"

namespace cognive::identity::store {

struct StoredKey {
  Principal principal;
  std::string secret_hash;
  std::optional<Timestamp> expires_at;
  std::optional<Timestamp> revoked_at;
  bool usable = false;  // by the database's clock
};

Async<std::optional<StoredKey>> key_find(pg::Pool& database, Uuid id, Deadline deadline);
// Nothing when the team does not exist.
Async<std::optional<ApiKey>> key_insert(pg::Transaction& transaction, Uuid id, const KeyCreate& request,
                                        Digest secret_hash);
Async<std::vector<ApiKey>> key_list(pg::Pool& database, std::optional<Uuid> team_id, Deadline deadline);
// The key's team when it exists and is visible to `team_id`.
struct Revoked {
  std::optional<Uuid> team_id;
  bool changed = false;
};
Async<std::optional<Revoked>> key_revoke(pg::Transaction& transaction, Uuid id, std::optional<Uuid> team_id);

// False when the address is taken.
Async<bool> user_insert(pg::Transaction& transaction, Uuid id, std::string email, std::string password_hash,
                        std::string role);
Async<bool> has_users(pg::Pool& database, Deadline deadline);

}  // namespace cognive::identity::store
