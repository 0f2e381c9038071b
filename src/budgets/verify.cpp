#include "budgets/verify.hpp"

namespace cognive::budgets {
namespace {

// clang-format off: one step after the other.
constexpr pg::Query verify_query{
    "budget_verify",
    // Each call with the reservation that it has settled, if it has settled one.
    "WITH calls AS MATERIALIZED (SELECT l.charge_set_id AS own_set_id, coalesce(l.cost_nano_usd, 0)::numeric AS cost, "
    "coalesce(l.input_tokens, 0)::numeric + coalesce(l.output_tokens, 0) AS tokens, "
    "CASE WHEN l.cost_nano_usd IS NULL AND (l.input_tokens IS NOT NULL OR l.status <> 'error') THEN 1 ELSE 0 END AS unpriced, "
    "CASE WHEN l.input_tokens IS NULL AND l.status <> 'error' THEN 1 ELSE 0 END AS unmeasured, r.charge_set_id AS reserved_set_id, "
    "r.cost_nano_usd AS held_cost, r.tokens AS held_tokens, CASE WHEN r.is_unpriced THEN 1 ELSE 0 END AS held_unpriced "
    "FROM llm_calls l LEFT JOIN budget_reservations r ON r.id = l.reservation_id AND r.state = 'settled' "
    "AND r.call_run_id = l.run_id AND r.call_id = l.id WHERE l.charge_set_id IS NOT NULL OR r.id IS NOT NULL), "
    // By set first: there are far fewer sets than calls.
    "unreserved AS (SELECT own_set_id AS set_id, sum(cost) AS cost, sum(tokens) AS tokens, count(*) AS requests, "
    "sum(unpriced) AS unpriced, 0 AS steps, 0 AS tool_calls FROM calls WHERE reserved_set_id IS NULL GROUP BY own_set_id "
    "UNION ALL SELECT charge_set_id, 0, 0, 0, 0, count(*), 0 FROM execution_steps WHERE charge_set_id IS NOT NULL "
    "GROUP BY charge_set_id UNION ALL SELECT charge_set_id, 0, 0, 0, 0, 0, count(*) FROM tool_invocations "
    "WHERE charge_set_id IS NOT NULL GROUP BY charge_set_id), "
    "parts AS (SELECT window_id, cost, tokens, requests, unpriced, steps, tool_calls, 0 AS held_cost, 0 AS held_tokens, "
    "0 AS held_requests, 0 AS held_unpriced, 0 AS unmeasured, false AS is_reserved FROM unreserved u JOIN budget_charge_sets c "
    "ON c.id = u.set_id CROSS JOIN unnest(c.windows) AS window_id "
    "UNION ALL SELECT window_id, cost, tokens, 1, unpriced, 0, 0, held_cost, held_tokens, 1, held_unpriced, unmeasured, true "
    "FROM calls e JOIN budget_charge_sets c ON c.id = e.reserved_set_id CROSS JOIN unnest(c.windows) AS window_id "
    "UNION ALL SELECT w.id, cost, tokens, 1, unpriced, 0, 0, 0, 0, 0, 0, 0, false FROM calls e JOIN budget_charge_sets c "
    "ON c.id = e.own_set_id CROSS JOIN unnest(c.windows) AS window_id JOIN budget_windows w ON w.id = window_id "
    "WHERE e.reserved_set_id IS NOT NULL AND NOT EXISTS (SELECT FROM budget_charge_sets d "
    "CROSS JOIN unnest(d.windows) AS other_id JOIN budget_windows o ON o.id = other_id "
    "WHERE d.id = e.reserved_set_id AND o.budget_id = w.budget_id)), "
    "amounts AS (SELECT p.window_id, p.is_reserved, CASE w.metric "
    "WHEN 'cost' THEN CASE WHEN p.is_reserved AND p.unpriced > 0 THEN CASE WHEN p.held_unpriced > 0 "
    "THEN greatest(p.held_cost, w.assumed_cost_nano_usd) ELSE p.held_cost END "
    "ELSE p.cost + p.unpriced * coalesce(w.assumed_cost_nano_usd, 0)::numeric END "
    "WHEN 'tokens' THEN CASE WHEN p.is_reserved AND p.unmeasured > 0 THEN p.held_tokens ELSE p.tokens END "
    "WHEN 'requests' THEN p.requests WHEN 'steps' THEN p.steps WHEN 'tool_calls' THEN p.tool_calls ELSE 0 END AS used, "
    "CASE w.metric WHEN 'cost' THEN CASE WHEN p.held_unpriced > 0 THEN greatest(p.held_cost, w.assumed_cost_nano_usd) "
    "ELSE p.held_cost END WHEN 'tokens' THEN p.held_tokens WHEN 'requests' THEN p.held_requests ELSE 0 END AS held "
    "FROM parts p JOIN budget_windows w ON w.id = p.window_id "
    "UNION ALL SELECT window_id, false, milliseconds, 0 FROM budget_run_times), "
    "charged AS (SELECT window_id, sum(used) AS spent, coalesce(sum(used) FILTER (WHERE NOT is_reserved), 0) AS unreserved, "
    "coalesce(sum(greatest(used - held, 0)) FILTER (WHERE is_reserved), 0) AS exceeded FROM amounts GROUP BY window_id), "
    "held AS (SELECT window_id, sum(CASE w.metric WHEN 'cost' THEN CASE WHEN r.is_unpriced "
    "THEN greatest(r.cost_nano_usd, w.assumed_cost_nano_usd) ELSE r.cost_nano_usd END WHEN 'tokens' THEN r.tokens "
    "WHEN 'requests' THEN 1 ELSE 0 END) AS reserved FROM budget_reservations r JOIN budget_charge_sets c "
    "ON c.id = r.charge_set_id CROSS JOIN unnest(c.windows) AS window_id JOIN budget_windows w ON w.id = window_id "
    "WHERE r.state = 'held' GROUP BY window_id), "
    "compared AS (SELECT w.id, w.budget_id, counter.* FROM budget_windows w LEFT JOIN charged c ON c.window_id = w.id "
    "LEFT JOIN held h ON h.window_id = w.id CROSS JOIN LATERAL (VALUES ('spent', w.spent, coalesce(c.spent, 0)), "
    "('reserved', w.reserved::numeric, coalesce(h.reserved, 0)), "
    "('unreserved', w.unreserved, coalesce(c.unreserved, 0)), ('exceeded', w.exceeded, coalesce(c.exceeded, 0))) "
    "AS counter (name, stored, ledger) WHERE w.created_at >= $1) "
    "SELECT id, budget_id, name, stored::text, ledger::text, 0::bigint FROM compared WHERE stored <> ledger "
    "UNION ALL SELECT 0, '00000000-0000-0000-0000-000000000000', '', '', '', count(*) / 4 FROM compared "
    "ORDER BY 1, 3 LIMIT 10000"};
// clang-format on

}  // namespace

Async<Verification> verify(pg::Pool& database, Timestamp since, Deadline deadline) {
  const auto rows = co_await database.execute_apart(verify_query, pg::Params::of(since), deadline);
  Verification out;
  for (int i = 0; i < rows.size(); ++i) {
    WrongCounter one;
    std::int64_t windows = 0;
    rows[i].read(one.window_id, one.budget_id, one.counter, one.stored, one.ledger, windows);
    out.windows += windows;
    if (one.window_id != 0) out.wrong.push_back(std::move(one));
  }
  co_return out;
}

}  // namespace cognive::budgets
