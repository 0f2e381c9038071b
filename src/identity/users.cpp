#include "identity/users.hpp"

#include "base/text.hpp"
#include "identity/session_store.hpp"
#include "identity/user_store.hpp"
#include "json/entity_tag.hpp"
#include "json/writer.hpp"
#include "pg/transact.hpp"

namespace cognive::identity {
namespace {

Error no_such_user() {
  return {Code::not_found, "There is no such user.", {}};
}

Error no_such_team() {
  return {Code::not_found, "There is no such team.", {}};
}

// Users belong to no team; keys of agents and of teams manage none.
std::optional<Error> not_of_the_organisation(const Principal& principal) {
  if (!principal.team_id && !principal.agent_id) return std::nullopt;
  return Error{Code::forbidden, "Only somebody who acts for the whole organisation manages users.", {}};
}

// Nobody gives what they do not hold, and nobody takes over somebody who holds more.
std::optional<Error> beyond(const Principal& principal, Role role) {
  // Which also holds what there will be in later versions.
  if (role == Role::admin && !principal.may(permission::everything))
    return Error{Code::forbidden, "Only an admin, or a key that holds everything, makes or changes an admin.", {}};
  for (const auto& grant : grants) {
    if (grant.holds(role) && !principal.may(grant.permission)) {
      return Error{Code::forbidden,
                   fmt::format("The role {} holds the permission {}, which you do not.", json::enum_text(role),
                               grant.permission),
                   {}};
    }
  }
  return std::nullopt;
}

std::optional<Error> agents_key(const Principal& principal) {
  if (!principal.agent_id) return std::nullopt;
  return Error{Code::forbidden, "This key belongs to one agent and knows no people.", {}};
}

void write_roles(json::Writer& out, const std::vector<HeldRole>& roles) {
  out.key("roles");
  out.begin_array();
  for (const auto& held : roles) {
    out.begin_object();
    out.field("role", json::enum_text(held.role));
    if (held.team) out.field("team", *held.team);
    out.end_object();
  }
  out.end_array();
}

audit::Entry entry(std::string_view action, const Uuid& id, std::optional<Uuid> team_id, json::Writer details) {
  return {.action = action,
          .resource_kind = "user",
          .resource_id = id.text(),
          .team_id = team_id,
          .details = std::move(details).text()};
}

// The roles that grants name, or what is wrong with them.
Async<Result<std::vector<HeldRole>>> resolve(pg::Transaction& transaction, const Principal& principal,
                                             const std::vector<RoleGrant>& wanted) {
  std::vector<HeldRole> out;
  std::vector<FieldError> faults;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const auto& grant = wanted[i];
    const auto fault = [&](std::string_view name, std::string message) {
      faults.push_back({fmt::format("/roles/{}/{}", i, name), std::move(message), ""});
    };
    if (auto error = beyond(principal, grant.role)) co_return fail(std::move(*error));
    HeldRole held{.role = grant.role};
    if (grant.team) {
      const auto team = co_await store::team_named(transaction, *grant.team);
      if (!team) fault("team", "There is no such team.");
      if (grant.role == Role::admin) fault("team", "An admin is one of the whole organisation.");
      if (team) held = {.role = grant.role, .team_id = team->team_id, .team = team->team};
    } else if (grant.role == Role::team_lead) {
      fault("team", "A team lead is one of a team.");
    }
    if (std::ranges::find(out, held.team_id, &HeldRole::team_id) != out.end() && (!grant.team || held.team_id))
      fault("role", "There is another role in the same place already.");
    out.push_back(std::move(held));
  }
  if (!faults.empty()) co_return unprocessable(std::move(faults));
  co_return out;
}

void check_email(const std::string& email, json::Faults& faults) {
  if (!faults.has_at("email") && !looks_like_mail_address(email))
    faults.add_at("email", "It is no e-mail address.", json::quoted(shortened(email, 64)));
}

}  // namespace

void UserCreate::check(json::Faults& faults) const {
  check_email(email, faults);
}

void MemberPut::check(json::Faults& faults) const {
  check_email(email, faults);
  if (!faults.has_at("role") && role == Role::admin)
    faults.add_at("role", "An admin is one of the whole organisation.", "\"admin\"");
}

Async<Result<User>> Users::create(const Call& call, UserCreate request) {
  if (auto error = not_of_the_organisation(call.principal)) co_return fail(std::move(*error));
  User user{.id = Uuid::make(), .email = lower(request.email), .name = std::move(request.name)};
  const auto password_hash = co_await passwords_.hash(std::move(request.password));
  if (!password_hash) co_return std::unexpected(password_hash.error());
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<User>> {
    auto roles = co_await resolve(transaction, call.principal, request.roles);
    if (!roles) co_return std::unexpected(std::move(roles.error()));
    if (!co_await store::user_insert(transaction, user, *password_hash))
      co_return fail(Code::conflict, "There is a user with this e-mail address already.");
    co_await store::roles_replace(transaction, user.id, *roles);
    json::Writer details;
    details.begin_object();
    write_roles(details, *roles);
    details.end_object();
    trail_.record(transaction, call, entry("user_create", user.id, {}, std::move(details)));
    co_return *co_await store::user_lock(transaction, user.id);
  };
  co_return co_await pg::transact(database_, "user_create", call, body);
}

Async<Result<User>> Users::update(const Call& call, Uuid id, UserUpdate change) {
  if (auto error = not_of_the_organisation(call.principal)) co_return fail(std::move(*error));
  std::optional<std::string> password_hash;
  if (change.password) {
    auto hashed = co_await passwords_.hash(std::move(*change.password));
    if (!hashed) co_return std::unexpected(std::move(hashed.error()));
    password_hash = std::move(*hashed);
  }
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<User>> {
    co_await store::lock_admins(transaction);
    auto user = co_await store::user_lock(transaction, id);
    if (!user) co_return fail(no_such_user());
    for (const auto& held : user->roles) {
      if (auto error = beyond(call.principal, held.role)) co_return fail(std::move(*error));
    }
    if (auto same = json::check_match(call.if_match, *user); !same) co_return std::unexpected(std::move(same.error()));
    const bool was_active_admin = user->status == UserStatus::active &&
                                  std::ranges::find(user->roles, Role::admin, &HeldRole::role) != user->roles.end();
    const bool is_renamed = change.name && *change.name != user->name;
    const bool has_other_status = change.status && *change.status != user->status;
    if (!is_renamed && !has_other_status && !password_hash && !change.roles) co_return std::move(*user);
    json::Writer details;
    details.begin_object();
    if (is_renamed) {
      details.field("name_before", user->name);
      user->name = *change.name;
      details.field("name", user->name);
    }
    if (has_other_status) {
      details.field("status_before", json::enum_text(user->status));
      user->status = *change.status;
    }
    details.field("status", json::enum_text(user->status));
    if (password_hash) details.field("password", "changed");
    co_await store::user_update(transaction, *user, password_hash);
    if (change.roles) {
      auto roles = co_await resolve(transaction, call.principal, *change.roles);
      if (!roles) co_return std::unexpected(std::move(roles.error()));
      co_await store::roles_replace(transaction, id, *roles);
      write_roles(details, *roles);
    }
    details.end_object();
    if (was_active_admin && !co_await store::has_active_admin(transaction))
      co_return fail(Code::conflict,
                     "Nobody would be left who manages the organisation: make somebody an admin first.");
    if (password_hash) co_await store::sessions_end(transaction, id, SessionEnd::password_changed);
    if (user->status == UserStatus::suspended) co_await store::sessions_end(transaction, id, SessionEnd::suspended);
    trail_.record(transaction, call, entry("user_update", id, {}, std::move(details)));
    co_return *co_await store::user_lock(transaction, id);
  };
  co_return co_await pg::transact(database_, "user_update", call, body);
}

Async<Result<User>> Users::get(const Call& call, Uuid id) {
  if (auto error = not_of_the_organisation(call.principal)) co_return fail(std::move(*error));
  auto user = co_await store::user_get(database_.read_preferred(call), id, call.deadline);
  if (!user) co_return fail(no_such_user());
  co_return std::move(*user);
}

Async<Result<json::Page<User>>> Users::list(const Call& call, UserList query) {
  if (auto error = not_of_the_organisation(call.principal)) co_return fail(std::move(*error));
  auto rows = co_await store::user_list(database_.read_preferred(call), query, call.deadline);
  co_return json::page_of(std::move(rows), query.limit,
                          [](const User& user) { return json::PagePosition{user.created_at, user.id}; });
}

Async<bool> Users::has_users(Deadline deadline) {
  co_return co_await store::has_users(database_.primary(), deadline);
}

Async<Result<Members>> Users::members(const Call& call, Uuid team_id) {
  if (auto error = agents_key(call.principal)) co_return fail(std::move(*error));
  auto found = co_await store::members(database_.read_preferred(call), team_id, call.principal.team_id, call.deadline);
  if (!found) co_return fail(no_such_team());
  co_return Members{std::move(*found)};
}

Async<Result<Member>> Users::member_put(const Call& call, Uuid team_id, MemberPut request) {
  if (auto error = agents_key(call.principal)) co_return fail(std::move(*error));
  if (auto error = beyond(call.principal, request.role)) co_return fail(std::move(*error));
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<Member>> {
    if (!co_await store::team_lock(transaction, team_id, call.principal.team_id)) co_return fail(no_such_team());
    auto found = co_await store::member_by_email(transaction, team_id, request.email);
    if (!found) {
      co_return unprocessable("/email", "There is nobody with this address: an admin has to create them first.",
                              json::quoted(shortened(request.email, 64)));
    }
    if (found->role != request.role) {
      if (auto error = found->role ? beyond(call.principal, *found->role) : std::nullopt)
        co_return fail(std::move(*error));
      co_await store::member_replace(transaction, team_id, found->member.user_id, request.role);
      json::Writer details;
      details.begin_object();
      details.field("role", json::enum_text(request.role));
      details.end_object();
      trail_.record(transaction, call, entry("member_put", found->member.user_id, team_id, std::move(details)));
      found->member.role = request.role;
    }
    co_return std::move(found->member);
  };
  co_return co_await pg::transact(database_, "member_put", call, body);
}

Async<Result<Member>> Users::member_remove(const Call& call, Uuid team_id, Uuid user_id) {
  if (auto error = agents_key(call.principal)) co_return fail(std::move(*error));
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<Member>> {
    if (!co_await store::team_lock(transaction, team_id, call.principal.team_id)) co_return fail(no_such_team());
    auto found = co_await store::member_by_id(transaction, team_id, user_id);
    if (!found || !found->role) co_return fail(Code::not_found, "There is no such member of this team.");
    if (auto error = beyond(call.principal, *found->role)) co_return fail(std::move(*error));
    co_await store::member_replace(transaction, team_id, user_id, std::nullopt);
    json::Writer details;
    details.begin_object();
    details.end_object();
    trail_.record(transaction, call, entry("member_remove", user_id, team_id, std::move(details)));
    co_return std::move(found->member);
  };
  co_return co_await pg::transact(database_, "member_remove", call, body);
}

}  // namespace cognive::identity
