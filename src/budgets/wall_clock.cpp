#include "budgets/wall_clock.hpp"

#include <set>

#include "budgets/consequences.hpp"
#include "budgets/store.hpp"

namespace cognive::budgets {
namespace {

constexpr std::int64_t pairs_per_step = 2'000;
// A run may be said to have begun long ago, or nobody may have counted for as long: each day would be a step, and its
// alerts no news.
#define COGNIVE_COUNTED_FROM(now) now " - interval '7 days'"

constexpr pg::Query begin_query{
    "budget_wall_clock_begin",
    "SELECT EXISTS (SELECT FROM budget_limits WHERE metric = 'wall_clock' AND enabled "
    "AND deleted_at IS NULL) OR EXISTS (SELECT FROM budget_run_times WHERE is_open), now()"};

// Whoever else counts waits here, and sees then what has been counted.
constexpr pg::Query lock_query{"budget_wall_clock_lock",
                               "SELECT pg_advisory_xact_lock(hashtextextended('budgets.count_wall_clock', 0))"};

// What has not been counted for two looks: its budget is off, or its run is over. Whoever reports an end late may have
// been charged for longer than the run took.
#define COGNIVE_STALE "t.is_open AND t.until < now() - interval '10 seconds' "

// clang-format off: one step after the other.
constexpr pg::Query close_query{
    "budget_wall_clock_close",
    "WITH done AS MATERIALIZED (SELECT t.budget_id, t.run_id, t.window_id, least(t.until, r.ended_at) AS until, "
    // Never what passed while the budget was off: that was not charged.
    "least(t.milliseconds, floor(extract(epoch FROM t.until) * 1000) - floor(extract(epoch FROM least(t.until, "
    "CASE WHEN r.ended_at < b.counts_from AND b.counts_from < t.until THEN b.counts_from ELSE r.ended_at END)) * 1000))::bigint "
    "AS excess "
    "FROM budget_run_times t JOIN budget_limits b ON b.id = t.budget_id LEFT JOIN LATERAL (SELECT true AS is_there, ended_at "
    "FROM agent_runs WHERE id = t.run_id LIMIT 1) r ON true WHERE " COGNIVE_STALE
    "AND (NOT b.enabled OR b.deleted_at IS NOT NULL OR r.is_there IS NULL OR r.ended_at <= greatest(t.until, b.counts_from)) LIMIT $1), "
    "closed AS (UPDATE budget_run_times t SET is_open = false, until = d.until, milliseconds = t.milliseconds - d.excess "
    "FROM done d WHERE t.budget_id = d.budget_id AND t.run_id = d.run_id AND t.window_id = d.window_id), "
    "sums AS (SELECT window_id, sum(excess) AS excess FROM done GROUP BY window_id HAVING sum(excess) > 0), "
    "locked AS MATERIALIZED (SELECT w.id FROM budget_windows w WHERE w.id IN (SELECT window_id FROM sums) ORDER BY w.id "
    "FOR UPDATE), "
    "corrected AS (UPDATE budget_windows w SET spent = w.spent - s.excess, unreserved = w.unreserved - s.excess "
    "FROM sums s JOIN locked l ON l.id = s.window_id WHERE w.id = s.window_id) SELECT count(*) FROM done"};

// Runs with time that has not been counted up to $1, the least recently counted first: those that go on, those that have
// ended a moment ago (whose costs are still to be summed), and those whose end nobody was there to see.
constexpr pg::Query pairs_query{
    "budget_wall_clock_pairs",
    "WITH limits AS MATERIALIZED (SELECT id, scope, team_id, agent_id, run_id, window_kind, counts_from FROM budget_limits "
    "WHERE metric = 'wall_clock' AND enabled AND deleted_at IS NULL), "
    "timed AS MATERIALIZED (SELECT id, team_id, agent_id, started_at, ended_at FROM agent_runs WHERE status = 'running' "
    "UNION SELECT id, team_id, agent_id, started_at, ended_at FROM agent_runs WHERE cost_due_at IS NOT NULL "
    "UNION SELECT r.id, r.team_id, r.agent_id, r.started_at, r.ended_at FROM budget_run_times t "
    "JOIN agent_runs r ON r.id = t.run_id WHERE " COGNIVE_STALE "AND r.ended_at IS NOT NULL), "
    // By equality, each scope by itself, so that both sides are read once.
    "pair AS (SELECT b.*, r.id AS timed_id, r.started_at, r.ended_at FROM limits b JOIN timed r ON true WHERE b.scope = 'organisation' "
    "UNION ALL SELECT b.*, r.id, r.started_at, r.ended_at FROM limits b JOIN timed r ON r.team_id = b.team_id WHERE b.scope = 'team' "
    "UNION ALL SELECT b.*, r.id, r.started_at, r.ended_at FROM limits b JOIN timed r ON r.agent_id = b.agent_id WHERE b.scope = 'agent' "
    "UNION ALL SELECT b.*, r.id, r.started_at, r.ended_at FROM limits b JOIN timed r ON r.id = b.run_id WHERE b.scope = 'run'), "
    "passing AS (SELECT p.*, greatest(p.started_at, p.counts_from, " COGNIVE_COUNTED_FROM("$1::timestamptz") ", (SELECT max(t.until) FROM budget_run_times t "
    "WHERE t.budget_id = p.id AND t.run_id = p.timed_id)) AS since FROM pair p) "
    "SELECT id, timed_id, window_kind = 'run' AND scope <> 'run', greatest(started_at, counts_from, " COGNIVE_COUNTED_FROM("$1::timestamptz") "), since, ended_at "
    "FROM passing WHERE since < least($1, ended_at) ORDER BY since LIMIT $2"};

// $1 … $5: budgets, runs, windows of what is to be counted next, since when it would count, and when the run ended. Up to
// the end of that window at most; the rest comes in the next step. Whole milliseconds, none twice and none left out.
constexpr pg::Query charge_query{
    "budget_wall_clock_charge",
    "WITH pair AS (SELECT p.*, w.ends_at FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[], "
    "$5::timestamptz[]) AS p (budget_id, run_id, window_id, began_at, ended_at) JOIN budget_windows w ON w.id = p.window_id), "
    "passing AS (SELECT p.*, greatest(p.began_at, (SELECT max(t.until) FROM budget_run_times t WHERE t.budget_id = p.budget_id "
    "AND t.run_id = p.run_id)) AS since, least(now(), p.ended_at, p.ends_at) AS until FROM pair p), "
    "passed AS MATERIALIZED (SELECT *, (floor(extract(epoch FROM until) * 1000) - floor(extract(epoch FROM since) * 1000))::bigint "
    "AS milliseconds FROM passing WHERE until > since), "
    "timed AS (INSERT INTO budget_run_times AS t (budget_id, run_id, window_id, milliseconds, until, is_open) "
    "SELECT budget_id, run_id, window_id, milliseconds, until, ended_at IS NULL OR until < least(now(), ended_at) FROM passed "
    "ON CONFLICT (budget_id, run_id, window_id) DO UPDATE SET milliseconds = t.milliseconds + excluded.milliseconds, "
    "until = excluded.until, is_open = excluded.is_open), "
    "over AS (UPDATE budget_run_times t SET is_open = false FROM passed p WHERE t.budget_id = p.budget_id "
    "AND t.run_id = p.run_id AND t.window_id <> p.window_id AND t.is_open), "
    "sums AS (SELECT window_id, sum(milliseconds) AS milliseconds FROM passed GROUP BY window_id "
    "HAVING sum(milliseconds) > 0), "
    // Also those to which nothing is added: the foreign key of their times locks them, too.
    "locked AS MATERIALIZED (SELECT w.id FROM budget_windows w WHERE w.id IN (SELECT window_id FROM passed) ORDER BY w.id "
    "FOR UPDATE), "
    "charged AS (UPDATE budget_windows w SET spent = w.spent + s.milliseconds, unreserved = w.unreserved + s.milliseconds "
    "FROM sums s JOIN locked l ON l.id = s.window_id WHERE w.id = s.window_id "
    "RETURNING w.id, w.budget_id, w.run_id, w.spent, w.limit_amount, w.hard_stop, s.milliseconds AS added), "
    // Told of for as long as the run goes on: a limit may have been lowered.
    COGNIVE_CONSEQUENCES("true") "SELECT count(*) FROM passed"};
// clang-format on

#undef COGNIVE_STALE
#undef COGNIVE_COUNTED_FROM

struct Pair {
  Uuid budget_id;
  Uuid run_id;
  bool is_by_run = false;
  Timestamp began_at;
  Timestamp since;
  std::optional<Timestamp> ended_at;
};

Async<std::vector<Pair>> due_pairs(pg::Pool& database, Timestamp until, Deadline deadline) {
  const auto rows = co_await database.execute_apart(pairs_query, pg::Params::of(until, pairs_per_step), deadline);
  std::vector<Pair> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& one = out[static_cast<std::size_t>(i)];
    rows[i].read(one.budget_id, one.run_id, one.is_by_run, one.began_at, one.since, one.ended_at);
  }
  co_return out;
}

Async<> close(pg::Cluster& database, Deadline deadline) {
  for (std::int64_t closed = pairs_per_step; closed == pairs_per_step;) {
    auto transaction = co_await database.begin(deadline);
    co_await transaction.execute(lock_query, {});
    closed = (co_await transaction.execute(close_query, pg::Params::of(pairs_per_step)))[0].at<std::int64_t>(0);
    co_await transaction.commit();
  }
}

// How many of them moved on.
Async<std::int64_t> charge(pg::Cluster& database, const std::vector<Pair>& pairs, Deadline deadline) {
  std::vector<store::WindowKey> keys;  // of each pair
  keys.reserve(pairs.size());
  for (const auto& pair : pairs)
    keys.push_back({.budget_id = pair.budget_id, .run_id = pair.is_by_run ? pair.run_id : Uuid{}, .at = pair.since});
  const std::set<store::WindowKey> wanted(keys.begin(), keys.end());
  const auto windows = co_await store::open(database.primary(), {wanted.begin(), wanted.end()}, deadline);
  using Type = pg::ArrayBuilder::Type;
  pg::ArrayBuilder budget_id(Type::uuid);
  pg::ArrayBuilder run_id(Type::uuid);
  pg::ArrayBuilder window_id(Type::int8);
  pg::ArrayBuilder began_at(Type::timestamptz);
  pg::ArrayBuilder ended_at(Type::timestamptz);
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const auto window = windows.find(keys[i]);
    if (window == windows.end()) continue;  // the budget is gone
    budget_id.add(pairs[i].budget_id);
    run_id.add(pairs[i].run_id);
    window_id.add(window->second.id);
    began_at.add(pairs[i].began_at);
    if (pairs[i].ended_at) {
      ended_at.add(*pairs[i].ended_at);
    } else {
      ended_at.null();
    }
  }
  pg::Params params;
  for (auto* column : {&budget_id, &run_id, &window_id, &began_at, &ended_at}) std::move(*column).move_into(params);
  auto transaction = co_await database.begin(deadline);
  co_await transaction.execute(lock_query, {});
  const auto rows = co_await transaction.execute(charge_query, std::move(params));
  co_await transaction.commit();
  co_return rows[0].at<std::int64_t>(0);
}

}  // namespace

Async<> count_wall_clock(pg::Cluster& database, Deadline deadline) {
  const auto begin = co_await database.primary().execute(begin_query, {}, deadline);
  if (!begin[0].at<bool>(0)) co_return;
  const auto now = begin[0].at<Timestamp>(1);
  co_await close(database, deadline);
  // Until nothing is due; a step ends where a window does. Where it moves nothing on, somebody else counts, or has just
  // switched the budgets off.
  for (;;) {
    const auto pairs = co_await due_pairs(database.primary(), now, deadline);
    if (pairs.empty() || co_await charge(database, pairs, deadline) == 0) co_return;
  }
}

}  // namespace cognive::budgets
