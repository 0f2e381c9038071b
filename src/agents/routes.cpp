#include "agents/agents.hpp"
#include "http/router.hpp"
#include "identity/permissions.hpp"

namespace cognive::agents {
namespace {

struct AgentPath {
  Uuid id;
  static constexpr auto fields() { return json::fields(json::field("id", &AgentPath::id, "The agent's id.")); }
};

Async<Result<http::Reply<Agent>>> put(Agents& agents, const Call& call, AgentPut body) {
  auto answer = co_await agents.put(call, std::move(body));
  if (!answer) co_return std::unexpected(answer.error());
  co_return http::Reply<Agent>{.body = std::move(answer->agent), .status = answer->created ? 201 : 200};
}

}  // namespace

void add_routes(http::Router& router, Agents& agents) {
  namespace permission = identity::permission;
  constexpr std::string_view tag = "Agents";
  router.add(
      {.method = "POST",
       .path = "/api/v1/agents",
       .id = "agent_create",
       .tag = tag,
       .summary = "Register an agent",
       .description = "The name is unique in its team; PUT registers an agent or changes the one of that name.",
       .permission = permission::agents_write,
       .status = 201,
       .also = {409}},
      [&agents](const Call& call, http::NoInput, AgentPut body) { return agents.create(call, std::move(body)); });
  router.add(
      {.method = "PUT",
       .path = "/api/v1/agents",
       .id = "agent_put",
       .tag = tag,
       .summary = "Register an agent, or change the one of this name",
       .description =
           "Identified by team and name, so that it can be repeated. Attributes that are absent keep their value.",
       .permission = permission::agents_write,
       .also = {201, 409}},
      [&agents](const Call& call, http::NoInput, AgentPut body) { return put(agents, call, std::move(body)); });
  router.add(
      {.method = "GET",
       .path = "/api/v1/agents",
       .id = "agent_list",
       .tag = tag,
       .summary = "List agents",
       .description = "The newest first.",
       .permission = permission::agents_read},
      [&agents](const Call& call, AgentList query, http::NoInput) { return agents.list(call, std::move(query)); });
  router.add({.method = "GET",
              .path = "/api/v1/agents/{id}",
              .id = "agent_get",
              .tag = tag,
              .summary = "Get one agent",
              .description = "Its configuration and policy: what it may use, and what becomes of a violation.",
              .permission = permission::agents_read},
             [&agents](const Call& call, AgentPath path, http::NoInput) { return agents.get(call, path.id); });
  router.add({.method = "PATCH",
              .path = "/api/v1/agents/{id}",
              .id = "agent_update",
              .tag = tag,
              .summary = "Change attributes of an agent",
              .description = "Attributes that are absent keep their value.",
              .permission = permission::agents_write,
              .also = {409},
              .heeds_if_match = true},
             [&agents](const Call& call, AgentPath path, AgentChange body) {
               return agents.update(call, path.id, std::move(body));
             });
  router.add({.method = "POST",
              .path = "/api/v1/agents/{id}/check",
              .id = "agent_check",
              .tag = tag,
              .summary = "Ask whether an agent may use a model, tool or data source",
              .description = "Answers for all that is named, with a reason for each refusal. Records nothing.",
              .permission = permission::agents_read},
             [&agents](const Call& call, AgentPath path, PolicyQuestion body) {
               return agents.check(call, path.id, std::move(body));
             });
  router.add({.method = "POST",
              .path = "/api/v1/agents/{id}/archive",
              .id = "agent_archive",
              .tag = tag,
              .summary = "Archive an agent",
              .description = "It keeps its history, starts no more runs, and cannot be changed any more.",
              .permission = permission::agents_write},
             [&agents](const Call& call, AgentPath path, http::NoInput) { return agents.archive(call, path.id); });
}

}  // namespace cognive::agents
