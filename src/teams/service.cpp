#include "audit/audit.hpp"
#include "pg/transact.hpp"
#include "teams/store.hpp"
#include "teams/teams.hpp"

namespace cognive::teams {

Async<Result<Team>> Teams::create(const Call& call, TeamCreate request) {
  if (call.principal.team_id) co_return fail(Code::forbidden, "Only an organisation-wide key can create teams.");
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<Team>> {
    const auto team = co_await store::insert(transaction, Uuid::make(), request.name);
    if (!team) co_return fail(Code::conflict, "There is a team with this name already.");
    audit::Entry entry{
        .action = "team_create", .resource_kind = "team", .resource_id = team->id.text(), .team_id = team->id};
    co_await audit::record(transaction, call, std::move(entry));
    co_return *team;
  };
  co_return co_await pg::transact(database_, "team_create", call, body);
}

Async<Result<Team>> Teams::get(const Call& call, Uuid id) {
  const auto team = co_await store::get(database_.read_preferred(call), id, call.principal.team_id, call.deadline);
  if (!team) co_return fail(Code::not_found, "There is no such team.");
  co_return *team;
}

Async<Result<json::Page<Team>>> Teams::list(const Call& call, TeamList query) {
  auto rows = co_await store::list(database_.read_preferred(call), call.principal.team_id, query.cursor,
                                   query.limit + 1, call.deadline);
  co_return json::page_of(std::move(rows), query.limit,
                          [](const Team& team) { return json::PagePosition{team.created_at, team.id}; });
}

Async<std::optional<Uuid>> find_by_name(pg::Cluster& database, const std::string& name, const Call& call) {
  co_return co_await store::find_by_name(database.primary(), name, call.principal.team_id, call.deadline);
}

}  // namespace cognive::teams
