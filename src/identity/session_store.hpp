// SQL of sessions.
#pragma once

#include "identity/sessions.hpp"

namespace cognive::identity::store {

struct Account {
  Uuid user_id;
  std::string password_hash;
  bool active = false;
  bool knows_address = false;  // it was signed in from there lately
};

Async<std::optional<Account>> account_by_email(pg::Pool& database, const std::string& email, const std::string& address,
                                               Deadline deadline);
Async<std::optional<Account>> account_by_id(pg::Pool& database, Uuid user_id, const std::string& address,
                                            Deadline deadline);

// False when the user is not active, or the password is another one by now. Whoever begins or ends sessions of a user
// for the sake of the password waits here for one another.
Async<bool> account_lock(pg::Transaction& transaction, const Account& account);
// Begins one and ends the oldest of too many; returns when it expires.
Async<Timestamp> session_begin(pg::Transaction& transaction, Uuid id, Uuid user_id, const std::string& address);

struct StoredSession {
  Uuid user_id;
  std::int64_t generation = 0;
  bool running = false;  // by the database's clock, and of an active user
};
Async<std::optional<StoredSession>> session_lock(pg::Transaction& transaction, Uuid id);
// Returns when it expires.
Async<Timestamp> session_refresh(pg::Transaction& transaction, Uuid id);
// Nothing when it is no running session of that user.
Async<std::optional<Session>> session_end(pg::Transaction& transaction, Uuid id, Uuid user_id, SessionEnd reason);
Async<> sessions_end(pg::Transaction& transaction, Uuid user_id, SessionEnd reason);
Async<std::vector<Session>> sessions_list(pg::Pool& database, Uuid user_id, Deadline deadline);

Async<> password_store(pg::Transaction& transaction, Uuid user_id, const std::string& password_hash);

// The roles of a user whose session is running; nothing when it is not.
Async<std::optional<std::vector<HeldRole>>> session_roles(pg::Pool& database, const AccessClaims& claims,
                                                          Deadline deadline);
Async<std::optional<std::string>> email_of(pg::Pool& database, Uuid user_id, Deadline deadline);

}  // namespace cognive::identity::store
