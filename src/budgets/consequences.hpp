// SQL of what follows when windows have been charged: alerts, and runs that have to stop.
#pragma once

// Follows the CTE `charged` (id, budget_id, run_id, spent, limit_amount, hard_stop, added) and ends before the
// statement itself. `is_news`: whether a used up window `c` has to be told of.
// clang-format off: one step after the other.
#define COGNIVE_CONSEQUENCES(is_news) \
    "crossed AS (SELECT c.*, t.threshold FROM charged c JOIN budget_limits b ON b.id = c.budget_id " \
    "AND b.deleted_at IS NULL CROSS JOIN unnest(b.thresholds) AS t (threshold) WHERE c.spent * 100 >= c.limit_amount::numeric * t.threshold " \
    "AND NOT EXISTS (SELECT FROM budget_alerts a WHERE a.window_id = c.id AND a.threshold = t.threshold)), " \
    "alerted AS (INSERT INTO budget_alerts (id, window_id, budget_id, threshold, spent, limit_amount) " \
    "SELECT gen_random_uuid(), id, budget_id, threshold, spent, limit_amount FROM crossed ORDER BY id, threshold " \
    "ON CONFLICT (window_id, threshold) DO NOTHING RETURNING id), " \
    "announced AS (INSERT INTO outbox (topic, payload) SELECT 'budgets.alerted', jsonb_build_object('alerts', count(*)) " \
    "FROM alerted HAVING count(*) > 0), " \
    /* A budget of one run, or the window of a run: what used it up has to stop. */ \
    "exhausted AS (SELECT c.budget_id, coalesce(b.run_id, c.run_id) AS run_id FROM charged c " \
    "JOIN budget_limits b ON b.id = c.budget_id WHERE c.hard_stop AND c.spent >= c.limit_amount AND " is_news " " \
    "AND (b.scope = 'run' OR b.window_kind = 'run')), " \
    "told AS (INSERT INTO outbox (topic, payload) SELECT 'budgets.exhausted', jsonb_build_object('runs', " \
    "jsonb_agg(jsonb_build_object('run_id', run_id, 'budget_id', budget_id))) FROM exhausted HAVING count(*) > 0) "
// clang-format on
