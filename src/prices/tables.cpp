#include "prices/tables.hpp"

namespace cognive::prices {

std::vector<schema::Table> tables() {
  return {
      {.name = "llm_catalogue_imports",
       .comment = "Every import that changed something; its newest row tells other nodes to read the catalogue again",
       // clock_timestamp, not now: imports wait for each other after their transactions have begun, and the last one
       // must be the newest.
       .columns = {{.name = "id", .type = "uuid"},
                   {.name = "source", .type = "text"},
                   {.name = "retrieved", .type = "date", .nullable = true},
                   {.name = "models_added", .type = "bigint"},
                   {.name = "versions_added", .type = "bigint"},
                   {.name = "refused", .type = "bigint"},
                   {.name = "imported_at", .type = "timestamptz", .default_value = "clock_timestamp()"}},
       .primary_key = {"id"}},
      {.name = "llm_providers",
       .columns = {{.name = "id", .type = "text"},
                   {.name = "position",
                    .type = "integer",
                    .comment = "Order of matching: the first provider that matches wins"},
                   {.name = "name", .type = "text"},
                   {.name = "provider_match", .type = "jsonb", .nullable = true},
                   {.name = "model_match", .type = "jsonb", .nullable = true},
                   {.name = "fallback_providers", .type = "text[]", .default_value = "'{}'"}},
       .primary_key = {"id"}},
      {.name = "llm_models",
       .columns = {{.name = "provider_id", .type = "text"},
                   {.name = "id", .type = "text"},
                   {.name = "position", .type = "integer"},
                   {.name = "name", .type = "text", .nullable = true},
                   {.name = "match", .type = "jsonb"},
                   {.name = "context_window", .type = "bigint", .nullable = true},
                   {.name = "deprecated", .type = "boolean", .default_value = "false"}},
       .primary_key = {"provider_id", "id"},
       .foreign_keys = {{.columns = {"provider_id"}, .table = "llm_providers", .on_delete = schema::Action::cascade}}},
      {.name = "llm_pricing",
       .comment = "Price versions: a rate card holds from effective_from until the next one of its model; rows are "
                  "never changed",
       .columns = {{.name = "id", .type = "uuid"},
                   {.name = "provider", .type = "text"},
                   {.name = "model", .type = "text"},
                   {.name = "version", .type = "bigint"},
                   {.name = "effective_from", .type = "timestamptz"},
                   {.name = "rates",
                    .type = "jsonb",
                    .comment =
                        "USD per unit of the rate's own size, for instance input_mtok: per million input tokens"},
                   {.name = "windows",
                    .type = "jsonb",
                    .default_value = "'[]'",
                    .comment = "Daily windows (UTC) with rates of their own, the first that holds wins"},
                   {.name = "source", .type = "text"},
                   {.name = "retrieved", .type = "date", .nullable = true},
                   {.name = "created_at", .type = "timestamptz", .default_value = "now()"}},
       .primary_key = {"id"},
       .uniques = {{.columns = {"provider", "model", "version"}}}}};
}

}  // namespace cognive::prices
