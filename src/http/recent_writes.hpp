// What each caller wrote last, so that a client that knows nothing of consistency tokens still reads its own writes
// through the process that took them.
#pragma once

#include <chrono>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "base/position.hpp"
#include "base/uuid.hpp"

namespace cognive::http {

// Safe on every thread. Bounded: callers who wrote longest ago are forgotten first.
class RecentWrites {
 public:
  // `lifetime`: after it a replica within the lag limit has replayed the write anyway.
  explicit RecentWrites(std::chrono::milliseconds lifetime) : lifetime_(lifetime) {}

  void note(const Uuid& caller, Position position);
  [[nodiscard]] std::optional<Position> find(const Uuid& caller) const;

 private:
  struct Write {
    Position position;
    std::chrono::steady_clock::time_point at;
  };

  void forget_old(std::chrono::steady_clock::time_point now);

  std::chrono::milliseconds lifetime_;
  mutable std::mutex mutex_;
  std::unordered_map<Uuid, Write> writes_;
};

}  // namespace cognive::http
