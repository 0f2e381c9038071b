// What is said of an alert, to programs and to people.
#pragma once

#include "alerts/alerts.hpp"
#include "alerts/channels.hpp"
#include "alerts/sender.hpp"

namespace cognive::alerts {

// The budget that an alert is of, as messages tell it.
struct AlertedBudget {
  Uuid id;
  std::string name;
  budgets::Scope scope = budgets::Scope::organisation;
  std::optional<Uuid> team_id;
  std::optional<std::string> team;
  std::optional<Uuid> agent_id;
  std::optional<std::string> agent;
  std::optional<Uuid> api_key_id;
  budgets::WindowKind window = budgets::WindowKind::day;
  bool hard_stop = false;

  static constexpr auto fields() {
    return json::fields(
        json::field("id", &AlertedBudget::id, ""), json::field("name", &AlertedBudget::name, ""),
        json::field("scope", &AlertedBudget::scope, ""), json::field("team_id", &AlertedBudget::team_id, ""),
        json::field("team", &AlertedBudget::team, ""), json::field("agent_id", &AlertedBudget::agent_id, ""),
        json::field("agent", &AlertedBudget::agent, ""), json::field("api_key_id", &AlertedBudget::api_key_id, ""),
        json::field("window", &AlertedBudget::window, ""), json::field("hard_stop", &AlertedBudget::hard_stop, ""));
  }
};

// `delivery_id` is the id of the message.
Message message_of(const Uuid& delivery_id, const Alert& alert, const AlertedBudget& budget);

// That tries a channel.
Message test_message(const AlertChannel& channel);

}  // namespace cognive::alerts
