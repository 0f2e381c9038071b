#include "idempotency/tables.hpp"

namespace cognive::idempotency {

std::vector<schema::Table> tables() {
  return {{.name = "idempotency_keys",
           .comment = "Requests with an Idempotency-Key, kept for a day for their repeats",
           .columns = {{.name = "principal_id", .type = "uuid", .comment = "Whose request it was"},
                       {.name = "key", .type = "text"},
                       {.name = "request", .type = "bytea", .comment = "SHA-256 of what was asked"},
                       {.name = "made_id", .type = "uuid", .comment = "Of what the request makes"},
                       {.name = "attempt", .type = "uuid", .comment = "Whoever answers it"},
                       {.name = "claimed_at", .type = "timestamptz", .default_value = "now()"},
                       {.name = "has_changed",
                        .type = "boolean",
                        .default_value = "false",
                        .comment = "Set by the transaction in which the request took effect"},
                       {.name = "answer",
                        .type = "bytea",
                        .nullable = true,
                        .comment = "Encrypted; NULL: it has not been answered"},
                       {.name = "created_at", .type = "timestamptz", .default_value = "now()"}},
           .primary_key = {"principal_id", "key"},
           .checks = {{.label = "key", .expression = "length(key) BETWEEN 1 AND 255"}},
           .indexes = {{.columns = {"created_at"}, .label = "created_at"}}}};
}

}  // namespace cognive::idempotency
