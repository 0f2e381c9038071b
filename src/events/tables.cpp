#include "events/tables.hpp"

namespace cognive::events {

namespace {

// One B-tree serves the key and the drill-down by run; BRIN serves time.
const std::vector<std::string> event_key = {"run_id", "id", "bucket"};
constexpr const char* content_comment = "What the agent's policy keeps of inputs and outputs";
constexpr const char* violation_comment = "What of it the agent may not use: provider, model, tool or data_source";
constexpr const char* charge_set_comment = "The budgets that cover it; NULL: none";
constexpr const char* by_day = "RANGE (bucket)";

}  // namespace

std::vector<schema::Table> tables() {
  return {{.name = "execution_steps",
           .columns = {{.name = "bucket", .type = "date"},
                       {.name = "run_id", .type = "uuid"},
                       {.name = "id", .type = "uuid"},
                       {.name = "team_id", .type = "uuid"},
                       {.name = "agent_id", .type = "uuid"},
                       {.name = "timestamp", .type = "timestamptz"},
                       {.name = "parent_step_id", .type = "uuid", .nullable = true},
                       {.name = "index", .type = "bigint"},
                       {.name = "kind", .type = "text"},
                       {.name = "name", .type = "text"},
                       {.name = "status", .type = "text", .nullable = true},
                       {.name = "error", .type = "text", .nullable = true},
                       {.name = "duration_ms", .type = "bigint", .nullable = true},
                       {.name = "metadata", .type = "jsonb", .nullable = true},
                       {.name = "content_hash",
                        .type = "bigint",
                        .comment = "Tells a repeat from other content under the same id"},
                       {.name = "arrived_at", .type = "timestamptz", .default_value = "now()"},
                       {.name = "content", .type = "jsonb", .nullable = true, .comment = content_comment},
                       {.name = "charge_set_id", .type = "bigint", .nullable = true, .comment = charge_set_comment}},
           .primary_key = event_key,
           .partition_by = by_day},
          {.name = "llm_calls",
           .columns =
               {{.name = "bucket", .type = "date"},
                {.name = "run_id", .type = "uuid"},
                {.name = "id", .type = "uuid"},
                {.name = "team_id", .type = "uuid"},
                {.name = "agent_id", .type = "uuid"},
                {.name = "environment", .type = "text"},
                {.name = "timestamp", .type = "timestamptz"},
                {.name = "parent_step_id", .type = "uuid", .nullable = true},
                {.name = "provider", .type = "text", .nullable = true},
                {.name = "model", .type = "text"},
                {.name = "status", .type = "text"},
                {.name = "error", .type = "text", .nullable = true},
                {.name = "duration_ms", .type = "bigint", .nullable = true},
                {.name = "input_tokens", .type = "bigint", .nullable = true, .comment = "NULL: the usage is unknown"},
                {.name = "output_tokens", .type = "bigint", .nullable = true},
                {.name = "cache_read_tokens", .type = "bigint", .nullable = true},
                {.name = "cache_write_tokens", .type = "bigint", .nullable = true},
                {.name = "usage",
                 .type = "jsonb",
                 .nullable = true,
                 .comment = "Counts of the units that have no column of their own"},
                {.name = "price_status", .type = "text"},
                {.name = "price_version_id", .type = "uuid", .nullable = true},
                {.name = "cost_nano_usd", .type = "bigint", .nullable = true, .comment = "1e-9 USD; NULL: unpriced"},
                {.name = "metadata", .type = "jsonb", .nullable = true},
                {.name = "content_hash", .type = "bigint"},
                {.name = "arrived_at", .type = "timestamptz", .default_value = "now()"},
                {.name = "content", .type = "jsonb", .nullable = true, .comment = content_comment},
                {.name = "violation", .type = "text", .nullable = true, .comment = violation_comment},
                {.name = "reservation_id", .type = "uuid", .nullable = true, .comment = "As the call names it"},
                {.name = "charge_set_id", .type = "bigint", .nullable = true, .comment = charge_set_comment}},
           .primary_key = event_key,
           .checks = {{.label = "price_status",
                       .expression = "price_status IN ('priced', 'partial', 'no_rates', 'unknown_model', "
                                     "'unknown_provider', 'inconsistent_usage', 'unknown_usage')"}},
           .indexes = {{.columns = {"timestamp"}, .method = "brin"}},
           .partition_by = by_day},
          {.name = "tool_invocations",
           .columns = {{.name = "bucket", .type = "date"},
                       {.name = "run_id", .type = "uuid"},
                       {.name = "id", .type = "uuid"},
                       {.name = "team_id", .type = "uuid"},
                       {.name = "agent_id", .type = "uuid"},
                       {.name = "timestamp", .type = "timestamptz"},
                       {.name = "parent_step_id", .type = "uuid", .nullable = true},
                       {.name = "tool", .type = "text"},
                       {.name = "status", .type = "text"},
                       {.name = "error", .type = "text", .nullable = true},
                       {.name = "duration_ms", .type = "bigint", .nullable = true},
                       {.name = "metadata", .type = "jsonb", .nullable = true},
                       {.name = "content_hash", .type = "bigint"},
                       {.name = "arrived_at", .type = "timestamptz", .default_value = "now()"},
                       {.name = "content", .type = "jsonb", .nullable = true, .comment = content_comment},
                       {.name = "violation", .type = "text", .nullable = true, .comment = violation_comment},
                       {.name = "data_source", .type = "text", .nullable = true},
                       {.name = "charge_set_id", .type = "bigint", .nullable = true, .comment = charge_set_comment}},
           .primary_key = event_key,
           .partition_by = by_day}};
}

}  // namespace cognive::events
