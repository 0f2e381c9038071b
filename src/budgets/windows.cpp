#include "budgets/windows.hpp"

#include "budgets/calendar.hpp"
#include "budgets/store.hpp"

namespace cognive::budgets {
namespace {

constexpr std::int64_t shown_max = 999'999'999'999'999'999;

Error no_budget() {
  return {Code::not_found, "There is no such budget.", {}};
}

// Counters may be larger than any amount that can be shown.
#define COGNIVE_SHOWN(amount) "least(" amount ", 999999999999999999)::bigint"
#define COGNIVE_WINDOW \
  "w.id, nullif(w.run_id, '00000000-0000-0000-0000-000000000000'), w.metric, nullif(w.begins_at, '-infinity'), "      \
  "nullif(w.ends_at, 'infinity'), w.limit_amount, " COGNIVE_SHOWN("w.spent") ", w.reserved, "                         \
  "greatest(w.limit_amount - w.spent - w.reserved, -999999999999999999)::bigint, " COGNIVE_SHOWN("w.unreserved")      \
  ", " COGNIVE_SHOWN("w.exceeded")

// The window of now, whether or not anything has been charged to it. $2: the run, or nil.
constexpr pg::Query status_query{
    "budget_status",
    "WITH now_of AS (SELECT b.*, " COGNIVE_LOCAL_BEGIN("now()")
    " AS local_begin FROM budget_limits b WHERE b.id = $1), "
    "wanted AS (SELECT n.id, n.metric, n.limit_amount, " COGNIVE_BEGINS_AT " AS begins_at, " COGNIVE_ENDS_AT
    " AS ends_at FROM now_of n) "
    "SELECT " COGNIVE_WINDOW
    ", (SELECT count(*) FROM budget_reservations r JOIN budget_charge_sets c "
    "ON c.id = r.charge_set_id WHERE r.state = 'held' AND w.id = ANY (c.windows)), "
    "(SELECT min(r.expires_at) FROM budget_reservations r JOIN budget_charge_sets c ON c.id = r.charge_set_id "
    "WHERE r.state = 'held' AND w.id = ANY (c.windows)) "
    "FROM (SELECT coalesce(w.id, 0) AS id, $2::uuid AS run_id, n.metric, n.begins_at, n.ends_at, n.limit_amount, "
    "coalesce(w.spent, 0) AS spent, coalesce(w.reserved, 0) AS reserved, coalesce(w.unreserved, 0) AS unreserved, "
    "coalesce(w.exceeded, 0) AS exceeded FROM wanted n LEFT JOIN budget_windows w ON w.budget_id = n.id "
    "AND w.run_id = $2 AND w.begins_at = n.begins_at) w"};

constexpr pg::Query list_query{"budget_windows_list",
                               "SELECT " COGNIVE_WINDOW
                               " FROM budget_windows w WHERE w.budget_id = $1 AND ($2::bigint IS NULL OR w.id < $2) "
                               "ORDER BY w.id DESC LIMIT $3"};

#undef COGNIVE_WINDOW
#undef COGNIVE_SHOWN

// `more`: what stands behind the columns of a window.
template <typename... More>
BudgetWindow read_window(pg::Row row, More&... more) {
  BudgetWindow out;
  std::int64_t limit = 0;
  std::int64_t spent = 0;
  std::int64_t reserved = 0;
  std::int64_t remaining = 0;
  std::int64_t unreserved = 0;
  std::int64_t exceeded = 0;
  row.read(out.id, out.run_id, out.metric, out.begins_at, out.ends_at, limit, spent, reserved, remaining, unreserved,
           exceeded, more...);
  out.limit = amount_of(out.metric, limit);
  out.spent = amount_of(out.metric, spent);
  out.reserved = amount_of(out.metric, reserved);
  out.remaining = amount_of(out.metric, remaining);
  out.unreserved = amount_of(out.metric, unreserved);
  out.exceeded = amount_of(out.metric, exceeded);
  return out;
}

bool counts_runs_apart(const Budget& budget) {
  return budget.window == WindowKind::run && budget.scope != Scope::run;
}

}  // namespace

Decimal amount_of(Metric metric, std::int64_t stored) {
  stored = std::clamp(stored, -shown_max, shown_max);
  if (metric == Metric::wall_clock) {
    const auto [seconds, rest] = std::lldiv(std::llabs(stored), 1'000);
    return Decimal::parse(fmt::format("{}{}.{:03}", stored < 0 ? "-" : "", seconds, rest)).value_or(Decimal{});
  }
  if (metric != Metric::cost) return {.mantissa = stored, .scale = 0};
  return Decimal::parse(NanoUsd{stored}.text()).value_or(Decimal{});
}

std::string amount_text(Metric metric, const Decimal& amount) {
  std::string unit(json::enum_text(metric));
  if (metric == Metric::cost) unit = "USD";
  if (metric == Metric::wall_clock) unit = "s";
  std::ranges::replace(unit, '_', ' ');
  return amount.text() + " " + unit;
}

Async<BudgetStatus> Windows::with_window(Budget budget, std::optional<Uuid> run_id, Timestamp as_of,
                                         Deadline deadline) {
  BudgetStatus out;
  out.as_of = as_of;
  auto params = pg::Params::of(budget.id, run_id.value_or(Uuid{}));
  out.budget = std::move(budget);
  const auto rows = co_await database_.primary().execute(status_query, std::move(params), deadline);
  out.window = read_window(rows[0], out.reservations, out.next_expiry_at);
  co_return out;
}

Async<std::optional<BudgetStatus>> Windows::read_for_all(Uuid id, Deadline deadline) {
  const auto as_of = Timestamp::now();
  auto budget = co_await store::get(database_.primary(), id, Principal{}, deadline);
  if (!budget || counts_runs_apart(*budget)) co_return std::nullopt;
  co_return co_await with_window(std::move(*budget), std::nullopt, as_of, deadline);
}

Async<Result<BudgetStatus>> Windows::status(const Call& call, StatusQuery query) {
  if (call.age_max && !call.not_before && !query.run_id) {
    const auto load = [&] { return read_for_all(query.id, call.deadline); };
    auto known = co_await cache_.get<BudgetStatus>(cache::Kind::budget, query.id, call, load);
    if (known && store::is_visible(known->budget, call.principal)) co_return std::move(*known);
  }
  const auto as_of = Timestamp::now();
  auto budget = co_await store::get(database_.primary(), query.id, call.principal, call.deadline);
  if (!budget) co_return fail(no_budget());
  const bool is_by_run = counts_runs_apart(*budget);
  if (is_by_run && !query.run_id) co_return unprocessable("?run_id", "The budget counts each run apart: say which.");
  if (!is_by_run && query.run_id) co_return unprocessable("?run_id", "The budget does not count runs apart.");
  co_return co_await with_window(std::move(*budget), query.run_id, as_of, call.deadline);
}

Async<Result<WindowPage>> Windows::list(const Call& call, WindowQuery query) {
  auto reader = database_.read_preferred(call);
  if (!co_await store::get(reader, query.id, call.principal, call.deadline)) co_return fail(no_budget());
  auto params = pg::Params::of(query.id, query.before, query.limit + 1);
  const auto rows = co_await reader.execute(list_query, std::move(params), call.deadline);
  WindowPage out;
  for (int i = 0; i < rows.size() && i < query.limit; ++i) out.items.push_back(read_window(rows[i]));
  if (rows.size() > query.limit) out.next_before = out.items.back().id;
  co_return out;
}

}  // namespace cognive::budgets
