#include "http/recent_writes.hpp"

#include <algorithm>

namespace cognive::http {
namespace {

constexpr std::size_t callers_max = 20'000;

}  // namespace

void RecentWrites::note(const Uuid& caller, Position position) {
  const auto now = std::chrono::steady_clock::now();
  const std::lock_guard lock(mutex_);
  if (writes_.size() >= callers_max && !writes_.contains(caller)) forget_old(now);
  auto& write = writes_[caller];
  write.position = std::max(write.position, position);
  write.at = now;
}

std::optional<Position> RecentWrites::find(const Uuid& caller) const {
  const std::lock_guard lock(mutex_);
  const auto found = writes_.find(caller);
  if (found == writes_.end() || std::chrono::steady_clock::now() - found->second.at > lifetime_) return std::nullopt;
  return found->second.position;
}

void RecentWrites::forget_old(std::chrono::steady_clock::time_point now) {
  std::erase_if(writes_, [&](const auto& entry) { return now - entry.second.at > lifetime_; });
  if (writes_.size() < callers_max) return;
  // All of them are recent: the older half goes, in one pass for many callers to come.
  std::vector<std::chrono::steady_clock::time_point> times;
  for (const auto& [caller, write] : writes_) times.push_back(write.at);
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::ranges::nth_element(times, middle);
  std::erase_if(writes_, [&](const auto& entry) { return entry.second.at <= *middle; });
}

}  // namespace cognive::http
