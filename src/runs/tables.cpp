#include "runs/tables.hpp"

namespace cognive::runs {

// Time series are keyed by (bucket, run, id). `bucket` is a function of the id alone (bucket_of), so that a repeat
// always meets its first copy although partitioned tables can only be unique together with the partition column.
std::vector<schema::Table> tables() {
  return {
      {.name = "agent_runs",
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
                   {.name = "created_at", .type = "timestamptz", .default_value = "clock_timestamp()"},
                   {.name = "last_seen_at",
                    .type = "timestamptz",
                    .nullable = true,
                    .comment = "Last heartbeat, or event that a search for silent runs met"},
                   {.name = "terminated_by", .type = "text", .nullable = true},
                   {.name = "cost_nano_usd",
                    .type = "bigint",
                    .nullable = true,
                    .comment = "What the calls of an ended run are charged, to search by; NULL: to be summed"},
                   {.name = "cost_due_at",
                    .type = "timestamptz",
                    .nullable = true,
                    .comment = "When the cost of an ended run is to be summed; NULL: it is, or the run goes on"}},
       .primary_key = {"id", "bucket"},
       .foreign_keys = {{.columns = {"team_id"}, .table = "teams"}, {.columns = {"agent_id"}, .table = "agents"}},
       .checks = {{.label = "status",
                   .expression = "status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', "
                                 "'terminated')"},
                  {.label = "terminated_by",
                   .expression = "terminated_by IN ('operator', 'policy', 'silence', 'budget')"}},
       .indexes = {{.columns = {"created_at", "id"}, .label = "created_at"},
                   {.columns = {"agent_id"}, .where = "status IN ('queued', 'running')", .label = "active"},
                   {.columns = {"agent_id", "created_at", "id"}, .label = "agent_id_created_at"},
                   {.columns = {"parent_run_id"}, .where = "parent_run_id IS NOT NULL", .label = "parent_run_id"},
                   {.columns = {"session_id", "created_at"}, .where = "session_id IS NOT NULL", .label = "session_id"},
                   {.columns = {"team_id", "created_at", "id"}, .label = "team_id_created_at"},
                   {.columns = {"status", "created_at", "id"}, .label = "status_created_at"},
                   {.columns = {"started_at"}, .method = "brin"},
                   {.columns = {"cost_nano_usd"}},
                   {.columns = {"cost_due_at"}, .where = "cost_due_at IS NOT NULL", .label = "cost_due_at"},
                   {.columns = {"labels jsonb_path_ops"}, .method = "gin", .label = "labels"},
                   {.columns = {"(to_tsvector('simple', error))"},
                    .method = "gin",
                    .where = "error IS NOT NULL",
                    .label = "error"}},
       .partition_by = "RANGE (bucket)"}};
}

}  // namespace cognive::runs
