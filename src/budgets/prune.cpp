#include "budgets/prune.hpp"

#include <array>

namespace cognive::budgets {
namespace {

constexpr std::int64_t rows_per_step = 2'000;
constexpr std::chrono::milliseconds step_time{5'000};
// Calls go first, so that what is left can be recounted: a reservation lives for less than this before its call.
constexpr std::int64_t margin_days = 2;

#define COGNIVE_OLD(column) column " < now() - $1::bigint * interval '1 day' "

constexpr pg::Query reservations_query{
    "budget_prune_reservations",
    "DELETE FROM budget_reservations WHERE id = ANY (ARRAY (SELECT id FROM budget_reservations "
    "WHERE " COGNIVE_OLD("granted_at") "AND state <> 'held' LIMIT $2))"};

// Windows of one run each, whose run has been dropped.
constexpr pg::Query windows_query{
    "budget_prune_windows",
    "WITH gone AS MATERIALIZED (SELECT w.id FROM budget_windows w "
    "WHERE w.run_id <> '00000000-0000-0000-0000-000000000000' AND " COGNIVE_OLD("w.created_at")
    "AND NOT EXISTS (SELECT FROM agent_runs r WHERE r.id = w.run_id) ORDER BY w.id LIMIT $2 FOR UPDATE), "
    "alerts AS MATERIALIZED (SELECT a.id FROM budget_alerts a JOIN gone ON gone.id = a.window_id), "
    "deliveries AS (DELETE FROM alert_deliveries d USING alerts WHERE d.alert_id = alerts.id), "
    "no_alerts AS (DELETE FROM budget_alerts a USING alerts WHERE a.id = alerts.id), "
    "times AS (DELETE FROM budget_run_times t USING gone WHERE t.window_id = gone.id) "
    "DELETE FROM budget_windows w USING gone WHERE w.id = gone.id"};

// Of windows that stay. What was counted there can then no longer be recounted, as with calls. A run that is there
// keeps its own: they say how far it has been counted.
constexpr pg::Query times_query{
    "budget_prune_times",
    "DELETE FROM budget_run_times WHERE (budget_id, run_id, window_id) IN (SELECT t.budget_id, t.run_id, t.window_id "
    "FROM budget_run_times t JOIN budget_windows w ON w.id = t.window_id WHERE " COGNIVE_OLD("t.until")
    "AND " COGNIVE_OLD("w.created_at") "AND NOT EXISTS (SELECT FROM agent_runs r WHERE r.id = t.run_id) LIMIT $2)"};

#undef COGNIVE_OLD

}  // namespace

Async<std::int64_t> prune(pg::Cluster& database, std::int64_t days, Deadline deadline) {
  std::int64_t pruned = 0;
  for (const auto* query : std::array{&reservations_query, &windows_query, &times_query}) {
    std::int64_t count = rows_per_step;
    while (count == rows_per_step && deadline.remaining() > step_time) {
      auto params = pg::Params::of(days + margin_days, rows_per_step);
      count = (co_await database.primary().execute_apart(*query, std::move(params), deadline)).affected();
      pruned += count;
    }
  }
  co_return pruned;
}

}  // namespace cognive::budgets
