#include "audit/audit.hpp"

namespace cognive::audit {
namespace {

constexpr pg::Query insert_query{"audit_insert",
                                 "INSERT INTO audit_logs (id, actor_kind, actor_id, action, resource_kind, "
                                 "resource_id, team_id, request_id, details) "
                                 "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"};

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

}  // namespace

Async<> record(pg::Transaction& transaction, const Call& call, Entry entry) {
  const auto& principal = call.principal;
  const auto actor = principal.id.is_nil() ? std::nullopt : std::optional(principal.id);
  co_await transaction.execute(
      insert_query, pg::Params::of(Uuid::make(), actor_kind(principal.kind), actor, entry.action, entry.resource_kind,
                                   entry.resource_id, entry.team_id, call.request_id, pg::Json{entry.details}));
}

}  // namespace cognive::audit
