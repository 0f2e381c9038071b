#include "budgets/gauges.hpp"

#include <limits>

namespace cognive::budgets {
namespace {

constexpr double nanos_per_usd = 1e9;

// Without a window nothing has been used up yet.
constexpr pg::Query remaining_query{
    "budget_remaining",
    "SELECT coalesce(b.team_id::text, ''), b.window_kind, "
    "min(b.limit_amount - coalesce(w.spent, 0) - coalesce(w.reserved, 0))::float8 FROM budget_limits b "
    "LEFT JOIN LATERAL (SELECT spent, reserved FROM budget_windows WHERE budget_id = b.id "
    "AND run_id = '00000000-0000-0000-0000-000000000000' AND begins_at <= now() AND ends_at > now() ORDER BY id DESC "
    "LIMIT 1) w ON true WHERE b.metric = 'cost' AND b.enabled AND b.deleted_at IS NULL AND b.window_kind <> 'run' "
    "GROUP BY b.team_id, b.window_kind ORDER BY 3 LIMIT 200"};

}  // namespace

void Gauges::set(const Series& series, double value) const {
  metrics_
      .gauge("budget_remaining_usd",
             "What may still be reserved, of the budget that has least left; for a picture only, the ledger is exact",
             {{"tenant_id", series.first}, {"budget_type", series.second}})
      .set(value);
}

Async<> Gauges::refresh(Deadline deadline) {
  const auto rows = co_await database_.read_preferred({}).execute_apart(remaining_query, {}, deadline);
  std::set<Series> shown;
  for (int i = 0; i < rows.size(); ++i) {
    Series series;
    double nanos = 0;
    rows[i].read(series.first, series.second, nanos);
    set(series, nanos / nanos_per_usd);
    shown.insert(std::move(series));
  }
  for (const auto& series : shown_) {
    if (!shown.contains(series)) set(series, std::numeric_limits<double>::quiet_NaN());
  }
  shown_ = std::move(shown);
}

}  // namespace cognive::budgets
