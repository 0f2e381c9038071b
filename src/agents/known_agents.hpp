// Agents as a thread has seen them within the last second, for whoever asks about the same ones again and again.
#pragma once

#include <chrono>
#include <memory>
#include <unordered_map>

#include "agents/agents.hpp"
#include "agents/policy.hpp"

namespace cognive::agents {

struct KnownAgent {
  Uuid team_id;
  AgentStatus status = AgentStatus::active;
  Policy policy;
};

// For one thread.
class KnownAgents {
 public:
  static constexpr std::chrono::milliseconds age_max{1'000};

  // Null when there is none. Throws Unavailable.
  Async<std::shared_ptr<const KnownAgent>> find(pg::Pool& database, Uuid id, Deadline deadline);

 private:
  static constexpr std::size_t kept_max = 10'000;

  struct Entry {
    std::shared_ptr<const KnownAgent> agent;
    std::chrono::steady_clock::time_point until;
  };
  std::unordered_map<Uuid, Entry> agents_;
};

}  // namespace cognive::agents
