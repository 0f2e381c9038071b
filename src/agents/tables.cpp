#include "agents/tables.hpp"

namespace cognive::agents {

std::vector<schema::Table> tables() {
  return {{.name = "agents",
           .columns = {{.name = "id", .type = "uuid"},
                       {.name = "team_id", .type = "uuid"},
                       {.name = "name", .type = "text"},
                       {.name = "description", .type = "text", .nullable = true},
                       {.name = "framework", .type = "text"},
                       {.name = "environment", .type = "text"},
                       {.name = "version", .type = "text", .nullable = true},
                       {.name = "status", .type = "text"},
                       {.name = "allowed_providers", .type = "text[]", .default_value = "'{}'"},
                       {.name = "allowed_models",
                        .type = "text[]",
                        .default_value = "'{}'",
                        .comment = "Patterns; an empty list allows everything"},
                       {.name = "allowed_tools", .type = "text[]", .default_value = "'{}'"},
                       {.name = "allowed_data_sources", .type = "text[]", .default_value = "'{}'"},
                       {.name = "labels", .type = "jsonb", .default_value = "'{}'"},
                       {.name = "metadata", .type = "jsonb", .default_value = "'{}'"},
                       {.name = "created_at", .type = "timestamptz", .default_value = "now()"},
                       {.name = "updated_at", .type = "timestamptz", .default_value = "now()"},
                       {.name = "archived_at", .type = "timestamptz", .nullable = true},
                       {.name = "on_violation", .type = "text", .default_value = "'record'"},
                       {.name = "store",
                        .type = "text",
                        .default_value = "'none'",
                        .comment = "What is kept of inputs, outputs, arguments and results"},
                       {.name = "silence_timeout_s",
                        .type = "bigint",
                        .nullable = true,
                        .comment = "NULL: as the installation says; 0: never"}},
           .primary_key = {"id"},
           .uniques = {{.columns = {"team_id", "name"}}},
           .foreign_keys = {{.columns = {"team_id"}, .table = "teams"}},
           .checks = {{.label = "status", .expression = "status IN ('active', 'suspended', 'archived')"},
                      {.label = "on_violation", .expression = "on_violation IN ('record', 'terminate')"},
                      {.label = "store", .expression = "store IN ('none', 'metadata', 'hashed', 'redacted', 'full')"}},
           .indexes = {{.columns = {"created_at", "id"}, .label = "created_at"}}}};
}

}  // namespace cognive::agents
