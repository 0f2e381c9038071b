#include "runs/tables.hpp"

namespace cognive::runs {

// Time series are keyed by (bucket, run, id). `bucket` is a function of the id alone (bucket_of), so that a repeat
// always meets its first copy although partitioned tables can only be unique together with the partition column.
std::vector<schema::Table> tables() {
  return {{.name = "agent_runs",
           .columns = {{.name = "bucket", .type = "date"},
                       {.name = "id", .type = "uuid"},
                       {.name = "team_id", .type = "uuid"},
                       {.name = "agent_id", .type = "uuid"},
                       {.name = "environment", .type = "text"},
                       {.name = "status", .type = "text"},
                       {.name = "placeholder",
                        .type = "boolean",
                        .default_value = "false",
                        .comment = "Made by an event that came before the start of its run"},
                       {.name = "parent_run_id", .type = "uuid", .nullable = true},
                       {.name = "session_id", .type = "text", .nullable = true},
                       {.name = "labels", .type = "jsonb", .default_value = "'{}'"},
                       {.name = "metadata", .type = "jsonb", .default_value = "'{}'"},
                       {.name = "error", .type = "text", .nullable = true},
                       {.name = "started_at", .type = "timestamptz"},
                       {.name = "ended_at", .type = "timestamptz", .nullable = true},
                       {.name = "created_at", .type = "timestamptz", .default_value = "clock_timestamp()"}},
           .primary_key = {"id", "bucket"},
           .foreign_keys = {{.columns = {"team_id"}, .table = "teams"}, {.columns = {"agent_id"}, .table = "agents"}},
           .checks = {{.label = "status",
                       .expression = "status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', "
                                     "'terminated')"}},
           .indexes = {{.columns = {"created_at", "id"}, .label = "created_at"},
                       {.columns = {"agent_id"}, .where = "status IN ('queued', 'running')", .label = "active"},
                       {.columns = {"agent_id", "created_at", "id"}, .label = "agent_id_created_at"}},
           .partition_by = "RANGE (bucket)"}};
}

}  // namespace cognive::runs
