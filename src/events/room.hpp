// The bound of what waits for commits: each request takes room before anything of it waits, and gives it back when it
// has been settled, or given up, on whatever way.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <utility>

#include "observe/metrics.hpp"

namespace cognive::events {

// Shared by all threads.
struct Bound {
  std::size_t bytes_max;
  std::atomic<std::size_t> bytes = 0;
  Gauge gauge;
};

// A share of it.
class Room {
 public:
  // Nothing when there is none. Where there is some, a request gets all it wants, so that a large one is served in the
  // end, too: the bound is exceeded by what comes at the same moment, and by what is made of those that are in.
  static std::optional<Room> take(std::shared_ptr<Bound> bound, std::size_t bytes) {
    if (bound->bytes.load() >= bound->bytes_max) return std::nullopt;
    Room room(std::move(bound));
    room.grow(bytes);
    return room;
  }
  Room(Room&& other) noexcept : bound_(std::move(other.bound_)), bytes_(std::exchange(other.bytes_, 0)) {}
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;
  Room& operator=(Room&&) = delete;
  ~Room() { give_back(); }

  // Never refused: its request is in.
  void grow(std::size_t bytes) {
    bound_->bytes += bytes;
    bytes_ += bytes;
    bound_->gauge.add(static_cast<double>(bytes));
  }

  void give_back() {
    if (bytes_ == 0) return;
    bound_->bytes -= bytes_;
    bound_->gauge.add(-static_cast<double>(bytes_));
    bytes_ = 0;
  }

 private:
  explicit Room(std::shared_ptr<Bound> bound) : bound_(std::move(bound)) {}

  std::shared_ptr<Bound> bound_;
  std::size_t bytes_ = 0;
};

}  // namespace cognive::events
