#include "http/router.hpp"
#include "identity/permissions.hpp"
#include "teams/teams.hpp"

namespace cognive::teams {
namespace {

struct TeamPath {
  Uuid id;
  static constexpr auto fields() { return json::fields(json::field("id", &TeamPath::id, "The team's id.")); }
};

}  // namespace

void add_routes(http::Router& router, Teams& teams) {
  namespace permission = identity::permission;
  router.add(
      {.method = "POST",
       .path = "/api/v1/teams",
       .id = "team_create",
       .tag = "Teams",
       .summary = "Create a team",
       .description = "Teams own agents, budgets and keys. Teams are flat: none is part of another.",
       .permission = permission::teams_write,
       .status = 201,
       .also = {409}},
      [&teams](const Call& call, http::NoInput, TeamCreate body) { return teams.create(call, std::move(body)); });
  router.add(
      {.method = "PATCH",
       .path = "/api/v1/teams/{id}",
       .id = "team_update",
       .tag = "Teams",
       .summary = "Rename a team",
       .description = "Only with a key or a role of the whole organisation. The team named default keeps its name.",
       .permission = permission::teams_write,
       .also = {409},
       .heeds_if_match = true},
      [&teams](const Call& call, TeamPath path, TeamChange body) {
        return teams.update(call, path.id, std::move(body));
      });
  router.add({.method = "GET",
              .path = "/api/v1/teams",
              .id = "team_list",
              .tag = "Teams",
              .summary = "List teams",
              .description = "Those that the caller sees: all of the organisation, or its own.",
              .permission = permission::teams_read},
             [&teams](const Call& call, TeamList query, http::NoInput) { return teams.list(call, std::move(query)); });
  router.add({.method = "GET",
              .path = "/api/v1/teams/{id}",
              .id = "team_get",
              .tag = "Teams",
              .summary = "Get one team",
              .description = "By its id.",
              .permission = permission::teams_read},
             [&teams](const Call& call, TeamPath path, http::NoInput) { return teams.get(call, path.id); });
}

}  // namespace cognive::teams
