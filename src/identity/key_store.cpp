#include "identity/key_store.hpp"

namespace cognive::identity::store {
namespace {

#define COGNIVE_KEY_COLUMNS                                                                                  \
  "k.id, k.name, k.team_id, t.name, k.agent_id, k.permissions, k.created_at, k.expires_at, k.last_used_at, " \
  "k.rotated_at, k.previous_secret_until, k.revoked_at "

constexpr pg::Query key_find_query{
    "api_key_find",
    "SELECT team_id, agent_id, permissions, secret_hash, "
    "CASE WHEN previous_secret_until > now() THEN previous_secret_hash END, "
    "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) FROM api_keys WHERE id = $1"};

constexpr pg::Query team_scope_query{
    "api_key_team", "SELECT id, name FROM teams WHERE name = $1 AND ($2::uuid IS NULL OR id = $2) FOR KEY SHARE"};

constexpr pg::Query agent_scope_query{"api_key_agent",
                                      "SELECT t.id, t.name FROM agents a JOIN teams t ON t.id = a.team_id "
                                      "WHERE a.id = $1 AND ($2::uuid IS NULL OR a.team_id = $2) FOR KEY SHARE OF a"};

constexpr pg::Query key_insert_query{
    "api_key_insert",
    "INSERT INTO api_keys (id, name, team_id, agent_id, permissions, secret_hash, expires_at) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7)"};

constexpr pg::Query key_lock_query{"api_key_lock",
                                   "SELECT " COGNIVE_KEY_COLUMNS
                                   "FROM api_keys k LEFT JOIN teams t ON t.id = k.team_id "
                                   "WHERE k.id = $1 AND ($2::uuid IS NULL OR k.team_id = $2) FOR UPDATE OF k"};

constexpr pg::Query key_get_query{"api_key_get", "SELECT " COGNIVE_KEY_COLUMNS
                                                 "FROM api_keys k LEFT JOIN teams t ON t.id = k.team_id "
                                                 "WHERE k.id = $1 AND ($2::uuid IS NULL OR k.team_id = $2)"};

constexpr pg::Query key_list_query{"api_key_list",
                                   "SELECT " COGNIVE_KEY_COLUMNS
                                   "FROM api_keys k LEFT JOIN teams t ON t.id = k.team_id "
                                   "WHERE ($1::uuid IS NULL OR k.team_id = $1) AND ($2::text IS NULL OR t.name = $2) "
                                   "AND ($3::uuid IS NULL OR k.agent_id = $3) "
                                   "AND ($4::timestamptz IS NULL OR (k.created_at, k.id) < ($4, $5)) "
                                   "ORDER BY k.created_at DESC, k.id DESC LIMIT $6"};

constexpr pg::Query key_usable_query{
    "api_key_usable",
    "SELECT revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) FROM api_keys WHERE id = $1"};

// Without an overlap nothing of the old secret is left.
constexpr pg::Query key_rotate_query{
    "api_key_rotate",
    "UPDATE api_keys SET secret_hash = $2, rotated_at = now(), "
    "previous_secret_hash = CASE WHEN $3::bigint > 0 THEN secret_hash END, "
    "previous_secret_until = CASE WHEN $3 > 0 THEN now() + $3 * interval '1 second' END WHERE id = $1"};

constexpr pg::Query key_revoke_query{"api_key_revoke", "UPDATE api_keys SET revoked_at = now() WHERE id = $1"};

// Rows that somebody else holds are left for the next time: being used must never wait for being managed.
constexpr pg::Query store_uses_query{
    "api_key_uses",
    "WITH uses AS (SELECT * FROM unnest($1::uuid[], $2::timestamptz[]) AS u (id, used_at)), "
    "free AS (SELECT k.id FROM api_keys k WHERE k.id IN (SELECT id FROM uses) ORDER BY k.id FOR UPDATE SKIP LOCKED) "
    "UPDATE api_keys k SET last_used_at = greatest(k.last_used_at, uses.used_at) "
    "FROM uses JOIN free ON free.id = uses.id WHERE k.id = uses.id"};

#undef COGNIVE_KEY_COLUMNS

ApiKey read_key(pg::Row row) {
  ApiKey key;
  row.read(key.id, key.name, key.team_id, key.team, key.agent_id, key.permissions, key.created_at, key.expires_at,
           key.last_used_at, key.rotated_at, key.previous_until, key.revoked_at);
  return key;
}

std::optional<ApiKey> first_key(const pg::Rows& rows) {
  if (rows.empty()) return std::nullopt;
  return read_key(rows[0]);
}

std::optional<KeyScope> first_scope(const pg::Rows& rows) {
  if (rows.empty()) return std::nullopt;
  KeyScope scope;
  rows[0].read(scope.team_id, scope.team);
  return scope;
}

}  // namespace

Async<std::optional<StoredKey>> key_find(pg::Pool& database, Uuid id, Deadline deadline) {
  const auto rows = co_await database.execute(key_find_query, pg::Params::of(id), deadline);
  if (rows.empty()) co_return std::nullopt;
  StoredKey key;
  key.principal.id = id;
  rows[0].read(key.principal.team_id, key.principal.agent_id, key.principal.permissions, key.secret_hash,
               key.previous_secret_hash, key.usable);
  co_return key;
}

Async<std::optional<KeyScope>> team_scope(pg::Transaction& transaction, const std::string& team,
                                          const Principal& principal) {
  co_return first_scope(co_await transaction.execute(team_scope_query, pg::Params::of(team, principal.team_id)));
}

Async<std::optional<KeyScope>> agent_scope(pg::Transaction& transaction, Uuid agent_id, const Principal& principal) {
  co_return first_scope(co_await transaction.execute(agent_scope_query, pg::Params::of(agent_id, principal.team_id)));
}

Async<> key_insert(pg::Transaction& transaction, const ApiKey& key, Digest secret_hash) {
  co_await transaction.execute(key_insert_query,
                               pg::Params::of(key.id, key.name, key.team_id, key.agent_id, key.permissions,
                                              pg::Bytes{secret_hash}, key.expires_at));
}

Async<std::optional<ApiKey>> key_lock(pg::Transaction& transaction, Uuid id, std::optional<Uuid> team_id) {
  co_return first_key(co_await transaction.execute(key_lock_query, pg::Params::of(id, team_id)));
}

Async<bool> key_is_usable(pg::Transaction& transaction, Uuid id) {
  const auto rows = co_await transaction.execute(key_usable_query, pg::Params::of(id));
  co_return !rows.empty() && rows[0].at<bool>(0);
}

Async<> key_rotate(pg::Transaction& transaction, Uuid id, Digest secret_hash, std::int64_t overlap_s) {
  co_await transaction.execute(key_rotate_query, pg::Params::of(id, pg::Bytes{secret_hash}, overlap_s));
}

Async<> key_revoke(pg::Transaction& transaction, Uuid id) {
  co_await transaction.execute(key_revoke_query, pg::Params::of(id));
}

Async<std::optional<ApiKey>> key_get(pg::Reader database, Uuid id, std::optional<Uuid> team_id, Deadline deadline) {
  co_return first_key(co_await database.find(key_get_query, pg::Params::of(id, team_id), deadline));
}

Async<std::vector<ApiKey>> key_list(pg::Reader database, const ApiKeyList& query, std::optional<Uuid> team_id,
                                    Deadline deadline) {
  auto params = pg::Params::of(team_id, query.team, query.agent_id, query.cursor, query.limit + 1);
  const auto rows = co_await database.execute(key_list_query, std::move(params), deadline);
  std::vector<ApiKey> out;
  for (int i = 0; i < rows.size(); ++i) out.push_back(read_key(rows[i]));
  co_return out;
}

Async<> store_uses(pg::Pool& database, std::unordered_map<Uuid, Timestamp> uses, Deadline deadline) {
  pg::ArrayBuilder ids(pg::ArrayBuilder::Type::uuid);
  pg::ArrayBuilder used_at(pg::ArrayBuilder::Type::timestamptz);
  for (const auto& [key, time] : uses) {
    ids.add(key);
    used_at.add(time);
  }
  pg::Params params;
  std::move(ids).move_into(params);
  std::move(used_at).move_into(params);
  co_await database.execute(store_uses_query, std::move(params), deadline);
}

}  // namespace cognive::identity::store
