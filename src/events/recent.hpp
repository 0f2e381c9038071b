// The keys of the events that went through lately, so that most repeats are recognised before they make a copy fail.
// Remembers hashes only: to take a new event for a repeat costs a little time, nothing else.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/crypto.hpp"
#include "events/events.hpp"

namespace cognive::events {

class RecentKeys {
 public:
  // Whether the key was there already; it is now. The last 100,000 are remembered, at least.
  bool insert(EventType type, const Uuid& run_id, const Uuid& id) {
    const auto hash = hash_of(type, run_id, id);
    if (contains(old_, hash)) return true;
    if (!put(new_, hash)) return true;
    if (++count_ >= kept) {
      std::swap(new_, old_);
      new_.assign(slots, 0);
      count_ = 0;
    }
    return false;
  }

 private:
  static constexpr std::size_t slots = std::size_t{1} << 18;
  static constexpr std::size_t kept = 100'000;

  [[nodiscard]] std::uint64_t hash_of(EventType type, const Uuid& run_id, const Uuid& id) const {
    const std::uint64_t hash = std::hash<Uuid>{}(run_id) * 0x9E3779B97F4A7C15ULL ^ std::hash<Uuid>{}(id);
    const auto mixed = (hash ^ hash >> 29) * multiplier_ + static_cast<std::uint64_t>(type);
    return (mixed ^ mixed >> 32) | 1;  // 0 is an empty slot
  }

  static bool contains(const std::vector<std::uint64_t>& table, std::uint64_t hash) {
    for (auto at = hash >> 1 & (slots - 1); table[at] != 0; at = (at + 1) & (slots - 1)) {
      if (table[at] == hash) return true;
    }
    return false;
  }

  // False when it is there already.
  static bool put(std::vector<std::uint64_t>& table, std::uint64_t hash) {
    auto at = hash >> 1 & (slots - 1);
    for (; table[at] != 0; at = (at + 1) & (slots - 1)) {
      if (table[at] == hash) return false;
    }
    table[at] = hash;
    return true;
  }

  static std::uint64_t odd_random() {
    std::array<std::uint8_t, 8> bytes{};
    random_bytes(bytes);
    return std::bit_cast<std::uint64_t>(bytes) | 1;
  }

  std::uint64_t multiplier_ = odd_random();  // nobody can choose ids that meet in one slot
  std::vector<std::uint64_t> new_ = std::vector<std::uint64_t>(slots);
  std::vector<std::uint64_t> old_ = std::vector<std::uint64_t>(slots);
  std::size_t count_ = 0;
};

}  // namespace cognive::events
