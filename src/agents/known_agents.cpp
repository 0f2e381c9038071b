#include "agents/known_agents.hpp"

#include "agents/store.hpp"

namespace cognive::agents {

Async<std::shared_ptr<const KnownAgent>> KnownAgents::find(pg::Pool& database, Uuid id, Deadline deadline) {
  const auto now = std::chrono::steady_clock::now();
  if (const auto known = agents_.find(id); known != agents_.end() && known->second.until > now)
    co_return known->second.agent;
  const auto found = co_await store::get_for_verdict(database, id, Principal{}, deadline);
  // One that is missing may be registered any moment.
  if (!found) co_return nullptr;
  auto agent = std::make_shared<const KnownAgent>(KnownAgent{found->team_id, found->status, policy_of(*found)});
  if (agents_.size() >= kept_max) agents_.clear();
  agents_[id] = {agent, now + age_max};
  co_return agent;
}

}  // namespace cognive::agents
