// When to repeat a request that may be repeated: exponential backoff with full jitter, within a deadline.
#pragma once

#include <chrono>
#include <functional>
#include <optional>

namespace cognive::client {

// Time as the retry loop sees it, so that tests need not wait.
struct Clock {
  std::function<std::chrono::steady_clock::time_point()> now;
  std::function<void(std::chrono::milliseconds)> sleep;

  static Clock real();
};

// The waits of one call. Each is drawn from zero to a bound that doubles (full jitter: callers that failed together do
// not come back together), on top of what the server asked for.
class Backoff {
 public:
  static constexpr std::chrono::milliseconds first{100};
  static constexpr std::chrono::milliseconds longest{5000};

  [[nodiscard]] std::chrono::milliseconds next(std::optional<std::chrono::seconds> retry_after);

 private:
  std::chrono::milliseconds bound_ = first;
};

}  // namespace cognive::client
