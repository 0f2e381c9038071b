// SQL of users and their roles.
#pragma once

#include "identity/users.hpp"

namespace cognive::identity::store {

// False when the address is taken.
Async<bool> user_insert(pg::Transaction& transaction, const User& user, const std::string& password_hash);
// With its roles.
Async<std::optional<User>> user_lock(pg::Transaction& transaction, Uuid id);
Async<> user_update(pg::Transaction& transaction, const User& user, const std::optional<std::string>& password_hash);
Async<std::optional<User>> user_get(pg::Reader database, Uuid id, Deadline deadline);
Async<std::vector<User>> user_list(pg::Reader database, const UserList& query, Deadline deadline);
Async<bool> has_users(pg::Pool& database, Deadline deadline);

// The id and name of a team; nothing when there is none that `visible_to` may see.
Async<std::optional<HeldRole>> team_named(pg::Transaction& transaction, const std::string& name);
// Whoever changes who manages the organisation waits here for one another.
Async<> lock_admins(pg::Transaction& transaction);
Async<bool> has_active_admin(pg::Transaction& transaction);
// In place of all that the user was.
Async<> roles_replace(pg::Transaction& transaction, Uuid user_id, const std::vector<HeldRole>& roles);

Async<std::optional<std::vector<Member>>> members(pg::Reader database, Uuid team_id, std::optional<Uuid> visible_to,
                                                  Deadline deadline);
Async<bool> team_lock(pg::Transaction& transaction, Uuid team_id, std::optional<Uuid> visible_to);
// Without a role when the user is none of the team's.
struct FoundMember {
  Member member;
  std::optional<Role> role;
};
Async<std::optional<FoundMember>> member_by_email(pg::Transaction& transaction, Uuid team_id, const std::string& email);
Async<std::optional<FoundMember>> member_by_id(pg::Transaction& transaction, Uuid team_id, Uuid user_id);
Async<> member_replace(pg::Transaction& transaction, Uuid team_id, Uuid user_id, std::optional<Role> role);

}  // namespace cognive::identity::store
