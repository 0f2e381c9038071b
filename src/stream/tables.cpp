#include "stream/tables.hpp"

namespace cognive::stream {

std::vector<schema::Table> tables() {
  return {{.name = "stream_events",
           .comment = "What has happened lately, for whoever listens; kept for an hour",
           .columns = {{.name = "sequence", .type = "bigint", .identity = schema::IdentityKind::always},
                       {.name = "transaction_id", .type = "xid8", .default_value = "pg_current_xact_id()"},
                       {.name = "created_at", .type = "timestamptz", .default_value = "now()"},
                       {.name = "type", .type = "text", .comment = "run.succeeded, budget.alerted"},
                       {.name = "team_id", .type = "uuid", .nullable = true, .comment = "NULL: of the organisation"},
                       {.name = "agent_id", .type = "uuid", .nullable = true},
                       {.name = "payload", .type = "json"}},
           .primary_key = {"transaction_id", "sequence"},
           .indexes = {{.columns = {"created_at"}, .method = "brin", .label = "created_at"}}},
          {.name = "stream_switch",
           .comment = "One row at most: until when what happens leaves a row, since somebody listens",
           .columns = {{.name = "is_only", .type = "boolean", .default_value = "true"},
                       {.name = "is_on_until", .type = "timestamptz"},
                       {.name = "oldest",
                        .type = "xid8",
                        .nullable = true,
                        .comment = "Of transactions before this one rows may be missing"}},
           .primary_key = {"is_only"},
           .checks = {{.label = "is_only", .expression = "is_only"}}}};
}

}  // namespace cognive::stream
