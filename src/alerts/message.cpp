#include "alerts/message.hpp"

#include <fmt/format.h>

#include "budgets/windows.hpp"

namespace cognive::alerts {
namespace {

struct AlertData {
  Alert alert;
  AlertedBudget budget;

  static constexpr auto fields() {
    return json::fields(json::field("alert", &AlertData::alert, ""), json::field("budget", &AlertData::budget, ""));
  }
};

struct TestData {
  Uuid channel_id;

  static constexpr auto fields() { return json::fields(json::field("channel_id", &TestData::channel_id, "")); }
};

template <typename Data>
struct Envelope {
  std::string type;
  Timestamp timestamp;
  Data data;

  static constexpr auto fields() {
    return json::fields(json::field("type", &Envelope::type, ""), json::field("timestamp", &Envelope::timestamp, ""),
                        json::field("data", &Envelope::data, ""));
  }
};

// What a team calls it.
std::string owner_text(const AlertedBudget& budget) {
  switch (budget.scope) {
    case budgets::Scope::organisation:
      return "the organisation";
    case budgets::Scope::team:
      return "team " + budget.team.value_or("?");
    case budgets::Scope::agent:
      return "agent " + budget.agent.value_or("?");
    case budgets::Scope::api_key:
      return "API key " + (budget.api_key_id ? budget.api_key_id->text() : "?");
    case budgets::Scope::run:
      break;
  }
  return "a run";
}

}  // namespace

Message message_of(const Uuid& delivery_id, const Alert& alert, const AlertedBudget& budget) {
  const auto title = budget.name.empty() ? fmt::format("Budget of {}", owner_text(budget))
                                         : fmt::format("Budget \"{}\" of {}", budget.name, owner_text(budget));
  const auto limit = budgets::amount_text(alert.metric, alert.limit);
  std::string text = fmt::format("{} has used up {} % of its limit.\n\n", title, alert.threshold);
  const auto add = [&](std::string_view name, std::string_view value) {
    text += fmt::format("{:<9}{}\n", name, value);
  };
  add("Spent", budgets::amount_text(alert.metric, alert.spent));
  add("Limit", limit);
  if (alert.begins_at && alert.ends_at) {
    add("Window", fmt::format("{}, from {} until {}", json::enum_text(budget.window), alert.begins_at->text(),
                              alert.ends_at->text()));
  } else {
    add("Window", budget.window == budgets::WindowKind::run ? "each run by itself" : "all time, since it was made");
  }
  if (alert.run_id) add("Run", alert.run_id->text());
  add("At", alert.created_at.text());
  add("Budget", budget.id.text());
  add("Alert", alert.id.text());
  text += budget.hard_stop ? "\nIt is a hard stop: what would exceed it is refused.\n"
                           : "\nIt only alerts: nothing is refused.\n";
  const Envelope<AlertData> envelope{
      .type = "budget.threshold_crossed", .timestamp = alert.created_at, .data = {.alert = alert, .budget = budget}};
  return {.id = delivery_id.text(),
          .body = json::encode(envelope),
          .subject = fmt::format("{}: {} % of {} used up", title, alert.threshold, limit),
          .text = std::move(text),
          .created_at = alert.created_at};
}

Message test_message(const AlertChannel& channel) {
  const auto now = Timestamp::now();
  const Envelope<TestData> envelope{.type = "alert_channel.test", .timestamp = now, .data = {.channel_id = channel.id}};
  return {.id = Uuid::make().text(),
          .body = json::encode(envelope),
          .subject = "A test of Cognive's alerts",
          .text = "Somebody tries whether alerts reach this address. They do.\n\nNothing else has happened.\n",
          .created_at = now};
}

}  // namespace cognive::alerts
