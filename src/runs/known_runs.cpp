#include "runs/known_runs.hpp"

namespace cognive::runs {

std::shared_ptr<const KnownRun> KnownRuns::find(const Uuid& id) {
  auto& place = shard(id);
  const std::lock_guard lock(place.mutex);
  const auto found = place.runs.find(id);
  if (found == place.runs.end()) return nullptr;
  if (found->second.until > std::chrono::steady_clock::now()) return found->second.run;
  place.runs.erase(found);
  return nullptr;
}

KnownRuns::Ticket KnownRuns::ticket(const Uuid& id) {
  auto& place = shard(id);
  const std::lock_guard lock(place.mutex);
  return place.changes;
}

void KnownRuns::put(const Uuid& id, std::shared_ptr<const KnownRun> run, Ticket ticket) {
  auto& place = shard(id);
  const auto now = std::chrono::steady_clock::now();
  const std::lock_guard lock(place.mutex);
  if (place.changes != ticket) return;
  if (place.runs.size() >= kept_max) {
    std::erase_if(place.runs, [now](const auto& one) { return one.second.until <= now; });
    if (place.runs.size() >= kept_max) place.runs.erase(place.runs.begin());
  }
  place.runs[id] = {std::move(run), now + age_max};
}

void KnownRuns::forget(const Uuid& id) {
  auto& place = shard(id);
  const std::lock_guard lock(place.mutex);
  ++place.changes;
  place.runs.erase(id);
}

void KnownRuns::forget_agent(const Uuid& agent_id) {
  for (auto& place : shards_) {
    const std::lock_guard lock(place.mutex);
    ++place.changes;
    std::erase_if(place.runs, [&](const auto& one) { return one.second.run->agent_id == agent_id; });
  }
}

}  // namespace cognive::runs
