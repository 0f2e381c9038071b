// Who is calling, as every layer knows it.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/uuid.hpp"

namespace cognive {

struct Principal {
  enum class Kind { api_key, user, operator_, anonymous };

  Kind kind = Kind::api_key;
  Uuid id;                               // of the key or user; nil for the others
  std::optional<Uuid> team_id;           // nothing: organisation-wide
  std::optional<Uuid> agent_id;          // a key may be bound to one agent
  std::optional<Uuid> session_id;        // of a user who has signed in
  std::vector<std::string> permissions;  // `resource:verb`; "*" is all
  std::string limited_by;                // for whoever is refused: why it may do nothing; empty: it is not limited

  [[nodiscard]] bool may(std::string_view permission) const {
    return std::ranges::any_of(permissions, [&](const auto& held) { return held == "*" || held == permission; });
  }

  // What is of this team and agent.
  [[nodiscard]] bool sees(const Uuid& of_team, const Uuid& of_agent) const {
    return (!team_id || *team_id == of_team) && (!agent_id || *agent_id == of_agent);
  }
};

}  // namespace cognive
