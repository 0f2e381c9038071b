// When a server that died is started again, and when that is hopeless.
#pragma once

#include <chrono>
#include <deque>
#include <optional>

namespace cognive::embedded {

class RestartPolicy {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  static constexpr std::size_t deaths_max = 5;
  static constexpr std::chrono::seconds window{60};

  // The server died, or its start failed. How long to wait before the next start: 1 s, doubled for each earlier death
  // of the last minute; nothing when this is the fifth of them.
  std::optional<std::chrono::seconds> died(TimePoint now);

 private:
  std::deque<TimePoint> deaths_;
};

}  // namespace cognive::embedded
