#include "audit/entries.hpp"

namespace cognive::audit {
namespace {

constexpr pg::Query list_query{
    "audit_list",
    "SELECT id, sequence, occurred_at, actor_kind, actor_id, action, resource_kind, resource_id, team_id, request_id, "
    "details FROM audit_logs WHERE ($1::uuid IS NULL OR team_id = $1) AND ($2::uuid IS NULL OR actor_id = $2) "
    "AND ($3::text IS NULL OR action = $3) AND ($4::text IS NULL OR resource_kind = $4) "
    "AND ($5::text IS NULL OR resource_id = $5) AND ($6::uuid IS NULL OR team_id = $6) "
    "AND ($7::timestamptz IS NULL OR occurred_at >= $7) AND ($8::timestamptz IS NULL OR occurred_at < $8) "
    "AND ($9::timestamptz IS NULL OR (occurred_at, id) < ($9, $10)) ORDER BY occurred_at DESC, id DESC LIMIT $11"};

}  // namespace

Async<Result<json::Page<AuditEntry>>> Entries::list(const Call& call, AuditQuery query) {
  if (call.principal.agent_id)
    co_return fail(Code::forbidden, "This key belongs to one agent and cannot read the audit trail.");
  auto params = pg::Params::of(call.principal.team_id, query.actor_id, query.action, query.resource_kind,
                               query.resource_id, query.team_id, query.from, query.to, query.cursor, query.limit + 1);
  const auto rows = co_await database_.read_preferred(call).execute_apart(list_query, std::move(params), call.deadline);
  std::vector<AuditEntry> items(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& one = items[static_cast<std::size_t>(i)];
    rows[i].read(one.id, one.sequence, one.occurred_at, one.actor_kind, one.actor_id, one.action, one.resource_kind,
                 one.resource_id, one.team_id, one.request_id, one.details.text);
  }
  co_return json::page_of(std::move(items), query.limit,
                          [](const AuditEntry& entry) { return json::PagePosition{entry.occurred_at, entry.id}; });
}

void add_routes(http::Router& router, Entries& entries, std::string_view permission) {
  router.add(
      {.method = "GET",
       .path = "/api/v1/audit-entries",
       .id = "audit_entry_list",
       .tag = "Audit",
       .summary = "List the audit trail",
       .description = "Who changed what, the newest first. `cognive audit verify` proves that nothing in it has "
                      "been changed, added, left out or reordered since.",
       .permission = permission,
       .also = {403}},
      [&entries](const Call& call, AuditQuery query, http::NoInput) { return entries.list(call, std::move(query)); });
}

}  // namespace cognive::audit
