#include "exports/tables.hpp"

namespace cognive::exports {

std::vector<schema::Table> tables() {
  return {{.name = "exports",
           .comment = "Files made of what is stored, whose bytes are in the object storage",
           .columns = {{.name = "id", .type = "uuid"},
                       {.name = "kind", .type = "text"},
                       {.name = "format", .type = "text"},
                       {.name = "begins_at", .type = "timestamptz", .nullable = true, .comment = "Inclusive"},
                       {.name = "ends_at", .type = "timestamptz", .nullable = true, .comment = "Exclusive"},
                       {.name = "team_id", .type = "uuid", .nullable = true, .comment = "NULL: of all teams"},
                       {.name = "agent_id", .type = "uuid", .nullable = true, .comment = "NULL: of all agents"},
                       {.name = "run_id", .type = "uuid", .nullable = true, .comment = "That a replay is of"},
                       {.name = "state", .type = "text", .default_value = "'waiting'"},
                       {.name = "progress", .type = "double precision", .default_value = "0", .comment = "0 to 1"},
                       {.name = "rows_written", .type = "bigint", .default_value = "0"},
                       {.name = "object_key",
                        .type = "text",
                        .nullable = true,
                        .comment = "Of the latest attempt; each has another one, so that none writes over another"},
                       {.name = "bytes", .type = "bigint", .nullable = true},
                       {.name = "sha256", .type = "bytea", .nullable = true},
                       {.name = "etag", .type = "text", .nullable = true, .comment = "Of the object"},
                       {.name = "error", .type = "text", .nullable = true, .comment = "Of the latest attempt"},
                       {.name = "created_at", .type = "timestamptz", .default_value = "now()"},
                       {.name = "finished_at", .type = "timestamptz", .nullable = true},
                       {.name = "expires_at", .type = "timestamptz", .nullable = true},
                       {.name = "removed_at",
                        .type = "timestamptz",
                        .nullable = true,
                        .comment = "Nobody sees it any more; its object is about to go"}},
           .primary_key = {"id"},
           .foreign_keys = {{.columns = {"team_id"}, .table = "teams"}, {.columns = {"agent_id"}, .table = "agents"}},
           .checks = {{.label = "kind", .expression = "kind IN ('calls', 'runs', 'costs', 'audit', 'replay')"},
                      {.label = "format", .expression = "format IN ('csv', 'jsonl')"},
                      {.label = "state", .expression = "state IN ('waiting', 'running', 'done', 'failed')"},
                      {.label = "of_what",
                       .expression = "(run_id IS NULL) = (kind <> 'replay') AND (begins_at IS NULL) = (kind = "
                                     "'replay') AND (ends_at IS NULL) = (kind = 'replay')"},
                      {.label = "done",
                       .expression = "state <> 'done' OR (object_key IS NOT NULL AND bytes IS NOT NULL AND sha256 IS "
                                     "NOT NULL AND finished_at IS NOT NULL)"}},
           .indexes = {{.columns = {"created_at", "id"}, .label = "created_at"},
                       {.columns = {"team_id", "created_at", "id"}, .label = "team_id_created_at"},
                       {.columns = {"expires_at"}, .where = "expires_at IS NOT NULL", .label = "expires_at"},
                       {.columns = {"state"}, .where = "state IN ('waiting', 'running')", .label = "unfinished"},
                       {.columns = {"removed_at"}, .where = "removed_at IS NOT NULL", .label = "removed_at"}}}};
}

}  // namespace cognive::exports
