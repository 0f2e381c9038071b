// People: who they are, and what they may do in the organisation and in its teams.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "audit/audit.hpp"
#include "identity/passwords.hpp"
#include "identity/permissions.hpp"
#include "json/bind.hpp"
#include "pg/cluster.hpp"
#include "runtime/call.hpp"

namespace cognive::identity {

inline constexpr json::Rules email_rules{.min_length = 3, .max_length = 254, .example = "\"ada@example.com\""};

enum class UserStatus { active, suspended };

constexpr auto enum_names(UserStatus) {
  return std::array{json::name(UserStatus::active, "active"), json::name(UserStatus::suspended, "suspended")};
}

// A role that somebody has.
struct HeldRole {
  Role role = Role::viewer;
  std::optional<Uuid> team_id;
  std::optional<std::string> team;

  static constexpr std::string_view schema_name = "HeldRole";
  static constexpr auto fields() {
    return json::fields(json::field("role", &HeldRole::role, ""),
                        json::field("team_id", &HeldRole::team_id, "Where; null: in the whole organisation."),
                        json::field("team", &HeldRole::team, "The name of that team."));
  }
};

struct RoleGrant {
  Role role = Role::viewer;
  std::optional<std::string> team;

  static constexpr std::string_view schema_name = "RoleGrant";
  static constexpr auto fields() {
    return json::fields(json::field("role", &RoleGrant::role, "admin is of the organisation, team_lead of a team."),
                        json::field("team", &RoleGrant::team, "The name of a team; absent: in the whole organisation.",
                                    {.min_length = 1, .max_length = 128}));
  }
};

struct User {
  Uuid id;
  std::string email;
  std::string name;
  UserStatus status = UserStatus::active;
  std::vector<HeldRole> roles;
  Timestamp created_at;
  std::optional<Timestamp> last_login_at;

  static constexpr std::string_view schema_name = "User";
  static constexpr auto fields() {
    return json::fields(json::field("id", &User::id, ""), json::field("email", &User::email, "In lower case."),
                        json::field("name", &User::name, "For people."),
                        json::field("status", &User::status, "Whoever is suspended cannot sign in."),
                        json::field("roles", &User::roles, "What they are, and where."),
                        json::field("created_at", &User::created_at, ""),
                        json::field("last_login_at", &User::last_login_at, "null: never."));
  }
};

struct UserCreate {
  std::string email;
  std::string name;
  std::string password;
  std::vector<RoleGrant> roles;

  void check(json::Faults& faults) const;

  static constexpr std::string_view schema_name = "UserCreate";
  static constexpr auto fields() {
    return json::fields(
        json::field("email", &UserCreate::email, "What they sign in with.", email_rules),
        json::field("name", &UserCreate::name, "For people.", {.max_length = 128, .optional = true}),
        json::field("password", &UserCreate::password, "A first one, which they should change.", password_rules),
        json::field("roles", &UserCreate::roles, "What they are, and where; nobody gives what they do not hold.",
                    {.max_length = 64, .optional = true}));
  }
};

struct UserUpdate {
  std::optional<std::string> name;
  std::optional<UserStatus> status;
  std::optional<std::string> password;
  std::optional<std::vector<RoleGrant>> roles;

  static constexpr std::string_view schema_name = "UserUpdate";
  static constexpr auto fields() {
    return json::fields(
        json::field("name", &UserUpdate::name, "For people.", {.max_length = 128}),
        json::field("status", &UserUpdate::status, "suspended ends their sessions."),
        json::field("password", &UserUpdate::password, "A new one; it ends their sessions.", password_rules),
        json::field("roles", &UserUpdate::roles, "All that they are from now on.", {.max_length = 64}));
  }
};

struct UserList {
  std::optional<std::string> email;
  std::optional<UserStatus> status;
  std::int64_t limit = 50;
  std::optional<json::PagePosition> cursor;

  static constexpr auto fields() {
    return json::fields(json::field("email", &UserList::email, "Only with this address.", email_rules),
                        json::field("status", &UserList::status, "Only these."),
                        json::field("limit", &UserList::limit, "Items per page.", json::page_limit_rules),
                        json::field("cursor", &UserList::cursor, "next_cursor of the page before."));
  }
};

// Somebody with a role in a team.
struct Member {
  Uuid user_id;
  std::string email;
  std::string name;
  UserStatus status = UserStatus::active;
  Role role = Role::viewer;

  static constexpr std::string_view schema_name = "Member";
  static constexpr auto fields() {
    return json::fields(json::field("user_id", &Member::user_id, ""), json::field("email", &Member::email, ""),
                        json::field("name", &Member::name, "For people."), json::field("status", &Member::status, ""),
                        json::field("role", &Member::role, "In this team."));
  }
};

struct Members {
  std::vector<Member> items;

  static constexpr std::string_view schema_name = "Members";
  static constexpr auto fields() { return json::fields(json::field("items", &Members::items, "By e-mail address.")); }
};

struct MemberPut {
  std::string email;
  Role role = Role::viewer;

  void check(json::Faults& faults) const;

  static constexpr std::string_view schema_name = "MemberPut";
  static constexpr auto fields() {
    return json::fields(json::field("email", &MemberPut::email, "Of somebody who can sign in already.", email_rules),
                        json::field("role", &MemberPut::role, "In this team: team_lead, developer or viewer.",
                                    {.example = "\"developer\""}));
  }
};

// For one I/O thread.
class Users {
 public:
  // Both must outlive it.
  Users(pg::Cluster& database, audit::Trail trail, Passwords& passwords)
      : database_(database), trail_(trail), passwords_(passwords) {}

  // Code::conflict when the address is taken; Code::forbidden when a role holds what the caller does not.
  Async<Result<User>> create(const Call& call, UserCreate request);
  // A new password, and being suspended, end the user's sessions. Code::conflict when nobody would be left who manages
  // the organisation; Code::forbidden when the user holds what the caller does not.
  Async<Result<User>> update(const Call& call, Uuid id, UserUpdate change);
  Async<Result<User>> get(const Call& call, Uuid id);
  Async<Result<json::Page<User>>> list(const Call& call, UserList query);
  Async<bool> has_users(Deadline deadline);

  Async<Result<Members>> members(const Call& call, Uuid team_id);
  // Makes somebody a member, or gives a member another role.
  Async<Result<Member>> member_put(const Call& call, Uuid team_id, MemberPut request);
  Async<Result<Member>> member_remove(const Call& call, Uuid team_id, Uuid user_id);

 private:
  pg::Cluster& database_;
  audit::Trail trail_;
  Passwords& passwords_;
};

}  // namespace cognive::identity
