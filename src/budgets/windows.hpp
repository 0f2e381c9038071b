// What budgets have counted: the window of now, and those before.
#pragma once

#include <optional>
#include <vector>

#include "budgets/budgets.hpp"
#include "cache/cache.hpp"

namespace cognive::budgets {

// An amount of a metric as people and JSON know it: dollars of money, seconds of time, else a count.
Decimal amount_of(Metric metric, std::int64_t stored);
// "1.5 USD", "20 tool calls".
std::string amount_text(Metric metric, const Decimal& amount);

struct BudgetWindow {
  std::int64_t id = 0;
  std::optional<Uuid> run_id;
  Metric metric = Metric::cost;
  std::optional<Timestamp> begins_at;
  std::optional<Timestamp> ends_at;
  Decimal limit;
  Decimal spent;
  Decimal reserved;
  Decimal remaining;
  Decimal unreserved;
  Decimal exceeded;

  static constexpr std::string_view schema_name = "BudgetWindow";
  static constexpr auto fields() {
    return json::fields(
        json::field("id", &BudgetWindow::id, "Ascending in the order in which windows were first used; 0: not yet."),
        json::field("run_id", &BudgetWindow::run_id, "Of budgets that count each run apart."),
        json::field("metric", &BudgetWindow::metric,
                    "What the amounts are: dollars of cost, seconds of wall clock, else counts."),
        json::field("begins_at", &BudgetWindow::begins_at,
                    "null: it has no beginning, but counts since the budget is there."),
        json::field("ends_at", &BudgetWindow::ends_at, "null: never."),
        json::field("limit", &BudgetWindow::limit, "Now, or when the window ended."),
        json::field("spent", &BudgetWindow::spent, "By calls that have been reported."),
        json::field("reserved", &BudgetWindow::reserved, "Set aside for calls that have not."),
        json::field("remaining", &BudgetWindow::remaining,
                    "What may still be reserved; negative when it is overspent."),
        json::field("unreserved", &BudgetWindow::unreserved, "The part of spent that nobody had reserved."),
        json::field("exceeded", &BudgetWindow::exceeded,
                    "The part of spent by which calls went over what they had reserved."));
  }
};

struct StatusQuery {
  Uuid id;
  std::optional<Uuid> run_id;

  static constexpr auto fields() {
    return json::fields(json::field("id", &StatusQuery::id, "The budget's id."),
                        json::field("run_id", &StatusQuery::run_id, "Of a budget that counts each run apart: which."));
  }
};

struct BudgetStatus {
  Budget budget;
  BudgetWindow window;
  std::int64_t reservations = 0;
  std::optional<Timestamp> next_expiry_at;
  Timestamp as_of;

  static constexpr std::string_view schema_name = "BudgetStatus";
  static constexpr auto fields() {
    return json::fields(
        json::field("budget", &BudgetStatus::budget, ""),
        json::field("window", &BudgetStatus::window, "The one of now."),
        json::field("reservations", &BudgetStatus::reservations, "How many are held."),
        json::field("next_expiry_at", &BudgetStatus::next_expiry_at, "When the first of them expires."),
        json::field("as_of", &BudgetStatus::as_of,
                    "When that was read: now, unless the request allows more by Cache-Control: max-age."));
  }
};

struct WindowQuery {
  Uuid id;
  std::optional<std::int64_t> before;
  std::int64_t limit = 50;

  static constexpr auto fields() {
    return json::fields(json::field("id", &WindowQuery::id, "The budget's id."),
                        json::field("before", &WindowQuery::before, "next_before of the page before.", {.min = 1}),
                        json::field("limit", &WindowQuery::limit, "Items per page.", json::page_limit_rules));
  }
};

struct WindowPage {
  std::vector<BudgetWindow> items;
  std::optional<std::int64_t> next_before;

  static constexpr std::string_view schema_name = "BudgetWindowPage";
  static constexpr auto fields() {
    return json::fields(
        json::field("items", &WindowPage::items, "Newest first."),
        json::field("next_before", &WindowPage::next_before, "Continues the list; null on its last page."));
  }
};

class Windows {
 public:
  Windows(pg::Cluster& database, cache::Cache& cache) : database_(database), cache_(cache) {}

  // On the primary: it tells what authorising would meet; from the cache only for who says how old it may be.
  // Code::unprocessable without a run where one is needed.
  Async<Result<BudgetStatus>> status(const Call& call, StatusQuery query);
  Async<Result<WindowPage>> list(const Call& call, WindowQuery query);

 private:
  // On the primary. `as_of`: not after the budget was read.
  Async<BudgetStatus> with_window(Budget budget, std::optional<Uuid> run_id, Timestamp as_of, Deadline deadline);
  // What everybody may be shown who sees the budget; nothing when it counts runs apart.
  Async<std::optional<BudgetStatus>> read_for_all(Uuid id, Deadline deadline);

  pg::Cluster& database_;
  cache::Cache& cache_;
};

void add_routes(http::Router& router, Windows& windows);

}  // namespace cognive::budgets
