#include "celery/tables.hpp"

namespace cognive::celery {

std::vector<schema::Table> tables() {
  return {{.name = "task_arrivals",
           .comment = "Tasks that came from RabbitMQ, so that none of them is run again when it is delivered again",
           .columns = {{.name = "id", .type = "uuid"},
                       {.name = "retries", .type = "bigint", .comment = "As its sender counts them"},
                       {.name = "arrived_at", .type = "timestamptz", .default_value = "now()"}},
           .primary_key = {"id", "retries"},
           .indexes = {{.columns = {"arrived_at"}, .method = "brin"}}},
          {.name = "sent_tasks",
           .comment = "Tasks for workers of Celery that were asked for, until they are forgotten",
           .columns = {{.name = "id", .type = "uuid"},
                       {.name = "name", .type = "text"},
                       {.name = "queue", .type = "text", .comment = "Of RabbitMQ"},
                       {.name = "request_digest", .type = "bytea", .comment = "SHA-256 of all that was asked"},
                       {.name = "message",
                        .type = "jsonb",
                        .nullable = true,
                        .comment = "As it is to be sent; NULL: it never will be again"},
                       {.name = "message_bytes", .type = "bigint"},
                       {.name = "created_at", .type = "timestamptz", .default_value = "now()"},
                       {.name = "due_at",
                        .type = "timestamptz",
                        .nullable = true,
                        .comment = "Not sent before; whoever is sending it has put it off"},
                       {.name = "expires_at", .type = "timestamptz", .nullable = true, .comment = "Not sent after"},
                       {.name = "attempts", .type = "bigint", .default_value = "0", .comment = "To send it"},
                       {.name = "last_error", .type = "text", .nullable = true},
                       {.name = "no_queue_since", .type = "timestamptz", .nullable = true},
                       {.name = "sent_at", .type = "timestamptz", .nullable = true, .comment = "RabbitMQ has it"},
                       {.name = "given_up_at", .type = "timestamptz", .nullable = true},
                       {.name = "revoked_at", .type = "timestamptz", .nullable = true}},
           .primary_key = {"id"},
           .indexes = {{.columns = {"created_at", "id"}},
                       {.columns = {"due_at"},
                        .where = "sent_at IS NULL AND given_up_at IS NULL AND revoked_at IS NULL",
                        .label = "waiting"},
                       {.columns = {"expires_at"},
                        .where = "expires_at IS NOT NULL AND sent_at IS NULL AND given_up_at IS NULL AND revoked_at IS "
                                 "NULL",
                        .label = "expires_at"}}}};
}

}  // namespace cognive::celery
