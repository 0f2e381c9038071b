#include "budgets/reservations.hpp"

#include "pg/transact.hpp"

namespace cognive::budgets::store {
namespace {

#define COGNIVE_LOCKED(w)                                                                                           \
  w ".id, " w ".limit_amount, " w ".hard_stop, least(" w ".spent, 9223372036854775807)::bigint, " w ".reserved, " w \
    ".budget_id, " w ".metric, coalesce(" w ".assumed_cost_nano_usd, 0), nullif(" w ".ends_at, 'infinity')"

constexpr pg::Query lock_query{
    "budget_windows_lock", "SELECT " COGNIVE_LOCKED(
                               "w") ", coalesce((SELECT version FROM budget_edition), 0), now(), "
                                    "EXISTS (SELECT FROM budget_reservations WHERE state = 'held' AND expires_at <= "
                                    "now()) FROM budget_windows w WHERE w.id = ANY ($1::bigint[]) AND w.covers AND "
                                    "w.ends_at > now() ORDER BY w.id FOR UPDATE"};

constexpr pg::Query edition_query{"budget_edition", "SELECT coalesce((SELECT version FROM budget_edition), 0), now()"};

#define COGNIVE_RESERVATION                                                                                        \
  "SELECT id, team_id, agent_id, run_id, charge_set_id, cost_nano_usd, tokens, is_unpriced, request_hash, state, " \
  "granted_at, expires_at, ended_at, call_id FROM budget_reservations "

constexpr pg::Query find_query{"budget_reservations_find", COGNIVE_RESERVATION "WHERE id = ANY ($1::uuid[])"};

constexpr pg::Query get_query{"budget_reservation_get", COGNIVE_RESERVATION
                              "WHERE id = $1 AND ($2::uuid IS NULL OR team_id = $2) "
                              "AND ($3::uuid IS NULL OR agent_id = $3)"};

#undef COGNIVE_RESERVATION

constexpr pg::Query insert_query{
    "budget_reservations_insert",
    "INSERT INTO budget_reservations (id, team_id, agent_id, run_id, charge_set_id, cost_nano_usd, tokens, "
    "is_unpriced, "
    "request_hash, state, granted_at, expires_at) SELECT id, team_id, agent_id, run_id, charge_set_id, cost, tokens, "
    "unpriced > 0, hash, 'held', now(), now() + lifetime_s * interval '1 second' FROM unnest($1::uuid[], $2::uuid[], "
    "$3::uuid[], $4::uuid[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[]) "
    "AS r (id, team_id, agent_id, run_id, charge_set_id, cost, tokens, unpriced, hash, lifetime_s) ORDER BY id"};

constexpr pg::Query hold_query{"budget_windows_hold",
                               "UPDATE budget_windows w SET reserved = w.reserved + a.added FROM "
                               "unnest($1::bigint[], $2::bigint[]) AS a (id, added) WHERE w.id = a.id"};

// The columns are those of lock_query. The check stands in front, so that it is made when there is no window.
constexpr pg::Query hold_all_query{
    "budget_windows_hold_all",
    "WITH wanted AS MATERIALIZED (SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) "
    "AS a (id, amount, least, assumed_cost)), "
    "locked AS MATERIALIZED (SELECT a.* FROM wanted a JOIN budget_windows w ON w.id = a.id WHERE w.covers "
    "AND w.ends_at > now() ORDER BY w.id FOR UPDATE OF w), "
    "held AS (UPDATE budget_windows w SET reserved = w.reserved + l.amount FROM locked l WHERE w.id = l.id "
    "AND (NOT w.hard_stop OR w.limit_amount - w.spent - w.reserved >= l.least) "
    "AND w.reserved <= 9223372036854775807 - l.amount AND coalesce(w.assumed_cost_nano_usd, 0) = l.assumed_cost "
    "RETURNING w.id, w.limit_amount, w.hard_stop, w.spent, w.reserved - l.amount AS reserved, w.budget_id, w.metric, "
    "w.assumed_cost_nano_usd, w.ends_at) "
    "SELECT " COGNIVE_LOCKED("h")
    ", $5::bigint, now(), checked.ok > 1 FROM (SELECT 1 / CASE WHEN (SELECT count(*) FROM held) = cardinality($1) AND "
    "coalesce((SELECT version FROM budget_edition), 0) = $5 THEN 1 ELSE 0 END AS ok) checked LEFT JOIN held h ON true "
    "ORDER BY h.id"};

#undef COGNIVE_LOCKED

// What follows from the CTE `ended` (charge_set_id, cost_nano_usd, tokens, is_unpriced): its windows, locked in their
// order, hold so much less.
#define COGNIVE_GIVE_BACK                                                                                            \
  "given AS (SELECT w.id, sum(CASE w.metric WHEN 'cost' THEN CASE WHEN e.is_unpriced "                               \
  "THEN greatest(e.cost_nano_usd, w.assumed_cost_nano_usd) ELSE e.cost_nano_usd END WHEN 'tokens' THEN e.tokens "    \
  "WHEN 'requests' THEN 1 ELSE 0 END)::bigint AS amount FROM ended e JOIN budget_charge_sets s "                     \
  "ON s.id = e.charge_set_id CROSS JOIN unnest(s.windows) AS window_id JOIN budget_windows w ON w.id = window_id "   \
  "GROUP BY w.id), "                                                                                                 \
  "locked AS (SELECT w.id FROM budget_windows w WHERE w.id IN (SELECT id FROM given) ORDER BY w.id FOR UPDATE), "    \
  "less AS (UPDATE budget_windows w SET reserved = w.reserved - g.amount FROM given g JOIN locked l ON l.id = g.id " \
  "WHERE w.id = g.id) "

constexpr pg::Query expire_query{
    "budget_reservations_expire",
    "WITH due AS (SELECT id FROM budget_reservations WHERE state = 'held' AND expires_at <= now() ORDER BY expires_at "
    "LIMIT $1 FOR UPDATE SKIP LOCKED), "
    "ended AS (UPDATE budget_reservations r SET state = 'expired', ended_at = now() FROM due d WHERE r.id = d.id "
    "RETURNING r.charge_set_id, r.cost_nano_usd, r.tokens, r.is_unpriced), " COGNIVE_GIVE_BACK
    "SELECT count(*) FROM ended"};

constexpr pg::Query release_query{
    "budget_reservation_release",
    "WITH found AS (SELECT id FROM budget_reservations WHERE id = $1 AND state = 'held' AND ($2::uuid IS NULL OR "
    "team_id = $2) AND ($3::uuid IS NULL OR agent_id = $3) FOR UPDATE), "
    "ended AS (UPDATE budget_reservations r SET state = 'released', ended_at = now() FROM found f WHERE r.id = f.id "
    "AND r.state = 'held' RETURNING r.charge_set_id, r.cost_nano_usd, r.tokens, r.is_unpriced), " COGNIVE_GIVE_BACK
    "SELECT count(*) FROM ended"};

#undef COGNIVE_GIVE_BACK

constexpr pg::Query renew_query{
    "budget_reservation_renew",
    "UPDATE budget_reservations SET expires_at = greatest(expires_at, now() + $2::bigint * interval '1 second') "
    "WHERE id = $1 AND state = 'held' AND ($3::uuid IS NULL OR team_id = $3) AND ($4::uuid IS NULL OR agent_id = $4)"};

std::vector<Reservation> read(const pg::Rows& rows) {
  std::vector<Reservation> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& one = out[static_cast<std::size_t>(i)];
    rows[i].read(one.id, one.subject.team_id, one.subject.agent_id, one.subject.run_id, one.charge_set_id,
                 one.amounts.cost_nanos, one.amounts.tokens, one.amounts.is_unpriced, one.request_hash, one.state,
                 one.granted_at, one.expires_at, one.ended_at, one.call_id);
  }
  return out;
}

}  // namespace

Async<Locked> lock_windows(pg::Transaction& transaction, const std::vector<std::int64_t>& ids) {
  if (ids.empty()) {
    const auto edition = co_await transaction.execute(edition_query, {});
    co_return Locked{.edition = edition[0].at<std::int64_t>(0), .now = edition[0].at<Timestamp>(1)};
  }
  pg::ArrayBuilder array(pg::ArrayBuilder::Type::int8);
  for (const auto id : ids) array.add(id);
  pg::Params params;
  std::move(array).move_into(params);
  co_return read_held(co_await transaction.execute(lock_query, std::move(params)));
}

Locked read_held(const pg::Rows& rows) {
  Locked out;
  for (int i = 0; i < rows.size(); ++i) {
    auto& window = out.windows.emplace_back();
    rows[i].read(window.id, window.limit, window.hard_stop, window.spent, window.reserved,
                 out.budget_ids.emplace_back(), out.metrics.emplace_back(), out.assumed_costs.emplace_back(),
                 out.ends_at.emplace_back(), out.edition, out.now, out.is_something_due);
  }
  return out;
}

Async<std::map<Uuid, Reservation>> find(pg::Transaction& transaction, const std::vector<Uuid>& ids) {
  pg::ArrayBuilder array(pg::ArrayBuilder::Type::uuid);
  for (const auto& id : ids) array.add(id);
  pg::Params params;
  std::move(array).move_into(params);
  std::map<Uuid, Reservation> out;
  for (auto& one : read(co_await transaction.execute(find_query, std::move(params)))) {
    const auto id = one.id;
    out.emplace(id, std::move(one));
  }
  co_return out;
}

Async<std::optional<Reservation>> find(pg::Pool& database, Uuid id, const Principal& principal, Deadline deadline) {
  auto params = pg::Params::of(id, principal.team_id, principal.agent_id);
  auto found = read(co_await database.execute(get_query, std::move(params), deadline));
  if (found.empty()) co_return std::nullopt;
  co_return std::move(found.front());
}

pg::Statement insert_statement(const std::vector<Reservation>& reservations,
                               const std::vector<std::chrono::seconds>& lifetimes) {
  using Type = pg::ArrayBuilder::Type;
  pg::ArrayBuilder id(Type::uuid);
  pg::ArrayBuilder team_id(Type::uuid);
  pg::ArrayBuilder agent_id(Type::uuid);
  pg::ArrayBuilder run_id(Type::uuid);
  pg::ArrayBuilder charge_set_id(Type::int8);
  pg::ArrayBuilder cost(Type::int8);
  pg::ArrayBuilder tokens(Type::int8);
  pg::ArrayBuilder unpriced(Type::int8);
  pg::ArrayBuilder hash(Type::int8);
  pg::ArrayBuilder lifetime_s(Type::int8);
  for (const auto lifetime : lifetimes) lifetime_s.add(std::int64_t{lifetime.count()});
  for (const auto& one : reservations) {
    id.add(one.id);
    team_id.add(one.subject.team_id);
    agent_id.add(one.subject.agent_id);
    if (one.subject.run_id) {
      run_id.add(*one.subject.run_id);
    } else {
      run_id.null();
    }
    charge_set_id.add(one.charge_set_id);
    cost.add(one.amounts.cost_nanos);
    tokens.add(one.amounts.tokens);
    unpriced.add(std::int64_t{one.amounts.is_unpriced});
    hash.add(one.request_hash);
  }
  pg::Params rows;
  for (auto* column :
       {&id, &team_id, &agent_id, &run_id, &charge_set_id, &cost, &tokens, &unpriced, &hash, &lifetime_s})
    std::move(*column).move_into(rows);
  return {&insert_query, std::move(rows)};
}

pg::Statement hold_statement(const std::vector<std::int64_t>& window_ids, const std::vector<std::int64_t>& added) {
  using Type = pg::ArrayBuilder::Type;
  pg::ArrayBuilder window_id(Type::int8);
  pg::ArrayBuilder amount(Type::int8);
  for (std::size_t i = 0; i < window_ids.size(); ++i) {
    window_id.add(window_ids[i]);
    amount.add(added[i]);
  }
  pg::Params windows;
  std::move(window_id).move_into(windows);
  std::move(amount).move_into(windows);
  return {&hold_query, std::move(windows)};
}

pg::Statement hold_all_statement(const std::vector<Addition>& additions, std::int64_t edition) {
  using Type = pg::ArrayBuilder::Type;
  std::array<pg::ArrayBuilder, 4> columns{pg::ArrayBuilder(Type::int8), pg::ArrayBuilder(Type::int8),
                                          pg::ArrayBuilder(Type::int8), pg::ArrayBuilder(Type::int8)};
  for (const auto& one : additions) {
    auto* column = columns.data();
    for (const auto value : {one.window_id, one.amount, one.least, one.assumed_cost}) (column++)->add(value);
  }
  pg::Params params;
  for (auto& column : columns) std::move(column).move_into(params);
  params.add(edition);
  return {&hold_all_query, std::move(params)};
}

Async<std::int64_t> expire(pg::Cluster& database, std::int64_t count, Deadline deadline) {
  Call call;
  call.deadline = deadline;
  const auto body = [count](pg::Transaction& transaction) -> Async<Result<std::int64_t>> {
    const auto rows = co_await transaction.execute(expire_query, pg::Params::of(count));
    co_return rows[0].at<std::int64_t>(0);
  };
  const auto expired = co_await pg::transact(database, "budget_expire", call, body);
  co_return *expired;
}

Async<bool> release(pg::Cluster& database, Uuid id, const Call& call) {
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<bool>> {
    auto params = pg::Params::of(id, call.principal.team_id, call.principal.agent_id);
    const auto rows = co_await transaction.execute(release_query, std::move(params));
    co_return rows[0].at<std::int64_t>(0) > 0;
  };
  const auto released = co_await pg::transact(database, "budget_release", call, body);
  co_return *released;
}

Async<bool> renew(pg::Pool& database, Uuid id, std::chrono::seconds lifetime, const Call& call) {
  auto params = pg::Params::of(id, std::int64_t{lifetime.count()}, call.principal.team_id, call.principal.agent_id);
  const auto rows = co_await database.write(renew_query, std::move(params), call);
  co_return rows.affected() == 1;
}

}  // namespace cognive::budgets::store
