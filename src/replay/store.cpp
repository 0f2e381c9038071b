#include "replay/store.hpp"

namespace cognive::replay::store {
namespace {

// One shape for the three kinds. Metadata and content are left out of timelines, where they would only weigh, and
// given out up to `content_bytes_max` of each kind, in order; the last column tells whether
// some was held back.
#define COGNIVE_CONTENT(order)                                                                                        \
  "CASE WHEN $2 THEN sum(coalesce(octet_length(content::text), 0) + coalesce(octet_length(metadata::text), 0)) OVER " \
  "(ORDER BY " order ") ELSE 0 END AS total"

constexpr pg::Query read_query{
    "replay_read",
    "SELECT type, id, parent_step_id, \"timestamp\", duration_ms, name, kind, index, status, error, provider, "
    "input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, usage, price_status, charge, data_source, "
    "violation, CASE WHEN $2 AND total <= $4 THEN metadata END, CASE WHEN $2 AND total <= $4 THEN content END, total > $4 FROM ("
    "(SELECT 'step' AS type, id, parent_step_id, \"timestamp\", duration_ms, name, kind, index, status, error, "
    "NULL::text AS provider, NULL::bigint AS input_tokens, NULL::bigint AS output_tokens, "
    "NULL::bigint AS cache_read_tokens, NULL::bigint AS cache_write_tokens, NULL::jsonb AS usage, "
    "NULL::text AS price_status, NULL::bigint AS charge, NULL::text AS data_source, NULL::text AS violation, "
    "metadata, content, " COGNIVE_CONTENT("\"timestamp\", index, id")
    " FROM execution_steps WHERE run_id = $1 ORDER BY \"timestamp\", index, id LIMIT $3) "
    "UNION ALL (SELECT 'llm_call', c.id, parent_step_id, \"timestamp\", duration_ms, model, NULL, NULL, status, error, "
    "provider, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, usage, "
    "CASE WHEN j.sequence IS NULL THEN price_status ELSE j.new_price_status END, "
    "CASE WHEN j.sequence IS NULL THEN cost_nano_usd ELSE j.new_cost_nano_usd END, NULL, violation, "
    "metadata, content, " COGNIVE_CONTENT("\"timestamp\", c.id")
    " FROM llm_calls c LEFT JOIN LATERAL (SELECT a.sequence, a.new_price_status, a.new_cost_nano_usd "
    "FROM charge_adjustments a WHERE a.run_id = c.run_id AND a.call_id = c.id ORDER BY a.sequence DESC LIMIT 1) j "
    "ON true WHERE c.run_id = $1 ORDER BY \"timestamp\", c.id LIMIT $3) "
    "UNION ALL (SELECT 'tool_invocation', id, parent_step_id, \"timestamp\", duration_ms, tool, NULL, NULL, status, "
    "error, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, data_source, violation, metadata, content, " COGNIVE_CONTENT(
        "\"timestamp\", id") " FROM tool_invocations WHERE run_id = $1 ORDER BY \"timestamp\", id LIMIT $3)) moments"};

#undef COGNIVE_CONTENT

}  // namespace

Async<Read> read(pg::Reader database, Uuid run_id, bool with_content, Deadline deadline) {
  auto params = pg::Params::of(run_id, with_content, moments_max + 1, content_bytes_max);
  const auto rows = co_await database.execute_apart(read_query, std::move(params), deadline);
  Read out;
  std::array<std::int64_t, 3> counts{};
  for (int i = 0; i < rows.size(); ++i) {
    Recorded one;
    bool held_back = false;
    rows[i].read(one.type, one.id, one.parent_step_id, one.timestamp, one.duration_ms, one.name, one.kind, one.index,
                 one.status, one.error, one.provider, one.input_tokens, one.output_tokens, one.cache_read_tokens,
                 one.cache_write_tokens, one.usage, one.price_status, one.cost_usd, one.data_source, one.violation,
                 one.metadata, one.content, held_back);
    out.truncated = out.truncated || held_back;
    if (++counts[static_cast<std::size_t>(one.type)] > moments_max) {
      out.truncated = true;
    } else {
      out.moments.push_back(std::move(one));
    }
  }
  co_return out;
}

}  // namespace cognive::replay::store
