// Reading the audit trail.
#pragma once

#include <array>

#include "http/router.hpp"
#include "json/page.hpp"
#include "pg/cluster.hpp"

namespace cognive::audit {

enum class ActorKind { user, api_key, operator_, anonymous };

constexpr auto enum_names(ActorKind) {
  return std::array{json::name(ActorKind::user, "user"), json::name(ActorKind::api_key, "api_key"),
                    json::name(ActorKind::operator_, "operator"), json::name(ActorKind::anonymous, "anonymous")};
}

struct AuditEntry {
  Uuid id;
  std::optional<std::int64_t> sequence;
  Timestamp occurred_at;
  ActorKind actor_kind = ActorKind::operator_;
  std::optional<Uuid> actor_id;
  std::string action;
  std::string resource_kind;
  std::string resource_id;
  std::optional<Uuid> team_id;
  std::optional<std::string> request_id;
  json::Object details;

  static constexpr std::string_view schema_name = "AuditEntry";
  static constexpr auto fields() {
    return json::fields(
        json::field("id", &AuditEntry::id, ""),
        json::field("sequence", &AuditEntry::sequence,
                    "Its place in the chain, without a gap; null: recorded before there was one."),
        json::field("occurred_at", &AuditEntry::occurred_at, ""),
        json::field(
            "actor_kind", &AuditEntry::actor_kind,
            "operator: somebody at the command line, or Cognive by itself; anonymous: somebody who did not say who."),
        json::field("actor_id", &AuditEntry::actor_id, "The key or user; null: an operator."),
        json::field("action", &AuditEntry::action, "What was done.", {.example = "\"agent_update\""}),
        json::field("resource_kind", &AuditEntry::resource_kind, "To what.", {.example = "\"agent\""}),
        json::field("resource_id", &AuditEntry::resource_id, ""),
        json::field("team_id", &AuditEntry::team_id, "Whose it is; null: the organisation's."),
        json::field("request_id", &AuditEntry::request_id, "X-Request-ID of the request that did it."),
        json::field("details", &AuditEntry::details, "What has changed."));
  }
};

struct AuditQuery {
  std::optional<Uuid> actor_id;
  std::optional<std::string> action;
  std::optional<std::string> resource_kind;
  std::optional<std::string> resource_id;
  std::optional<Uuid> team_id;
  std::optional<Timestamp> from;
  std::optional<Timestamp> to;
  std::int64_t limit = 50;
  std::optional<json::PagePosition> cursor;

  static constexpr auto fields() {
    constexpr json::Rules text{.min_length = 1, .max_length = 256};
    return json::fields(json::field("actor_id", &AuditQuery::actor_id, "Only by this key or user."),
                        json::field("action", &AuditQuery::action, "Only this, for instance budget_update.", text),
                        json::field("resource_kind", &AuditQuery::resource_kind, "Only of this kind.", text),
                        json::field("resource_id", &AuditQuery::resource_id, "Only of this agent, budget, ….", text),
                        json::field("team_id", &AuditQuery::team_id, "Only of this team."),
                        json::field("from", &AuditQuery::from, "Not before."),
                        json::field("to", &AuditQuery::to, "Before."),
                        json::field("limit", &AuditQuery::limit, "Items per page.", json::page_limit_rules),
                        json::field("cursor", &AuditQuery::cursor, "next_cursor of the page before."));
  }
};

class Entries {
 public:
  explicit Entries(pg::Cluster& database) : database_(database) {}

  // The newest first. A team sees what was done to what is its own; Code::forbidden for the key of an agent.
  Async<Result<json::Page<AuditEntry>>> list(const Call& call, AuditQuery query);

 private:
  pg::Cluster& database_;
};

// `permission`: of whoever may read; names of permissions are of identity, which is built on this.
void add_routes(http::Router& router, Entries& entries, std::string_view permission);

}  // namespace cognive::audit
