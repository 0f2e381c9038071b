#include "identity/store.hpp"

namespace cognive::identity::store {
namespace {

constexpr pg::Query key_find_query{
    "api_key_find",
    "SELECT team_id, agent_id, permissions, secret_hash, "
    "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) FROM api_keys WHERE id = $1"};

constexpr pg::Query key_insert_query{
    "api_key_insert",
    "INSERT INTO api_keys (id, name, team_id, permissions, secret_hash, expires_at) "
    "SELECT $1, $2, t.id, $4, $5, $6 FROM (SELECT 1) one LEFT JOIN teams t ON t.name = $3 "
    "WHERE $3 IS NULL OR t.id IS NOT NULL RETURNING created_at"};

constexpr pg::Query key_list_query{
    "api_key_list",
    "SELECT k.id, k.name, t.name, k.permissions, k.created_at, k.expires_at, k.revoked_at "
    "FROM api_keys k LEFT JOIN teams t ON t.id = k.team_id "
    "WHERE $1::uuid IS NULL OR k.team_id = $1 ORDER BY k.created_at DESC, k.id DESC LIMIT 1000"};

constexpr pg::Query key_lock_query{
    "api_key_lock",
    "SELECT team_id, revoked_at FROM api_keys WHERE id = $1 AND ($2::uuid IS NULL OR team_id = $2) FOR UPDATE"};

constexpr pg::Query key_revoke_query{"api_key_revoke", "UPDATE api_keys SET revoked_at = now() WHERE id = $1"};

constexpr pg::Query user_insert_query{
    "user_insert",
    "WITH new_user AS (INSERT INTO users (id, email, password_hash) VALUES ($1, $2, $3) "
    "ON CONFLICT (email) DO NOTHING RETURNING id) "
    "INSERT INTO user_roles (user_id, role) SELECT id, $4 FROM new_user"};

constexpr pg::Query has_users_query{"has_users", "SELECT EXISTS (SELECT FROM users)"};

}  // namespace

Async<std::optional<StoredKey>> key_find(pg::Pool& database, Uuid id, Deadline deadline) {
  const auto rows = co_await database.execute(key_find_query, pg::Params::of(id), deadline);
  if (rows.empty()) co_return std::nullopt;
  StoredKey key;
  key.principal.id = id;
  rows[0].read(key.principal.team_id, key.principal.agent_id, key.principal.permissions, key.secret_hash, key.usable);
  co_return key;
}

Async<std::optional<ApiKey>> key_insert(pg::Transaction& transaction, Uuid id, const KeyCreate& request,
                                        Digest secret_hash) {
  const auto rows = co_await transaction.execute(
      key_insert_query,
      pg::Params::of(id, request.name, request.team, request.permissions, pg::Bytes{secret_hash}, request.expires_at));
  if (rows.empty()) co_return std::nullopt;
  ApiKey key{.id = id,
             .name = request.name,
             .team = request.team,
             .permissions = request.permissions,
             .created_at = rows[0].at<Timestamp>(0),
             .expires_at = request.expires_at,
             .revoked_at = {}};
  co_return key;
}

Async<std::vector<ApiKey>> key_list(pg::Pool& database, std::optional<Uuid> team_id, Deadline deadline) {
  const auto rows = co_await database.execute(key_list_query, pg::Params::of(team_id), deadline);
  std::vector<ApiKey> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& key = out[static_cast<std::size_t>(i)];
    rows[i].read(key.id, key.name, key.team, key.permissions, key.created_at, key.expires_at, key.revoked_at);
  }
  co_return out;
}

Async<std::optional<Revoked>> key_revoke(pg::Transaction& transaction, Uuid id, std::optional<Uuid> team_id) {
  const auto rows = co_await transaction.execute(key_lock_query, pg::Params::of(id, team_id));
  if (rows.empty()) co_return std::nullopt;
  Revoked out;
  std::optional<Timestamp> revoked_at;
  rows[0].read(out.team_id, revoked_at);
  if (!revoked_at) {
    co_await transaction.execute(key_revoke_query, pg::Params::of(id));
    out.changed = true;
  }
  co_return out;
}

Async<bool> user_insert(pg::Transaction& transaction, Uuid id, std::string email, std::string password_hash,
                        std::string role) {
  const auto rows = co_await transaction.execute(user_insert_query, pg::Params::of(id, email, password_hash, role));
  co_return rows.affected() == 1;
}

Async<bool> has_users(pg::Pool& database, Deadline deadline) {
  const auto rows = co_await database.execute(has_users_query, {}, deadline);
  co_return rows[0].at<bool>(0);
}

}  // namespace cognive::identity::store
