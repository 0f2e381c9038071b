#include "identity/session_store.hpp"

namespace cognive::identity::store {
namespace {

// Since when an address counts as one that an account is used from.
#define COGNIVE_ACCOUNT_COLUMNS                                                                  \
  "id, password_hash, status = 'active', EXISTS (SELECT FROM sessions s WHERE s.user_id = u.id " \
  "AND s.address = $2 AND s.refreshed_at > now() - interval '90 days') "

constexpr pg::Query account_by_email_query{"account_by_email",
                                           "SELECT " COGNIVE_ACCOUNT_COLUMNS "FROM users u WHERE email = $1"};

constexpr pg::Query account_by_id_query{"account_by_id",
                                        "SELECT " COGNIVE_ACCOUNT_COLUMNS "FROM users u WHERE id = $1"};

#undef COGNIVE_ACCOUNT_COLUMNS

// Locks the user, so that a change of the password ends either all that was begun before, or this.
constexpr pg::Query account_lock_query{
    "account_lock", "SELECT FROM users WHERE id = $1 AND status = 'active' AND password_hash = $2 FOR NO KEY UPDATE"};

constexpr pg::Query begin_query{"session_begin",
                                "INSERT INTO sessions (id, user_id, address, expires_at) "
                                "VALUES ($1, $2, $3, now() + interval '30 days') RETURNING expires_at"};

constexpr pg::Query logged_in_query{"user_logged_in", "UPDATE users SET last_login_at = now() WHERE id = $1"};

constexpr pg::Query end_oldest_query{
    "session_end_oldest",
    "UPDATE sessions SET ended_at = now(), end_reason = 'too_many' WHERE id IN (SELECT id FROM sessions "
    "WHERE user_id = $1 AND ended_at IS NULL ORDER BY created_at DESC, id DESC OFFSET $2)"};

// What is needed no more, not even to know an address by.
constexpr pg::Query forget_query{"session_forget",
                                 "DELETE FROM sessions WHERE user_id = $1 AND expires_at < now() - interval '90 days'"};

constexpr pg::Query lock_query{
    "session_lock",
    "SELECT s.user_id, s.generation, s.ended_at IS NULL AND s.expires_at > now() AND u.status = 'active' "
    "FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.id = $1 FOR NO KEY UPDATE OF s"};

// However busy: whoever has signed in half a year ago does it again.
constexpr pg::Query refresh_query{
    "session_refresh",
    "UPDATE sessions SET generation = generation + 1, refreshed_at = now(), "
    "expires_at = least(now() + interval '30 days', created_at + interval '180 days') WHERE id = $1 "
    "RETURNING expires_at"};

#define COGNIVE_SESSION_COLUMNS "id, created_at, refreshed_at, expires_at, address"

constexpr pg::Query end_query{"session_end",
                              "UPDATE sessions SET ended_at = now(), end_reason = $3 WHERE id = $1 AND user_id = $2 "
                              "AND ended_at IS NULL RETURNING " COGNIVE_SESSION_COLUMNS};

constexpr pg::Query end_all_query{
    "sessions_end", "UPDATE sessions SET ended_at = now(), end_reason = $2 WHERE user_id = $1 AND ended_at IS NULL"};

constexpr pg::Query list_query{"session_list",
                               "SELECT " COGNIVE_SESSION_COLUMNS
                               " FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND expires_at > now() "
                               "ORDER BY created_at DESC, id DESC"};

#undef COGNIVE_SESSION_COLUMNS

constexpr pg::Query password_query{"password_store", "UPDATE users SET password_hash = $2 WHERE id = $1"};

constexpr pg::Query roles_query{
    "session_roles",
    "SELECT r.role, r.team_id, t.name FROM sessions s JOIN users u ON u.id = s.user_id "
    "LEFT JOIN user_roles r ON r.user_id = u.id LEFT JOIN teams t ON t.id = r.team_id "
    "WHERE s.id = $1 AND s.user_id = $2 AND s.ended_at IS NULL AND s.expires_at > now() AND u.status = 'active' "
    "ORDER BY r.created_at, r.team_id NULLS FIRST"};

constexpr pg::Query email_query{"user_email", "SELECT email FROM users WHERE id = $1"};

constexpr std::int64_t running_max = 100;  // of one user

std::optional<Account> first_account(const pg::Rows& rows) {
  if (rows.empty()) return std::nullopt;
  Account out;
  rows[0].read(out.user_id, out.password_hash, out.active, out.knows_address);
  return out;
}

Session read_session(pg::Row row) {
  Session out;
  row.read(out.id, out.created_at, out.refreshed_at, out.expires_at, out.address);
  return out;
}

}  // namespace

Async<std::optional<Account>> account_by_email(pg::Pool& database, const std::string& email, const std::string& address,
                                               Deadline deadline) {
  co_return first_account(co_await database.execute(account_by_email_query, pg::Params::of(email, address), deadline));
}

Async<std::optional<Account>> account_by_id(pg::Pool& database, Uuid user_id, const std::string& address,
                                            Deadline deadline) {
  co_return first_account(co_await database.execute(account_by_id_query, pg::Params::of(user_id, address), deadline));
}

Async<bool> account_lock(pg::Transaction& transaction, const Account& account) {
  const auto locked =
      co_await transaction.execute(account_lock_query, pg::Params::of(account.user_id, account.password_hash));
  co_return !locked.empty();
}

Async<Timestamp> session_begin(pg::Transaction& transaction, Uuid id, Uuid user_id, const std::string& address) {
  const auto rows = co_await transaction.execute(begin_query, pg::Params::of(id, user_id, address));
  co_await transaction.execute(end_oldest_query, pg::Params::of(user_id, running_max));
  co_await transaction.execute(forget_query, pg::Params::of(user_id));
  co_await transaction.execute(logged_in_query, pg::Params::of(user_id));
  co_return rows[0].at<Timestamp>(0);
}

Async<std::optional<StoredSession>> session_lock(pg::Transaction& transaction, Uuid id) {
  const auto rows = co_await transaction.execute(lock_query, pg::Params::of(id));
  if (rows.empty()) co_return std::nullopt;
  StoredSession out;
  rows[0].read(out.user_id, out.generation, out.running);
  co_return out;
}

Async<Timestamp> session_refresh(pg::Transaction& transaction, Uuid id) {
  const auto rows = co_await transaction.execute(refresh_query, pg::Params::of(id));
  co_return rows[0].at<Timestamp>(0);
}

Async<std::optional<Session>> session_end(pg::Transaction& transaction, Uuid id, Uuid user_id, SessionEnd reason) {
  const auto rows = co_await transaction.execute(end_query, pg::Params::of(id, user_id, reason));
  if (rows.empty()) co_return std::nullopt;
  co_return read_session(rows[0]);
}

Async<> sessions_end(pg::Transaction& transaction, Uuid user_id, SessionEnd reason) {
  co_await transaction.execute(end_all_query, pg::Params::of(user_id, reason));
}

Async<std::vector<Session>> sessions_list(pg::Pool& database, Uuid user_id, Deadline deadline) {
  const auto rows = co_await database.execute(list_query, pg::Params::of(user_id), deadline);
  std::vector<Session> out;
  for (int i = 0; i < rows.size(); ++i) out.push_back(read_session(rows[i]));
  co_return out;
}

Async<> password_store(pg::Transaction& transaction, Uuid user_id, const std::string& password_hash) {
  co_await transaction.execute(password_query, pg::Params::of(user_id, password_hash));
}

Async<std::optional<std::vector<HeldRole>>> session_roles(pg::Pool& database, const AccessClaims& claims,
                                                          Deadline deadline) {
  const auto rows = co_await database.execute(roles_query, pg::Params::of(claims.session_id, claims.user_id), deadline);
  if (rows.empty()) co_return std::nullopt;
  std::vector<HeldRole> out;
  for (int i = 0; i < rows.size(); ++i) {
    std::optional<Role> role;
    HeldRole held;
    rows[i].read(role, held.team_id, held.team);
    if (!role) continue;  // somebody without any
    held.role = *role;
    out.push_back(std::move(held));
  }
  co_return out;
}

Async<std::optional<std::string>> email_of(pg::Pool& database, Uuid user_id, Deadline deadline) {
  const auto rows = co_await database.execute(email_query, pg::Params::of(user_id), deadline);
  if (rows.empty()) co_return std::nullopt;
  co_return rows[0].at<std::string>(0);
}

}  // namespace cognive::identity::store
