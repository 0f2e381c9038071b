#include "budgets/charge_sets.hpp"

#include <algorithm>

#include "budgets/store.hpp"

namespace cognive::budgets {

Async<> refresh(CurrentCoverage& coverage, pg::Pool& database, Deadline deadline) {
  coverage.replace(co_await store::load(database, *coverage.get(), deadline));
}

ChargeSets::Key ChargeSets::key_of(const Definition& definition, const Covered& covered) {
  return {definition.id, definition.is_by_run() ? covered.run_id.value_or(Uuid{}) : Uuid{}};
}

std::vector<ChargeSets::Key> ChargeSets::look_up(std::span<Covered* const> covered) {
  const auto now = std::chrono::steady_clock::now();
  std::vector<Key> missing;
  const std::lock_guard lock(mutex_);
  for (auto* one : covered) {
    one->window_ids.clear();
    for (const auto& definition : one->budgets) {
      const auto key = key_of(*definition, *one);
      const auto known = windows_.find(key);
      const bool is_known = known != windows_.end() && known->second.until > now;
      one->window_ids.push_back(is_known ? known->second.id : 0);
      if (!is_known) missing.push_back(key);
    }
  }
  std::ranges::sort(missing);
  missing.erase(std::ranges::unique(missing).begin(), missing.end());
  return missing;
}

namespace {

store::WindowKey window_of_now(const std::pair<Uuid, Uuid>& key) {
  return {.budget_id = key.first, .run_id = key.second, .at = std::nullopt};
}

}  // namespace

Async<> ChargeSets::resolve(pg::Pool& database, std::span<Covered* const> covered, Deadline deadline) {
  if (const auto missing = look_up(covered); !missing.empty()) {
    const auto now = std::chrono::steady_clock::now();  // earlier than PostgreSQL's, so that none is kept too long
    std::vector<store::WindowKey> keys(missing.size());
    std::ranges::transform(missing, keys.begin(), window_of_now);
    const auto opened = co_await store::open(database, keys, deadline);
    {
      const std::lock_guard lock(mutex_);
      if (windows_.size() > remembered_max) windows_.clear();
      for (const auto& [key, window] : opened) windows_[{key.budget_id, key.run_id}] = {window.id, now + window.left};
    }
    // From what was found, not from what is remembered: others may have made that forget, and a window may just end.
    for (auto* one : covered) {
      for (std::size_t i = 0; i < one->budgets.size(); ++i) {
        const auto found = opened.find(window_of_now(key_of(*one->budgets[i], *one)));
        if (one->window_ids[i] == 0 && found != opened.end()) one->window_ids[i] = found->second.id;
      }
    }
  }
  for (auto* one : covered) {
    auto set = one->window_ids;
    std::ranges::sort(set);
    const auto first = std::ranges::upper_bound(set, 0);
    set.erase(set.begin(), first);
    one->charge_set_id = 0;
    if (set.empty()) continue;
    {
      const std::lock_guard lock(mutex_);
      if (const auto known = sets_.find(set); known != sets_.end()) one->charge_set_id = known->second;
    }
    if (one->charge_set_id != 0) continue;
    one->charge_set_id = co_await store::intern(database, set, deadline);
    const std::lock_guard lock(mutex_);
    if (sets_.size() > remembered_max) sets_.clear();
    sets_[set] = one->charge_set_id;
  }
}

void ChargeSets::forget() {
  const std::lock_guard lock(mutex_);
  windows_.clear();
  sets_.clear();
}

}  // namespace cognive::budgets
