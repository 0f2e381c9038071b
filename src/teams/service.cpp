#include "audit/audit.hpp"
#include "base/text.hpp"
#include "json/entity_tag.hpp"
#include "pg/transact.hpp"
#include "teams/store.hpp"
#include "teams/teams.hpp"

namespace cognive::teams {

namespace {

void check_name(const std::string& name, json::Faults& faults) {
  if (faults.has_at("name")) return;
  if (trim(name) != name)
    faults.add_at("name", "It must not begin or end with a blank.", json::quoted(shortened(name, 64)));
}

Error name_taken() {
  return {Code::conflict, "There is a team with this name already.", {}};
}

}  // namespace

void TeamCreate::check(json::Faults& faults) const {
  check_name(name, faults);
}

void TeamChange::check(json::Faults& faults) const {
  check_name(name, faults);
}

Async<Result<Team>> Teams::create(const Call& call, TeamCreate request) {
  if (call.principal.team_id) co_return fail(Code::forbidden, "Only an organisation-wide key can create teams.");
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<Team>> {
    const auto team = co_await store::insert(transaction, Uuid::make(), request.name);
    if (!team) co_return fail(name_taken());
    audit::Entry entry{
        .action = "team_create", .resource_kind = "team", .resource_id = team->id.text(), .team_id = team->id};
    trail_.record(transaction, call, std::move(entry));
    co_return *team;
  };
  co_return co_await pg::transact(database_, "team_create", call, body);
}

Async<Result<Team>> Teams::update(const Call& call, Uuid id, TeamChange change) {
  if (call.principal.team_id) co_return fail(Code::forbidden, "Only an organisation-wide key can rename teams.");
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<Team>> {
    auto team = co_await store::lock(transaction, id);
    if (!team) co_return fail(Code::not_found, "There is no such team.");
    if (auto same = json::check_match(call.if_match, *team); !same) co_return std::unexpected(std::move(same.error()));
    if (team->name == change.name) co_return std::move(*team);
    if (team->name == default_team)
      co_return fail(Code::conflict, "The team default keeps its name: it is meant wherever none is named.");
    if (!co_await store::rename(transaction, id, change.name)) co_return fail(name_taken());
    json::Writer details;
    details.begin_object();
    details.field("name", change.name);
    details.field("name_before", team->name);
    details.end_object();
    audit::Entry entry{.action = "team_update",
                       .resource_kind = "team",
                       .resource_id = id.text(),
                       .team_id = id,
                       .details = std::move(details).text()};
    trail_.record(transaction, call, std::move(entry));
    team->name = change.name;
    co_return std::move(*team);
  };
  co_return co_await pg::transact(database_, "team_update", call, body);
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
