#include "audit/audit.hpp"

namespace cognive::audit {
namespace {

constexpr pg::Query insert_query{"audit_insert",
                                 "INSERT INTO audit_logs (id, actor_kind, actor_id, action, resource_kind, "
                                 "resource_id, team_id, request_id, details) "
                                 "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"};

constexpr pg::Query insert_all_query{
    "audit_insert_all",
    "INSERT INTO audit_logs (id, actor_kind, actor_id, action, resource_kind, "
    "resource_id, team_id, request_id, details) "
    "SELECT e.id, $1::text, $2::uuid, e.action, e.resource_kind, e.resource_id, e.team_id, $3::text, "
    "e.details FROM unnest($4::uuid[], $5::text[], $6::text[], $7::text[], "
    "$8::uuid[], $9::jsonb[]) AS e (id, action, resource_kind, resource_id, team_id, "
    "details)"};

std::string_view actor_kind(Principal::Kind kind) {
  switch (kind) {
    case Principal::Kind::api_key:
      return "api_key";
    case Principal::Kind::user:
      return "user";
    case Principal::Kind::operator_:
      return "operator";
  }
  return "";
}

std::optional<Uuid> actor_of(const Principal& principal) {
  return principal.id.is_nil() ? std::nullopt : std::optional(principal.id);
}

}  // namespace

Async<> record(pg::Transaction& transaction, const Call& call, Entry entry) {
  const auto& principal = call.principal;
  co_await transaction.execute(
      insert_query,
      pg::Params::of(Uuid::make(), actor_kind(principal.kind), actor_of(principal), entry.action, entry.resource_kind,
                     entry.resource_id, entry.team_id, call.request_id, pg::Json{entry.details}));
}

Async<> record(pg::Transaction& transaction, const Call& call, const std::vector<Entry>& entries) {
  using Type = pg::ArrayBuilder::Type;
  if (entries.empty()) co_return;
  pg::ArrayBuilder ids(Type::uuid);
  pg::ArrayBuilder actions(Type::text);
  pg::ArrayBuilder kinds(Type::text);
  pg::ArrayBuilder resources(Type::text);
  pg::ArrayBuilder teams(Type::uuid);
  pg::ArrayBuilder details(Type::jsonb);
  for (const auto& entry : entries) {
    ids.add(Uuid::make());
    actions.add(entry.action);
    kinds.add(entry.resource_kind);
    resources.add(std::string_view(entry.resource_id));
    teams.add(entry.team_id);
    details.add(pg::Json{entry.details});
  }
  auto params = pg::Params::of(actor_kind(call.principal.kind), actor_of(call.principal), call.request_id);
  for (auto* column : {&ids, &actions, &kinds, &resources, &teams, &details}) std::move(*column).move_into(params);
  co_await transaction.execute(insert_all_query, std::move(params));
}

}  // namespace cognive::audit
