#include "identity/routes.hpp"

#include "http/router.hpp"
#include "identity/permissions.hpp"

namespace cognive::identity {
namespace {

constexpr std::string_view sessions_tag = "Sign in";
constexpr std::string_view users_tag = "People";
constexpr std::string_view keys_tag = "API keys";

struct KeyPath {
  Uuid id;
  static constexpr auto fields() { return json::fields(json::field("id", &KeyPath::id, "The key's id.")); }
};

struct UserPath {
  Uuid id;
  static constexpr auto fields() { return json::fields(json::field("id", &UserPath::id, "The user's id.")); }
};

struct SessionPath {
  Uuid id;
  static constexpr auto fields() { return json::fields(json::field("id", &SessionPath::id, "The session's id.")); }
};

struct TeamPath {
  Uuid id;
  static constexpr auto fields() { return json::fields(json::field("id", &TeamPath::id, "The team's id.")); }
};

struct MemberPath {
  Uuid id;
  Uuid user_id;
  static constexpr auto fields() {
    return json::fields(json::field("id", &MemberPath::id, "The team's id."),
                        json::field("user_id", &MemberPath::user_id, "The user's id."));
  }
};

// A role, and what it holds.
struct RoleShown {
  Role role = Role::viewer;
  std::vector<std::string> permissions;

  static constexpr std::string_view schema_name = "Role";
  static constexpr auto fields() {
    return json::fields(json::field("role", &RoleShown::role, ""),
                        json::field("permissions", &RoleShown::permissions, "resource:verb."));
  }
};

struct RolesShown {
  std::vector<RoleShown> items;

  static constexpr std::string_view schema_name = "Roles";
  static constexpr auto fields() {
    return json::fields(json::field("items", &RolesShown::items, "The one that may most first."));
  }
};

Async<Result<RolesShown>> roles_shown() {
  RolesShown out;
  for (const auto& [role, name] : enum_names(Role{})) {
    RoleShown shown{.role = role};
    for (const auto& grant : grants) {
      if (grant.holds(role)) shown.permissions.emplace_back(grant.permission);
    }
    out.items.push_back(std::move(shown));
  }
  co_return out;
}

}  // namespace

void add_routes(http::Router& router, Sessions& sessions) {
  router.add({.method = "POST",
              .path = "/api/v1/auth/login",
              .id = "session_begin",
              .tag = sessions_tag,
              .summary = "Sign in with e-mail address and password",
              .description = "The access token is for requests, the refresh token for the next pair. 429 when tried "
                             "too often from one address.",
              .permission = http::open_to_all,
              .also = {401, 403, 429, 503}},
             [&sessions](const Call& call, http::NoInput, LoginRequest body) {
               return sessions.login(call, std::move(body));
             });
  router.add({.method = "POST",
              .path = "/api/v1/auth/refresh",
              .id = "session_refresh",
              .tag = sessions_tag,
              .summary = "Replace the tokens of a session",
              .description = "A refresh token works once. One that is used again ends its session: somebody has a "
                             "copy of it.",
              .permission = http::open_to_all,
              .also = {401, 503}},
             [&sessions](const Call& call, http::NoInput, RefreshRequest body) {
               return sessions.refresh(call, std::move(body));
             });
  router.add({.method = "POST",
              .path = "/api/v1/auth/logout",
              .id = "session_logout",
              .tag = sessions_tag,
              .summary = "Sign out",
              .description = "Ends the session; its tokens are refused everywhere within a second.",
              .permission = http::signed_in,
              .also = {404}},
             [&sessions](const Call& call, http::NoInput, http::NoInput) { return sessions.logout(call); });
  router.add({.method = "POST",
              .path = "/api/v1/auth/password",
              .id = "password_change",
              .tag = sessions_tag,
              .summary = "Change one's password",
              .description = "Ends all sessions of the user and answers the tokens of a new one.",
              .permission = http::signed_in,
              .also = {429}},
             [&sessions](const Call& call, http::NoInput, PasswordChange body) {
               return sessions.change_password(call, std::move(body));
             });
  router.add({.method = "GET",
              .path = "/api/v1/auth/me",
              .id = "me_get",
              .tag = sessions_tag,
              .summary = "Who one is, and what one may do",
              .description = "Of a person their roles, of an API key its permissions, team and agent.",
              .permission = http::signed_in},
             [&sessions](const Call& call, http::NoInput, http::NoInput) { return sessions.me(call); });
  router.add({.method = "GET",
              .path = "/api/v1/auth/sessions",
              .id = "session_list",
              .tag = sessions_tag,
              .summary = "List one's sessions",
              .description =
                  "Each sign-in is a session, which lives as long as its refresh token is exchanged. The newest first.",
              .permission = http::signed_in},
             [&sessions](const Call& call, http::NoInput, http::NoInput) { return sessions.list(call); });
  router.add({.method = "DELETE",
              .path = "/api/v1/auth/sessions/{id}",
              .id = "session_end",
              .tag = sessions_tag,
              .summary = "End one of one's sessions",
              .description = "Its tokens are worth nothing from then on, within a second on every node.",
              .permission = http::signed_in},
             [&sessions](const Call& call, SessionPath path, http::NoInput) { return sessions.end(call, path.id); });
}

void add_routes(http::Router& router, Users& users) {
  router.add({.method = "GET",
              .path = "/api/v1/roles",
              .id = "role_list",
              .tag = users_tag,
              .summary = "List the roles and what they hold",
              .description = "Roles are fixed. A person holds them in a team, or in the whole organisation.",
              .permission = http::signed_in},
             [](const Call&, http::NoInput, http::NoInput) { return roles_shown(); });
  router.add(
      {.method = "POST",
       .path = "/api/v1/users",
       .id = "user_create",
       .tag = users_tag,
       .summary = "Create a user",
       .description = "A person signs in with their email and password and sees the teams in which they hold a role.",
       .permission = permission::users_write,
       .status = 201,
       .also = {409, 429}},
      [&users](const Call& call, http::NoInput, UserCreate body) { return users.create(call, std::move(body)); });
  router.add({.method = "GET",
              .path = "/api/v1/users",
              .id = "user_list",
              .tag = users_tag,
              .summary = "List users",
              .description = "Of the whole organisation; the newest first.",
              .permission = permission::users_read},
             [&users](const Call& call, UserList query, http::NoInput) { return users.list(call, std::move(query)); });
  router.add({.method = "GET",
              .path = "/api/v1/users/{id}",
              .id = "user_get",
              .tag = users_tag,
              .summary = "Get one user",
              .description = "With their roles, and the teams in which they hold them.",
              .permission = permission::users_read},
             [&users](const Call& call, UserPath path, http::NoInput) { return users.get(call, path.id); });
  router.add({.method = "PATCH",
              .path = "/api/v1/users/{id}",
              .id = "user_update",
              .tag = users_tag,
              .summary = "Change a user",
              .description = "A new password, and being suspended, end all sessions of the user.",
              .permission = permission::users_write,
              .also = {409, 429},
              .heeds_if_match = true},
             [&users](const Call& call, UserPath path, UserUpdate body) {
               return users.update(call, path.id, std::move(body));
             });
  router.add({.method = "GET",
              .path = "/api/v1/teams/{id}/members",
              .id = "member_list",
              .tag = users_tag,
              .summary = "List the members of a team",
              .description = "The people who hold a role in the team, ordered by email.",
              .permission = permission::members_read},
             [&users](const Call& call, TeamPath path, http::NoInput) { return users.members(call, path.id); });
  router.add({.method = "PUT",
              .path = "/api/v1/teams/{id}/members",
              .id = "member_put",
              .tag = users_tag,
              .summary = "Make somebody a member of a team, or give a member another role",
              .description = "Of somebody who has an account. A member holds one role in a team.",
              .permission = permission::members_write},
             [&users](const Call& call, TeamPath path, MemberPut body) {
               return users.member_put(call, path.id, std::move(body));
             });
  router.add({.method = "DELETE",
              .path = "/api/v1/teams/{id}/members/{user_id}",
              .id = "member_remove",
              .tag = users_tag,
              .summary = "Remove somebody from a team",
              .description = "They lose their role in this team; their account and their other teams stay.",
              .permission = permission::members_write},
             [&users](const Call& call, MemberPath path, http::NoInput) {
               return users.member_remove(call, path.id, path.user_id);
             });
}

void add_routes(http::Router& router, Keys& keys) {
  router.add(
      {.method = "POST",
       .path = "/api/v1/api-keys",
       .id = "api_key_create",
       .tag = keys_tag,
       .summary = "Create an API key",
       .description = "The answer has the key; it is not shown again. Nobody gives a key what they do not hold.",
       .permission = permission::keys_write,
       .status = 201},
      [&keys](const Call& call, http::NoInput, ApiKeyCreate body) { return keys.create(call, std::move(body)); });
  router.add({.method = "GET",
              .path = "/api/v1/api-keys",
              .id = "api_key_list",
              .tag = keys_tag,
              .summary = "List API keys",
              .description = "What a key may do, when it was used last and when it ends; never the key itself.",
              .permission = permission::keys_read},
             [&keys](const Call& call, ApiKeyList query, http::NoInput) { return keys.list(call, std::move(query)); });
  router.add({.method = "GET",
              .path = "/api/v1/api-keys/{id}",
              .id = "api_key_get",
              .tag = keys_tag,
              .summary = "Get one API key",
              .description = "What it may do, when it was used last and when it ends; never the key itself.",
              .permission = permission::keys_read},
             [&keys](const Call& call, KeyPath path, http::NoInput) { return keys.get(call, path.id); });
  router.add({.method = "POST",
              .path = "/api/v1/api-keys/{id}/rotate",
              .id = "api_key_rotate",
              .tag = keys_tag,
              .summary = "Give a key a new secret",
              .description = "The one before is accepted for overlap_s more, so that clients can change over one by "
                             "one. A key that was rotated meanwhile loses the one before that at once.",
              .permission = permission::keys_write,
              .also = {409}},
             [&keys](const Call& call, KeyPath path, ApiKeyRotate body) { return keys.rotate(call, path.id, body); });
  router.add({.method = "DELETE",
              .path = "/api/v1/api-keys/{id}",
              .id = "api_key_revoke",
              .tag = keys_tag,
              .summary = "Revoke a key",
              .description = "It is refused everywhere within a second. A repeat changes nothing.",
              .permission = permission::keys_write},
             [&keys](const Call& call, KeyPath path, http::NoInput) { return keys.revoke(call, path.id); });
}

}  // namespace cognive::identity
