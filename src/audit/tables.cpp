#include "audit/tables.hpp"

namespace cognive::audit {

std::vector<schema::Table> tables() {
  return {
      {.name = "audit_logs",
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
                   {.name = "details", .type = "json", .default_value = "'{}'"},
                   {.name = "sequence",
                    .type = "bigint",
                    .nullable = true,
                    .comment = "In the chain: 1, 2, 3, … without a gap; NULL: recorded before there was one"},
                   {.name = "seal",
                    .type = "bytea",
                    .nullable = true,
                    .comment = "HMAC-SHA-256 over the seal of the entry before and all that this one says"}},
       .primary_key = {"id"},
       .uniques = {{.columns = {"sequence"}}},
       .checks = {{.label = "actor_kind", .expression = "actor_kind IN ('user', 'api_key', 'operator', 'anonymous')"},
                  {.label = "seal",
                   .expression = "(sequence IS NULL) = (seal IS NULL) AND coalesce(length(seal), 32) = 32 AND "
                                 "coalesce(sequence, 1) > 0"}},
       .indexes = {{.columns = {"occurred_at", "id"}, .label = "occurred_at"},
                   {.columns = {"team_id", "occurred_at", "id"}, .where = "team_id IS NOT NULL", .label = "team"},
                   {.columns = {"actor_id", "occurred_at", "id"}, .where = "actor_id IS NOT NULL", .label = "actor"},
                   {.columns = {"resource_id", "occurred_at", "id"}, .label = "resource"}}},
      {.name = "audit_chain",
       .comment = "One row: where the audit trail goes on",
       .columns = {{.name = "is_only", .type = "boolean", .default_value = "true"},
                   {.name = "sequence", .type = "bigint", .comment = "Of the last entry"},
                   {.name = "seal",
                    .type = "bytea",
                    .comment = "Of the last entry; before the first a digest of what was recorded before there was "
                               "a chain"},
                   {.name = "key_id",
                    .type = "bytea",
                    .nullable = true,
                    .comment = "Of the key that seals; NULL: nothing has been sealed yet"}},
       .primary_key = {"is_only"},
       .checks = {{.label = "is_only", .expression = "is_only"},
                  {.label = "seal", .expression = "length(seal) = 32"}}}};
}

}  // namespace cognive::audit
