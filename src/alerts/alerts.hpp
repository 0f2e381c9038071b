// Alerts: a budget has crossed a threshold in a window. They are raised where the budget is charged, once each; here
// people list and acknowledge them, and see what became of them on the channels that they were sent to.
#pragma once

#include <optional>
#include <vector>

#include "audit/audit.hpp"
#include "budgets/budgets.hpp"
#include "json/page.hpp"
#include "pg/cluster.hpp"
#include "runtime/call.hpp"

namespace cognive::alerts {

struct Alert {
  Uuid id;
  Uuid budget_id;
  std::int64_t window_id = 0;
  std::int64_t threshold = 0;
  budgets::Metric metric = budgets::Metric::cost;
  Decimal limit;
  Decimal spent;
  std::optional<Uuid> run_id;
  std::optional<Timestamp> begins_at;
  std::optional<Timestamp> ends_at;
  Timestamp created_at;
  std::optional<Timestamp> acknowledged_at;
  std::optional<Uuid> acknowledged_by;

  static constexpr std::string_view schema_name = "Alert";
  static constexpr auto fields() {
    return json::fields(json::field("id", &Alert::id, ""), json::field("budget_id", &Alert::budget_id, ""),
                        json::field("window_id", &Alert::window_id, "There is one alert of a threshold in a window."),
                        json::field("threshold", &Alert::threshold, "Percent of the limit."),
                        json::field("metric", &Alert::metric,
                                    "What the amounts are: dollars of cost, seconds of wall clock, else counts."),
                        json::field("limit", &Alert::limit, "When it was crossed."),
                        json::field("spent", &Alert::spent, "By the call that crossed it and all before."),
                        json::field("run_id", &Alert::run_id, "Of budgets that count each run apart."),
                        json::field("begins_at", &Alert::begins_at, "When the window began; null: with the budget."),
                        json::field("ends_at", &Alert::ends_at, "When it is counted anew; null: never."),
                        json::field("created_at", &Alert::created_at, ""),
                        json::field("acknowledged_at", &Alert::acknowledged_at, "null: nobody has."),
                        json::field("acknowledged_by", &Alert::acknowledged_by, "The key."));
  }
};

struct AlertQuery {
  std::optional<Uuid> budget_id;
  std::optional<bool> acknowledged;
  std::int64_t limit = 50;
  std::optional<json::PagePosition> cursor;

  static constexpr auto fields() {
    return json::fields(json::field("budget_id", &AlertQuery::budget_id, "Only alerts of this budget."),
                        json::field("acknowledged", &AlertQuery::acknowledged, "Only those that are, or are not."),
                        json::field("limit", &AlertQuery::limit, "Items per page.", json::page_limit_rules),
                        json::field("cursor", &AlertQuery::cursor, "next_cursor of the page before."));
  }
};

enum class DeliveryState { waiting, delivered, failed };

constexpr auto enum_names(DeliveryState) {
  return std::array{json::name(DeliveryState::waiting, "waiting"), json::name(DeliveryState::delivered, "delivered"),
                    json::name(DeliveryState::failed, "failed")};
}

// An alert on its way to a channel.
struct AlertDelivery {
  Uuid id;
  Uuid alert_id;
  Uuid channel_id;
  DeliveryState state = DeliveryState::waiting;
  std::int64_t attempts = 0;
  std::optional<std::string> last_error;
  Timestamp created_at;
  std::optional<Timestamp> delivered_at;

  static constexpr std::string_view schema_name = "AlertDelivery";
  static constexpr auto fields() {
    return json::fields(
        json::field("id", &AlertDelivery::id, "The same on every attempt: webhook-id, or Message-ID of the mail."),
        json::field("alert_id", &AlertDelivery::alert_id, ""),
        json::field("channel_id", &AlertDelivery::channel_id, ""),
        json::field("state", &AlertDelivery::state, "waiting: it is tried until it is delivered, or has failed."),
        json::field("attempts", &AlertDelivery::attempts, "That have ended."),
        json::field("last_error", &AlertDelivery::last_error, "Of the last attempt; null: it was none."),
        json::field("created_at", &AlertDelivery::created_at, ""),
        json::field("delivered_at", &AlertDelivery::delivered_at, "When it was accepted first."));
  }
};

struct DeliveryQuery {
  std::optional<Uuid> alert_id;
  std::optional<Uuid> channel_id;
  std::optional<DeliveryState> state;
  std::int64_t limit = 50;
  std::optional<json::PagePosition> cursor;

  static constexpr auto fields() {
    return json::fields(json::field("alert_id", &DeliveryQuery::alert_id, "Only of this alert."),
                        json::field("channel_id", &DeliveryQuery::channel_id, "Only to this channel."),
                        json::field("state", &DeliveryQuery::state, "Only those in this state."),
                        json::field("limit", &DeliveryQuery::limit, "Items per page.", json::page_limit_rules),
                        json::field("cursor", &DeliveryQuery::cursor, "next_cursor of the page before."));
  }
};

// The name of the messages about deliveries that somebody wants to be tried again.
inline constexpr std::string_view redelivery_topic = "alerts.redeliver";

class Alerts {
 public:
  Alerts(pg::Cluster& database, audit::Trail trail) : database_(database), trail_(trail) {}

  Async<Result<json::Page<Alert>>> list(const Call& call, AlertQuery query);
  // A repeat changes nothing: who was first stays.
  Async<Result<Alert>> acknowledge(const Call& call, Uuid id);
  Async<Result<json::Page<AlertDelivery>>> deliveries(const Call& call, DeliveryQuery query);
  // Sent once more, with the same id, as soon as may be.
  Async<Result<AlertDelivery>> redeliver(const Call& call, Uuid id);

 private:
  pg::Cluster& database_;
  audit::Trail trail_;
};

}  // namespace cognive::alerts
