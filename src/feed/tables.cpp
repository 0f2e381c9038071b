#include "feed/tables.hpp"

namespace cognive::feed {

std::vector<schema::Table> tables() {
  return {{.name = "feed_messages",
           .comment = "What has happened and is to be published, written in the transaction in which it did",
           .columns = {{.name = "sequence",
                        .type = "bigint",
                        .identity = schema::IdentityKind::always,
                        .comment = "Not in the order of commits"},
                       {.name = "transaction_id", .type = "xid8", .default_value = "pg_current_xact_id()"},
                       {.name = "created_at", .type = "timestamptz", .default_value = "now()"},
                       {.name = "kind", .type = "text", .comment = "step, call, tool, run, alert or exhausted"},
                       {.name = "run_ids", .type = "uuid[]", .nullable = true, .comment = "Of events, one for each"},
                       {.name = "ids", .type = "uuid[]", .nullable = true, .comment = "Of events, or of the alert"},
                       {.name = "payload", .type = "jsonb", .nullable = true, .comment = "What the message says"}},
           .primary_key = {"sequence"}},
          {.name = "feed_switch",
           .comment = "One row at most: whether what happens leaves a message",
           .columns = {{.name = "is_only", .type = "boolean", .default_value = "true"},
                       {.name = "is_on", .type = "boolean"}},
           .primary_key = {"is_only"},
           .checks = {{.label = "is_only", .expression = "is_only"}}}};
}

}  // namespace cognive::feed
