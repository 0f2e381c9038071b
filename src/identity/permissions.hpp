// Every permission of the product, `resource:verb`, and what each role holds. Routes declare one; keys and roles hold
// some. docs/identity.md shows the same table.
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

#include "json/fields.hpp"

namespace cognive::identity {

namespace permission {

inline constexpr std::string_view teams_read = "teams:read";
inline constexpr std::string_view teams_write = "teams:write";
inline constexpr std::string_view members_read = "members:read";
inline constexpr std::string_view members_write = "members:write";
inline constexpr std::string_view users_read = "users:read";
inline constexpr std::string_view users_write = "users:write";
inline constexpr std::string_view keys_read = "keys:read";
inline constexpr std::string_view keys_write = "keys:write";
inline constexpr std::string_view agents_read = "agents:read";
inline constexpr std::string_view agents_write = "agents:write";
inline constexpr std::string_view runs_read = "runs:read";
inline constexpr std::string_view runs_write = "runs:write";
inline constexpr std::string_view events_write = "events:write";
inline constexpr std::string_view prices_read = "prices:read";
inline constexpr std::string_view prices_write = "prices:write";
inline constexpr std::string_view analytics_read = "analytics:read";
inline constexpr std::string_view budgets_read = "budgets:read";
inline constexpr std::string_view budgets_write = "budgets:write";
inline constexpr std::string_view budgets_reserve = "budgets:reserve";
inline constexpr std::string_view audit_read = "audit:read";
inline constexpr std::string_view artifacts_read = "artifacts:read";
inline constexpr std::string_view artifacts_write = "artifacts:write";
inline constexpr std::string_view tasks_read = "tasks:read";
inline constexpr std::string_view tasks_write = "tasks:write";

// What a key may hold in place of every single one.
inline constexpr std::string_view everything = "*";

}  // namespace permission

// What a person may be: in the whole organisation or in one team. admin only the first, team_lead only the second.
enum class Role { admin, team_lead, developer, viewer };

constexpr auto enum_names(Role) {
  return std::array{json::name(Role::admin, "admin"), json::name(Role::team_lead, "team_lead"),
                    json::name(Role::developer, "developer"), json::name(Role::viewer, "viewer")};
}

struct Grant {
  std::string_view permission;
  bool team_lead = false;
  bool developer = false;
  bool viewer = false;

  [[nodiscard]] constexpr bool holds(Role role) const {
    switch (role) {
      case Role::admin:
        return true;
      case Role::team_lead:
        return team_lead;
      case Role::developer:
        return developer;
      case Role::viewer:
        return viewer;
    }
    return false;
  }
};

namespace detail {
inline constexpr bool yes = true;
inline constexpr bool no = false;
}  // namespace detail

// Whoever has no tick is refused. Admins hold everything.
inline constexpr std::array grants{
    // permission, team_lead, developer, viewer
    Grant{permission::teams_read, detail::yes, detail::yes, detail::yes},
    Grant{permission::teams_write, detail::no, detail::no, detail::no},
    Grant{permission::members_read, detail::yes, detail::yes, detail::yes},
    Grant{permission::members_write, detail::yes, detail::no, detail::no},
    Grant{permission::users_read, detail::no, detail::no, detail::no},
    Grant{permission::users_write, detail::no, detail::no, detail::no},
    Grant{permission::keys_read, detail::yes, detail::no, detail::no},
    Grant{permission::keys_write, detail::yes, detail::no, detail::no},
    Grant{permission::agents_read, detail::yes, detail::yes, detail::yes},
    Grant{permission::agents_write, detail::yes, detail::yes, detail::no},
    Grant{permission::runs_read, detail::yes, detail::yes, detail::yes},
    Grant{permission::runs_write, detail::yes, detail::yes, detail::no},
    Grant{permission::events_write, detail::yes, detail::yes, detail::no},
    Grant{permission::prices_read, detail::yes, detail::yes, detail::yes},
    Grant{permission::prices_write, detail::yes, detail::no, detail::no},
    Grant{permission::analytics_read, detail::yes, detail::yes, detail::yes},
    Grant{permission::budgets_read, detail::yes, detail::yes, detail::yes},
    Grant{permission::budgets_write, detail::yes, detail::no, detail::no},
    Grant{permission::budgets_reserve, detail::yes, detail::yes, detail::no},
    Grant{permission::audit_read, detail::yes, detail::no, detail::no},
    Grant{permission::artifacts_read, detail::yes, detail::yes, detail::yes},
    Grant{permission::artifacts_write, detail::yes, detail::yes, detail::no},
    Grant{permission::tasks_read, detail::no, detail::no, detail::no},
    Grant{permission::tasks_write, detail::no, detail::no, detail::no},
};

constexpr bool is_permission(std::string_view text) {
  return std::ranges::any_of(grants, [&](const Grant& grant) { return grant.permission == text; });
}

}  // namespace cognive::identity
