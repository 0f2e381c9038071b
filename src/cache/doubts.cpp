#include "cache/doubts.hpp"

#include <algorithm>

namespace cognive::cache {

Doubts::Doubt* Doubts::find_or_make(const std::string& key, std::chrono::milliseconds lifetime) {
  if (const auto known = doubts_.find(key); known != doubts_.end()) return &known->second;
  if (doubts_.size() < kept_max) return &doubts_[key];
  nothing_before_ = std::max(nothing_before_, Clock::now() + lifetime);
  return nullptr;
}

void Doubts::note(const std::string& key, std::chrono::milliseconds lifetime) {
  const std::lock_guard lock(mutex_);
  auto* doubt = find_or_make(key, lifetime);
  if (doubt == nullptr) return;
  doubt->is_untold = true;
  doubt->noted_at = Clock::now();
}

void Doubts::note_again(const std::string& key, Clock::time_point at, std::chrono::milliseconds lifetime) {
  const std::lock_guard lock(mutex_);
  auto* doubt = find_or_make(key, lifetime);
  if (doubt != nullptr) doubt->again_at = std::max(doubt->again_at, at);
}

void Doubts::told(const std::string& key, Clock::time_point since) {
  const std::lock_guard lock(mutex_);
  const auto known = doubts_.find(key);
  if (known == doubts_.end()) return;
  auto& doubt = known->second;
  // Noted meanwhile, it is to be told once more.
  if (doubt.noted_at <= since) doubt.is_untold = false;
  if (doubt.again_at <= since) doubt.again_at = {};
  if (!doubt.is_untold && doubt.again_at == Clock::time_point{}) doubts_.erase(known);
}

bool Doubts::contains(const std::string& key) const {
  const std::lock_guard lock(mutex_);
  return doubts_.contains(key) || Clock::now() < nothing_before_;
}

bool Doubts::empty() const {
  const std::lock_guard lock(mutex_);
  return doubts_.empty();
}

std::vector<std::string> Doubts::due(Clock::time_point now) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> out;
  for (const auto& [key, doubt] : doubts_) {
    const bool is_again = doubt.again_at != Clock::time_point{} && doubt.again_at <= now;
    if (doubt.is_untold || is_again) out.push_back(key);
  }
  return out;
}

std::vector<std::string> Doubts::all() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> out;
  for (const auto& [key, doubt] : doubts_) out.push_back(key);
  return out;
}

}  // namespace cognive::cache
