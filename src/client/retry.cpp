#include "client/retry.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <thread>

#include "base/crypto.hpp"

namespace cognive::client {

Clock Clock::real() {
  return {.now = [] { return std::chrono::steady_clock::now(); },
          .sleep = [](std::chrono::milliseconds time) { std::this_thread::sleep_for(time); }};
}

std::chrono::milliseconds Backoff::next(std::optional<std::chrono::seconds> retry_after) {
  std::array<std::uint8_t, 4> random{};
  random_bytes(random);
  const auto draw = static_cast<std::int64_t>(std::bit_cast<std::uint32_t>(random));
  const std::chrono::milliseconds jitter{draw % (bound_.count() + 1)};
  bound_ = std::min(bound_ * 2, longest);
  return retry_after.value_or(std::chrono::seconds{0}) + jitter;
}

}  // namespace cognive::client
