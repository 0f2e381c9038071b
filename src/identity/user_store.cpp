#include "identity/user_store.hpp"

#include "base/text.hpp"

namespace cognive::identity::store {
namespace {

#define COGNIVE_USER_COLUMNS "id, email, name, status, created_at, last_login_at "

constexpr pg::Query insert_query{"user_insert",
                                 "INSERT INTO users (id, email, name, password_hash) VALUES ($1, $2, $3, $4) "
                                 "ON CONFLICT (email) DO NOTHING"};

constexpr pg::Query lock_query{"user_lock", "SELECT " COGNIVE_USER_COLUMNS "FROM users WHERE id = $1 FOR UPDATE"};

constexpr pg::Query get_query{"user_get", "SELECT " COGNIVE_USER_COLUMNS "FROM users WHERE id = $1"};

constexpr pg::Query list_query{"user_list", "SELECT " COGNIVE_USER_COLUMNS
                                            "FROM users WHERE ($1::text IS NULL OR email = $1) "
                                            "AND ($2::text IS NULL OR status = $2) "
                                            "AND ($3::timestamptz IS NULL OR (created_at, id) < ($3, $4)) "
                                            "ORDER BY created_at DESC, id DESC LIMIT $5"};

#undef COGNIVE_USER_COLUMNS

constexpr pg::Query update_query{
    "user_update",
    "UPDATE users SET name = $2, status = $3, password_hash = coalesce($4, password_hash) WHERE id = $1"};

constexpr pg::Query has_users_query{"has_users", "SELECT EXISTS (SELECT FROM users)"};

constexpr pg::Query roles_query{"user_roles",
                                "SELECT r.user_id, r.role, r.team_id, t.name FROM user_roles r "
                                "LEFT JOIN teams t ON t.id = r.team_id WHERE r.user_id = ANY ($1) "
                                "ORDER BY r.created_at, r.team_id NULLS FIRST"};

// All but those in the organisation, with $2, and in the teams $3.
constexpr pg::Query roles_delete_query{"user_roles_delete",
                                       "DELETE FROM user_roles WHERE user_id = $1 "
                                       "AND CASE WHEN team_id IS NULL THEN NOT $2 ELSE team_id <> ALL ($3) END"};

constexpr pg::Query role_insert_query{"user_role_insert",
                                      "INSERT INTO user_roles (user_id, role, team_id) VALUES ($1, $2, $3) "
                                      "ON CONFLICT (user_id, team_id) DO UPDATE SET role = excluded.role"};

constexpr pg::Query team_named_query{"user_team", "SELECT id, name FROM teams WHERE name = $1 FOR KEY SHARE"};

// Not FOR UPDATE: whoever only gives somebody the role need not wait.
constexpr pg::Query lock_admins_query{"admins_lock", "SELECT FROM roles WHERE name = 'admin' FOR NO KEY UPDATE"};

constexpr pg::Query has_active_admin_query{"admins_active",
                                           "SELECT EXISTS (SELECT FROM user_roles r JOIN users u ON u.id = r.user_id "
                                           "WHERE r.role = 'admin' AND r.team_id IS NULL AND u.status = 'active')"};

constexpr pg::Query team_visible_query{
    "members_team", "SELECT EXISTS (SELECT FROM teams WHERE id = $1 AND ($2::uuid IS NULL OR id = $2))"};

constexpr pg::Query team_lock_query{
    "members_team_lock", "SELECT FROM teams WHERE id = $1 AND ($2::uuid IS NULL OR id = $2) FOR NO KEY UPDATE"};

constexpr pg::Query members_query{"members",
                                  "SELECT u.id, u.email, u.name, u.status, r.role FROM user_roles r "
                                  "JOIN users u ON u.id = r.user_id WHERE r.team_id = $1 ORDER BY u.email LIMIT 10000"};

constexpr pg::Query member_by_email_query{
    "member_by_email",
    "SELECT u.id, u.email, u.name, u.status, r.role FROM users u "
    "LEFT JOIN user_roles r ON r.user_id = u.id AND r.team_id = $1 WHERE u.email = $2"};

constexpr pg::Query member_by_id_query{"member_by_id",
                                       "SELECT u.id, u.email, u.name, u.status, r.role FROM users u "
                                       "LEFT JOIN user_roles r ON r.user_id = u.id AND r.team_id = $1 WHERE u.id = $2"};

constexpr pg::Query member_delete_query{"member_delete", "DELETE FROM user_roles WHERE team_id = $1 AND user_id = $2"};

std::vector<User> read_users(const pg::Rows& rows) {
  std::vector<User> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& user = out[static_cast<std::size_t>(i)];
    rows[i].read(user.id, user.email, user.name, user.status, user.created_at, user.last_login_at);
  }
  return out;
}

pg::Params ids_of(const std::vector<User>& users) {
  pg::ArrayBuilder ids(pg::ArrayBuilder::Type::uuid);
  for (const auto& user : users) ids.add(user.id);
  pg::Params params;
  std::move(ids).move_into(params);
  return params;
}

void add_roles(std::vector<User>& users, const pg::Rows& rows) {
  for (int i = 0; i < rows.size(); ++i) {
    Uuid user_id;
    HeldRole held;
    rows[i].read(user_id, held.role, held.team_id, held.team);
    const auto user = std::ranges::find(users, user_id, &User::id);
    if (user != users.end()) user->roles.push_back(std::move(held));
  }
}

std::optional<User> first_user(std::vector<User> users) {
  if (users.empty()) return std::nullopt;
  return std::move(users.front());
}

std::optional<FoundMember> first_member(const pg::Rows& rows) {
  if (rows.empty()) return std::nullopt;
  FoundMember out;
  rows[0].read(out.member.user_id, out.member.email, out.member.name, out.member.status, out.role);
  if (out.role) out.member.role = *out.role;
  return out;
}

}  // namespace

Async<bool> user_insert(pg::Transaction& transaction, const User& user, const std::string& password_hash) {
  const auto rows =
      co_await transaction.execute(insert_query, pg::Params::of(user.id, user.email, user.name, password_hash));
  co_return rows.affected() == 1;
}

Async<std::optional<User>> user_lock(pg::Transaction& transaction, Uuid id) {
  auto users = read_users(co_await transaction.execute(lock_query, pg::Params::of(id)));
  add_roles(users, co_await transaction.execute(roles_query, ids_of(users)));
  co_return first_user(std::move(users));
}

Async<> user_update(pg::Transaction& transaction, const User& user, const std::optional<std::string>& password_hash) {
  co_await transaction.execute(update_query, pg::Params::of(user.id, user.name, user.status, password_hash));
}

Async<std::optional<User>> user_get(pg::Reader database, Uuid id, Deadline deadline) {
  auto users = read_users(co_await database.find(get_query, pg::Params::of(id), deadline));
  add_roles(users, co_await database.execute(roles_query, ids_of(users), deadline));
  co_return first_user(std::move(users));
}

Async<std::vector<User>> user_list(pg::Reader database, const UserList& query, Deadline deadline) {
  const auto email = query.email ? std::optional(lower(*query.email)) : std::nullopt;
  auto params = pg::Params::of(email, query.status, query.cursor, query.limit + 1);
  auto users = read_users(co_await database.execute(list_query, std::move(params), deadline));
  add_roles(users, co_await database.execute(roles_query, ids_of(users), deadline));
  co_return users;
}

Async<bool> has_users(pg::Pool& database, Deadline deadline) {
  const auto rows = co_await database.execute(has_users_query, {}, deadline);
  co_return rows[0].at<bool>(0);
}

Async<std::optional<HeldRole>> team_named(pg::Transaction& transaction, const std::string& name) {
  const auto rows = co_await transaction.execute(team_named_query, pg::Params::of(name));
  if (rows.empty()) co_return std::nullopt;
  HeldRole held;
  rows[0].read(held.team_id, held.team);
  co_return held;
}

Async<> lock_admins(pg::Transaction& transaction) {
  co_await transaction.execute(lock_admins_query, {});
}

Async<bool> has_active_admin(pg::Transaction& transaction) {
  const auto rows = co_await transaction.execute(has_active_admin_query, {});
  co_return rows[0].at<bool>(0);
}

Async<> roles_replace(pg::Transaction& transaction, Uuid user_id, const std::vector<HeldRole>& roles) {
  pg::ArrayBuilder teams(pg::ArrayBuilder::Type::uuid);
  bool in_organisation = false;
  for (const auto& held : roles) {
    if (held.team_id) teams.add(*held.team_id);
    in_organisation = in_organisation || !held.team_id;
  }
  auto params = pg::Params::of(user_id, in_organisation);
  std::move(teams).move_into(params);
  co_await transaction.execute(roles_delete_query, std::move(params));
  for (const auto& held : roles)
    co_await transaction.execute(role_insert_query, pg::Params::of(user_id, held.role, held.team_id));
}

Async<std::optional<std::vector<Member>>> members(pg::Reader database, Uuid team_id, std::optional<Uuid> visible_to,
                                                  Deadline deadline) {
  const auto visible = co_await database.find(team_visible_query, pg::Params::of(team_id, visible_to), deadline);
  if (!visible[0].at<bool>(0)) co_return std::nullopt;
  const auto rows = co_await database.execute(members_query, pg::Params::of(team_id), deadline);
  std::vector<Member> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& member = out[static_cast<std::size_t>(i)];
    rows[i].read(member.user_id, member.email, member.name, member.status, member.role);
  }
  co_return out;
}

Async<bool> team_lock(pg::Transaction& transaction, Uuid team_id, std::optional<Uuid> visible_to) {
  const auto rows = co_await transaction.execute(team_lock_query, pg::Params::of(team_id, visible_to));
  co_return !rows.empty();
}

Async<std::optional<FoundMember>> member_by_email(pg::Transaction& transaction, Uuid team_id,
                                                  const std::string& email) {
  co_return first_member(co_await transaction.execute(member_by_email_query, pg::Params::of(team_id, lower(email))));
}

Async<std::optional<FoundMember>> member_by_id(pg::Transaction& transaction, Uuid team_id, Uuid user_id) {
  co_return first_member(co_await transaction.execute(member_by_id_query, pg::Params::of(team_id, user_id)));
}

Async<> member_replace(pg::Transaction& transaction, Uuid team_id, Uuid user_id, std::optional<Role> role) {
  if (role) {
    co_await transaction.execute(role_insert_query, pg::Params::of(user_id, *role, team_id));
  } else {
    co_await transaction.execute(member_delete_query, pg::Params::of(team_id, user_id));
  }
}

}  // namespace cognive::identity::store
