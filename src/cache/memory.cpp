#include "cache/memory.hpp"

#include <fmt/format.h>

namespace cognive::cache {

std::string human_size(std::uint64_t bytes) {
  constexpr std::string_view units = "BKMGT";
  auto size = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; size >= 1024 && unit + 1 < units.size(); ++unit) size /= 1024;
  return unit == 0 ? fmt::format("{}B", bytes) : fmt::format("{:.2f}{}", size, units[unit]);
}

std::size_t Memory::bytes_of(const std::string& key, const Entry& entry) {
  constexpr std::size_t nodes = 96;  // of the map and the list
  return nodes + sizeof(Entry) + 2 * key.size() + (entry.text ? entry.text->size() : 0);
}

void Memory::erase(Entries::iterator entry) {
  bytes_ -= bytes_of(entry->first, entry->second);
  by_use_.erase(entry->second.place);
  entries_.erase(entry);
}

void Memory::shrink() {
  while (bytes_ > bytes_max_ && !by_use_.empty()) erase(entries_.find(by_use_.back()));
  bytes_peak_ = std::max(bytes_peak_, bytes_);
}

Looked Memory::look(const std::string& key, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  if (const auto known = entries_.find(key); known != entries_.end()) {
    auto& entry = known->second;
    if (entry.until > now) {
      if (!entry.text) return {.outcome = Looked::Outcome::taken};
      by_use_.splice(by_use_.begin(), by_use_, entry.place);
      return {.outcome = Looked::Outcome::found, .text = *entry.text};
    }
    erase(known);
  }
  by_use_.push_front(key);
  const Entry leased{.text = {}, .lease = ++leases_, .until = now + Store::lease_max, .place = by_use_.begin()};
  bytes_ += bytes_of(key, leased);
  entries_.emplace(key, leased);
  shrink();
  return {.outcome = Looked::Outcome::leased, .text = std::to_string(leases_)};
}

void Memory::fill(const std::string& key, const std::string& lease, std::optional<std::string> text,
                  std::chrono::milliseconds lifetime, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  const auto known = entries_.find(key);
  if (known == entries_.end() || std::to_string(known->second.lease) != lease) return;
  auto& entry = known->second;
  if (entry.text || entry.until <= now) return;
  if (!text) return erase(known);
  bytes_ -= bytes_of(key, entry);
  entry.text = std::move(text);
  entry.until = now + lifetime;
  bytes_ += bytes_of(key, entry);
  shrink();
}

void Memory::forget(const std::string& key) {
  const std::lock_guard lock(mutex_);
  if (const auto known = entries_.find(key); known != entries_.end()) erase(known);
}

StoreInfo Memory::info() const {
  const std::lock_guard lock(mutex_);
  return {.used_memory = human_size(bytes_),
          .used_memory_peak = human_size(bytes_peak_),
          .maxmemory = human_size(bytes_max_),
          .connected_clients = 1};
}

Async<Looked> MemoryStore::look(std::string key, Deadline) {
  co_return memory_.look(key, Memory::Clock::now());
}

Async<> MemoryStore::fill(std::string key, std::string lease, std::optional<std::string> text,
                          std::chrono::milliseconds lifetime, Deadline) {
  memory_.fill(key, lease, std::move(text), lifetime, Memory::Clock::now());
  co_return;
}

Async<> MemoryStore::forget(std::string key, Deadline) {
  memory_.forget(key);
  co_return;
}

Async<StoreInfo> MemoryStore::info(Deadline) {
  co_return memory_.info();
}

}  // namespace cognive::cache
