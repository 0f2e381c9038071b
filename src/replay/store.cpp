#include "replay/store.hpp"

namespace cognive::replay::store {
namespace {

// One shape for the three kinds. Content is left out of timelines, where it would only weigh.
constexpr pg::Query read_query{
    "replay_read",
    "(SELECT 'step', id, parent_step_id, \"timestamp\", duration_ms, name, kind, index, status, error, NULL::text, "
    "NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::jsonb, NULL::text, NULL::bigint, NULL::text, "
    "NULL::text, CASE WHEN $2 THEN content END FROM execution_steps WHERE run_id = $1 "
    "ORDER BY \"timestamp\", index, id LIMIT $3) "
    "UNION ALL (SELECT 'llm_call', id, parent_step_id, \"timestamp\", duration_ms, model, NULL, NULL, status, error, "
    "provider, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, usage, price_status, cost_nano_usd, "
    "NULL, violation, CASE WHEN $2 THEN content END FROM llm_calls WHERE run_id = $1 ORDER BY \"timestamp\", id "
    "LIMIT $3) "
    "UNION ALL (SELECT 'tool_invocation', id, parent_step_id, \"timestamp\", duration_ms, tool, NULL, NULL, status, "
    "error, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, data_source, violation, CASE WHEN $2 THEN content END "
    "FROM tool_invocations WHERE run_id = $1 ORDER BY \"timestamp\", id LIMIT $3)"};

}  // namespace

Async<Read> read(pg::Reader database, Uuid run_id, bool with_content, Deadline deadline) {
  auto params = pg::Params::of(run_id, with_content, moments_max + 1);
  const auto rows = co_await database.execute_apart(read_query, std::move(params), deadline);
  Read out;
  std::array<std::int64_t, 3> counts{};
  for (int i = 0; i < rows.size(); ++i) {
    Recorded one;
    rows[i].read(one.type, one.id, one.parent_step_id, one.timestamp, one.duration_ms, one.name, one.kind, one.index,
                 one.status, one.error, one.provider, one.input_tokens, one.output_tokens, one.cache_read_tokens,
                 one.cache_write_tokens, one.usage, one.price_status, one.cost_usd, one.data_source, one.violation,
                 one.content);
    if (++counts[static_cast<std::size_t>(one.type)] > moments_max) {
      out.truncated = true;
    } else {
      out.moments.push_back(std::move(one));
    }
  }
  co_return out;
}

}  // namespace cognive::replay::store
