#include "budgets/wall_clock.hpp"

#include <set>

#include "budgets/consequences.hpp"
#include "budgets/store.hpp"

namespace cognive::budgets {
namespace {

constexpr std::int64_t pairs_per_step = 1'000;

constexpr pg::Query any_query{"budget_wall_clock_any",
                              "SELECT EXISTS (SELECT FROM budget_limits WHERE metric = 'wall_clock' AND enabled "
                              "AND deleted_at IS NULL)"};

// clang-format off: one step after the other.
// Runs that go on, those that have ended a moment ago (whose costs are still to be summed), and those whose end nobody
// was there to see. $1, $2: behind which run and budget.
constexpr pg::Query pairs_query{
    "budget_wall_clock_pairs",
    "WITH limits AS MATERIALIZED (SELECT id, scope, team_id, agent_id, run_id, window_kind, created_at FROM budget_limits "
    "WHERE metric = 'wall_clock' AND enabled AND deleted_at IS NULL), "
    "timed AS MATERIALIZED (SELECT id, team_id, agent_id, started_at, ended_at FROM agent_runs WHERE status = 'running' "
    "UNION SELECT id, team_id, agent_id, started_at, ended_at FROM agent_runs WHERE cost_due_at IS NOT NULL "
    "UNION SELECT r.id, r.team_id, r.agent_id, r.started_at, r.ended_at FROM budget_run_times t "
    "JOIN agent_runs r ON r.id = t.run_id WHERE t.is_open AND t.until < now() - interval '30 seconds' "
    "AND r.ended_at IS NOT NULL) "
    "SELECT b.id, r.id, b.window_kind = 'run' AND b.scope <> 'run', greatest(r.started_at, b.created_at), r.ended_at "
    "FROM limits b JOIN timed r ON CASE b.scope WHEN 'organisation' THEN true WHEN 'team' THEN r.team_id = b.team_id "
    "WHEN 'agent' THEN r.agent_id = b.agent_id WHEN 'run' THEN r.id = b.run_id ELSE false END "
    "WHERE (r.id, b.id) > ($1, $2) ORDER BY r.id, b.id LIMIT $3"};

// Whoever else counts waits here, and sees then what has been counted.
constexpr pg::Query lock_query{"budget_wall_clock_lock",
                               "SELECT pg_advisory_xact_lock(hashtextextended('budgets.count_wall_clock', 0))"};

// $1 … $5: budgets, runs, windows of now, since when it would count, and when the run ended. Whole milliseconds: what is
// less is counted the next time.
constexpr pg::Query charge_query{
    "budget_wall_clock_charge",
    "WITH pair AS MATERIALIZED (SELECT p.*, w.begins_at FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[], "
    "$5::timestamptz[]) AS p (budget_id, run_id, window_id, began_at, ended_at) JOIN budget_windows w ON w.id = p.window_id), "
    "counted AS (SELECT p.budget_id, p.run_id, max(t.until) AS until FROM pair p JOIN budget_run_times t "
    "ON t.budget_id = p.budget_id AND t.run_id = p.run_id GROUP BY 1, 2), "
    "passing AS (SELECT p.*, c.until AS counted_until, greatest(p.began_at, p.begins_at, c.until) AS since "
    "FROM pair p LEFT JOIN counted c ON c.budget_id = p.budget_id AND c.run_id = p.run_id), "
    "passed AS MATERIALIZED (SELECT *, greatest(floor(extract(epoch FROM least(now(), ended_at) - since) * 1000), 0)::bigint "
    "AS milliseconds FROM passing), "
    "timed AS (INSERT INTO budget_run_times AS t (budget_id, run_id, window_id, milliseconds, until, is_open) "
    "SELECT budget_id, run_id, window_id, milliseconds, since + milliseconds * interval '1 millisecond', ended_at IS NULL "
    "FROM passed WHERE milliseconds > 0 OR counted_until IS NOT NULL "
    "ON CONFLICT (budget_id, run_id, window_id) DO UPDATE SET milliseconds = t.milliseconds + excluded.milliseconds, "
    "until = excluded.until, is_open = excluded.is_open), "
    "over AS (UPDATE budget_run_times t SET is_open = false FROM passed p WHERE t.budget_id = p.budget_id "
    "AND t.run_id = p.run_id AND t.window_id <> p.window_id AND t.is_open), "
    "sums AS (SELECT window_id, sum(milliseconds) AS milliseconds FROM passed GROUP BY window_id "
    "HAVING sum(milliseconds) > 0), "
    "locked AS MATERIALIZED (SELECT w.id FROM budget_windows w WHERE w.id IN (SELECT window_id FROM sums) ORDER BY w.id "
    "FOR UPDATE), "
    "charged AS (UPDATE budget_windows w SET spent = w.spent + s.milliseconds, unreserved = w.unreserved + s.milliseconds "
    "FROM sums s JOIN locked l ON l.id = s.window_id WHERE w.id = s.window_id "
    "RETURNING w.id, w.budget_id, w.run_id, w.spent, w.limit_amount, w.hard_stop, s.milliseconds AS added), "
    // Told of for as long as the run goes on: a limit may have been lowered.
    COGNIVE_CONSEQUENCES("true") "SELECT count(*) FROM passed"};
// clang-format on

struct Pair {
  Uuid budget_id;
  Uuid run_id;
  bool is_by_run = false;
  Timestamp began_at;
  std::optional<Timestamp> ended_at;

  [[nodiscard]] store::WindowKey window() const { return {budget_id, is_by_run ? run_id : Uuid{}}; }
};

Async<std::vector<Pair>> pairs_behind(pg::Pool& database, const Pair& last, Deadline deadline) {
  auto params = pg::Params::of(last.run_id, last.budget_id, pairs_per_step);
  const auto rows = co_await database.execute_apart(pairs_query, std::move(params), deadline);
  std::vector<Pair> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& one = out[static_cast<std::size_t>(i)];
    rows[i].read(one.budget_id, one.run_id, one.is_by_run, one.began_at, one.ended_at);
  }
  co_return out;
}

Async<> charge(pg::Cluster& database, const std::vector<Pair>& pairs, Deadline deadline) {
  std::set<store::WindowKey> keys;
  for (const auto& pair : pairs) keys.insert(pair.window());
  const auto windows = co_await store::open(database.primary(), {keys.begin(), keys.end()}, deadline);
  using Type = pg::ArrayBuilder::Type;
  pg::ArrayBuilder budget_id(Type::uuid);
  pg::ArrayBuilder run_id(Type::uuid);
  pg::ArrayBuilder window_id(Type::int8);
  pg::ArrayBuilder began_at(Type::timestamptz);
  pg::ArrayBuilder ended_at(Type::timestamptz);
  for (const auto& pair : pairs) {
    const auto window = windows.find(pair.window());
    if (window == windows.end()) continue;  // the budget is gone
    budget_id.add(pair.budget_id);
    run_id.add(pair.run_id);
    window_id.add(window->second.id);
    began_at.add(pair.began_at);
    if (pair.ended_at) {
      ended_at.add(*pair.ended_at);
    } else {
      ended_at.null();
    }
  }
  pg::Params params;
  for (auto* column : {&budget_id, &run_id, &window_id, &began_at, &ended_at}) std::move(*column).move_into(params);
  auto transaction = co_await database.begin(deadline);
  co_await transaction.execute(lock_query, {});
  co_await transaction.execute(charge_query, std::move(params));
  co_await transaction.commit();
}

}  // namespace

Async<> count_wall_clock(pg::Cluster& database, Deadline deadline) {
  const auto any = co_await database.primary().execute(any_query, {}, deadline);
  if (!any[0].at<bool>(0)) co_return;
  Pair last;
  for (;;) {
    const auto pairs = co_await pairs_behind(database.primary(), last, deadline);
    if (!pairs.empty()) co_await charge(database, pairs, deadline);
    if (std::ssize(pairs) < pairs_per_step) co_return;
    last = pairs.back();
  }
}

}  // namespace cognive::budgets
