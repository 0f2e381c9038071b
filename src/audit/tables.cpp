#include "audit/tables.hpp"

namespace cognive::audit {

std::vector<schema::Table> tables() {
  return {{.name = "audit_logs",
           .comment = "Every change to configuration, identity and prices, written in the transaction of the change",
           .columns = {{.name = "id", .type = "uuid"},
                       {.name = "occurred_at", .type = "timestamptz", .default_value = "clock_timestamp()"},
                       {.name = "actor_kind", .type = "text"},
                       {.name = "actor_id", .type = "uuid", .nullable = true},
                       {.name = "action", .type = "text"},
                       {.name = "resource_kind", .type = "text"},
                       {.name = "resource_id", .type = "text"},
                       {.name = "team_id", .type = "uuid", .nullable = true},
                       {.name = "request_id", .type = "text", .nullable = true},
                       {.name = "details", .type = "jsonb", .default_value = "'{}'"}},
           .primary_key = {"id"},
           .checks = {{.label = "actor_kind", .expression = "actor_kind IN ('user', 'api_key', 'operator')"}},
           .indexes = {{.columns = {"occurred_at", "id"}, .label = "occurred_at"}}}};
}

}  // namespace cognive::audit
