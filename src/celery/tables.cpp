#include "celery/tables.hpp"

namespace cognive::celery {

std::vector<schema::Table> tables() {
  return {{.name = "task_arrivals",
           .comment = "Tasks that came from RabbitMQ, so that none of them is run again when it is delivered again",
           .columns = {{.name = "id", .type = "uuid"},
                       {.name = "retries", .type = "bigint", .comment = "As its sender counts them"},
                       {.name = "arrived_at", .type = "timestamptz", .default_value = "now()"}},
           .primary_key = {"id", "retries"},
           .indexes = {{.columns = {"arrived_at"}, .method = "brin"}}}};
}

}  // namespace cognive::celery
