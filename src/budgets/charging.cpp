#include "budgets/charging.hpp"

#include <stdexcept>

#include "budgets/consequences.hpp"
#include "json/cursor.hpp"

namespace cognive::budgets {
namespace {

// As `outdated` says.
#define COGNIVE_EDITION(version) \
  "SELECT 1 / CASE WHEN coalesce((SELECT version FROM budget_edition), 0) = " version " THEN 1 ELSE 0 END"

// Most of the time nothing is charged to any budget.
constexpr pg::Query edition_query{"budget_check_edition", COGNIVE_EDITION("$1::bigint")};

// clang-format off: one step after the other.
// $1 … $7: what was used up by set of windows. $8 … $17: calls that name a reservation. $18: the edition.
// Reservations are locked before windows, each in the order of their ids (see store.hpp).
constexpr pg::Query charge_query{
    "budget_charge",
    "WITH unreserved AS MATERIALIZED (SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], "
    "$5::bigint[], $6::bigint[], $7::bigint[]) AS u (set_id, cost, tokens, requests, unpriced, steps, tool_calls)), "
    "settling AS MATERIALIZED (SELECT * FROM unnest($8::uuid[], $9::uuid[], $10::uuid[], $11::uuid[], $12::bigint[], "
    "$13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[]) AS s (id, agent_id, run_id, call_id, "
    "set_id, cost, tokens, requests, unpriced, unmeasured)), "
    "held AS MATERIALIZED (SELECT r.id FROM settling s JOIN budget_reservations r ON r.id = s.id "
    "AND r.agent_id = s.agent_id AND (r.run_id IS NULL OR r.run_id = s.run_id) WHERE r.state = 'held' ORDER BY r.id FOR UPDATE OF r), "
    "settled AS (UPDATE budget_reservations r SET state = 'settled', ended_at = now(), call_run_id = s.run_id, "
    "call_id = s.call_id FROM held h JOIN settling s ON s.id = h.id WHERE r.id = h.id AND r.agent_id = s.agent_id AND r.state = 'held' "
    "RETURNING r.id, r.agent_id, r.charge_set_id AS set_id, r.cost_nano_usd AS held_cost, r.tokens AS held_tokens, "
    "CASE WHEN r.is_unpriced THEN 1 ELSE 0 END AS held_unpriced, s.set_id AS own_set_id, s.cost, s.tokens, s.requests, "
    "s.unpriced, s.unmeasured), "
    // What was reserved: to the windows of the reservation.
    "parts AS (SELECT window_id, e.cost, e.tokens, e.requests, e.unpriced, 0::bigint AS steps, 0::bigint AS tool_calls, "
    "e.held_cost, e.held_tokens, 1 AS held_requests, e.held_unpriced, e.unmeasured, true AS is_reserved FROM settled e "
    "JOIN budget_charge_sets c ON c.id = e.set_id CROSS JOIN unnest(c.windows) AS window_id "
    // What covers the call besides, a budget that is younger than the reservation for instance.
    "UNION ALL SELECT w.id, e.cost, e.tokens, e.requests, e.unpriced, 0, 0, 0, 0, 0, 0, 0, false FROM settled e "
    "JOIN budget_charge_sets c ON c.id = e.own_set_id CROSS JOIN unnest(c.windows) AS window_id "
    "JOIN budget_windows w ON w.id = window_id WHERE NOT EXISTS (SELECT FROM budget_charge_sets d "
    "CROSS JOIN unnest(d.windows) AS other_id JOIN budget_windows o ON o.id = other_id "
    "WHERE d.id = e.set_id AND o.budget_id = w.budget_id) "
    // Reservations that are not held any more, or were never there.
    "UNION ALL SELECT window_id, s.cost, s.tokens, s.requests, s.unpriced, 0, 0, 0, 0, 0, 0, 0, false FROM settling s "
    "JOIN budget_charge_sets c ON c.id = s.set_id CROSS JOIN unnest(c.windows) AS window_id "
    "WHERE NOT EXISTS (SELECT FROM settled t WHERE t.id = s.id AND t.agent_id = s.agent_id) "
    "UNION ALL SELECT window_id, u.cost, u.tokens, u.requests, u.unpriced, u.steps, u.tool_calls, 0, 0, 0, 0, 0, false "
    "FROM unreserved u JOIN budget_charge_sets c ON c.id = u.set_id CROSS JOIN unnest(c.windows) AS window_id), "
    "locked AS MATERIALIZED (SELECT w.id FROM budget_windows w WHERE w.id IN (SELECT window_id FROM parts) "
    "ORDER BY w.id FOR UPDATE), "
    // In the unit of each window.
    "amounts AS (SELECT p.window_id, p.is_reserved, CASE w.metric "
    // What nobody knows costs what had been reserved for it.
    "WHEN 'cost' THEN CASE WHEN p.is_reserved AND p.unpriced > 0 THEN CASE WHEN p.held_unpriced > 0 "
    "THEN greatest(p.held_cost, w.assumed_cost_nano_usd) ELSE p.held_cost END "
    "ELSE p.cost::numeric + p.unpriced::numeric * coalesce(w.assumed_cost_nano_usd, 0) END "
    "WHEN 'tokens' THEN CASE WHEN p.is_reserved AND p.unmeasured > 0 THEN p.held_tokens ELSE p.tokens END "
    "WHEN 'requests' THEN p.requests WHEN 'steps' THEN p.steps WHEN 'tool_calls' THEN p.tool_calls ELSE 0 END AS used, "
    "CASE w.metric WHEN 'cost' THEN CASE WHEN p.held_unpriced > 0 THEN greatest(p.held_cost, w.assumed_cost_nano_usd) "
    "ELSE p.held_cost END WHEN 'tokens' THEN p.held_tokens WHEN 'requests' THEN p.held_requests ELSE 0 END AS held "
    "FROM parts p JOIN budget_windows w ON w.id = p.window_id), "
    "sums AS (SELECT a.window_id, sum(a.used) AS spent, sum(a.held)::bigint AS held, "
    "coalesce(sum(a.used) FILTER (WHERE NOT a.is_reserved), 0) AS unreserved, "
    "coalesce(sum(greatest(a.used - a.held, 0)) FILTER (WHERE a.is_reserved), 0) AS exceeded "
    "FROM amounts a GROUP BY a.window_id), "
    "charged AS (UPDATE budget_windows w SET spent = w.spent + s.spent, reserved = w.reserved - s.held, "
    "unreserved = w.unreserved + s.unreserved, exceeded = w.exceeded + s.exceeded FROM sums s "
    "JOIN locked l ON l.id = s.window_id WHERE w.id = s.window_id "
    "RETURNING w.id, w.budget_id, w.run_id, w.spent, w.limit_amount, w.hard_stop, s.spent AS added), "
    COGNIVE_CONSEQUENCES("(c.spent - c.added < c.limit_amount OR c.limit_amount = 0)")
    COGNIVE_EDITION("$18::bigint AND NOT EXISTS (SELECT FROM unnest($1::bigint[] || $12::bigint[]) AS set (id) "
                    "WHERE set.id <> 0 AND NOT EXISTS (SELECT FROM budget_charge_sets c WHERE c.id = set.id))")};
// clang-format on

#undef COGNIVE_EDITION

}  // namespace

std::map<Uuid, std::string> exhausted_of(std::string_view message) {
  std::map<Uuid, std::string> out;
  std::string text(message);
  const auto read_run = [&](json::Cursor& in) {
    std::optional<Uuid> run_id;
    std::string budget_id;
    in.each_field([&](std::string_view key, json::Cursor& value) {
      if (key == "run_id") run_id = Uuid::parse(value.string());
      if (key == "budget_id") budget_id = value.string();
    });
    if (run_id) out.emplace(*run_id, "Its budget " + budget_id + " is used up");
  };
  const auto read = json::walk(text, [&](json::Cursor& root) {
    root.each_field([&](std::string_view key, json::Cursor& value) {
      if (key == "runs") value.each_item([&](std::size_t, json::Cursor& item) { read_run(item); });
    });
  });
  if (!read || out.empty()) throw std::runtime_error("no message about used up budgets");
  return out;
}

bool Used::add(const Used& other) {
  Used sum = *this;
  const auto added = [](std::int64_t& to, std::int64_t more) { return !__builtin_add_overflow(to, more, &to); };
  if (!added(sum.cost_nanos, other.cost_nanos) || !added(sum.tokens, other.tokens) ||
      !added(sum.requests, other.requests) || !added(sum.unpriced, other.unpriced) || !added(sum.steps, other.steps) ||
      !added(sum.tool_calls, other.tool_calls)) {
    return false;
  }
  *this = sum;
  return true;
}

void Charging::add(std::int64_t charge_set_id, const Used& used) {
  const auto known = last_of_.find(charge_set_id);
  if (known != last_of_.end() && rows_[known->second].used.add(used)) return;
  last_of_[charge_set_id] = rows_.size();
  rows_.push_back({charge_set_id, used});
}

void Charging::settle(const Settlement& settlement) {
  const bool is_first = settlements_.try_emplace({settlement.reservation_id, settlement.agent_id}, settlement).second;
  if (!is_first && settlement.charge_set_id != 0) add(settlement.charge_set_id, settlement.used);
}

void Charging::merge(const Charging& other) {
  for (const auto& row : other.rows_) add(row.charge_set_id, row.used);
  for (const auto& [key, settlement] : other.settlements_) settle(settlement);
}

pg::Statement charge_statement(const Charging& charging, std::int64_t edition) {
  if (charging.empty()) return {&edition_query, pg::Params::of(edition)};
  using Type = pg::ArrayBuilder::Type;
  std::array<pg::ArrayBuilder, 7> rows{pg::ArrayBuilder(Type::int8), pg::ArrayBuilder(Type::int8),
                                       pg::ArrayBuilder(Type::int8), pg::ArrayBuilder(Type::int8),
                                       pg::ArrayBuilder(Type::int8), pg::ArrayBuilder(Type::int8),
                                       pg::ArrayBuilder(Type::int8)};
  for (const auto& [set_id, used] : charging.rows_) {
    auto* column = rows.data();
    for (const auto value :
         {set_id, used.cost_nanos, used.tokens, used.requests, used.unpriced, used.steps, used.tool_calls})
      (column++)->add(value);
  }
  std::array<pg::ArrayBuilder, 4> ids{pg::ArrayBuilder(Type::uuid), pg::ArrayBuilder(Type::uuid),
                                      pg::ArrayBuilder(Type::uuid), pg::ArrayBuilder(Type::uuid)};
  std::array<pg::ArrayBuilder, 6> counts{pg::ArrayBuilder(Type::int8), pg::ArrayBuilder(Type::int8),
                                         pg::ArrayBuilder(Type::int8), pg::ArrayBuilder(Type::int8),
                                         pg::ArrayBuilder(Type::int8), pg::ArrayBuilder(Type::int8)};
  for (const auto& [key, one] : charging.settlements_) {
    auto* id_column = ids.data();
    for (const auto& value : {one.reservation_id, one.agent_id, one.run_id, one.call_id}) (id_column++)->add(value);
    auto* column = counts.data();
    for (const auto value : {one.charge_set_id, one.used.cost_nanos, one.used.tokens, one.used.requests,
                             one.used.unpriced, std::int64_t{!one.is_measured}})
      (column++)->add(value);
  }
  pg::Params params;
  for (auto& column : rows) std::move(column).move_into(params);
  for (auto& column : ids) std::move(column).move_into(params);
  for (auto& column : counts) std::move(column).move_into(params);
  params.add(edition);
  return {&charge_query, std::move(params)};
}

}  // namespace cognive::budgets
