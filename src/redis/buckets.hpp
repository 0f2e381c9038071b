// Token buckets that several processes share: how often somebody may ask of all of them together.
#pragma once

#include "http/limits.hpp"
#include "redis/script.hpp"

namespace cognive::redis {

// For one I/O thread.
class Buckets final : public http::SharedBuckets {
 public:
  // Whoever asks waits for no longer than that; then the process counts by itself.
  static constexpr std::chrono::milliseconds patience{50};

  // `client` must outlive it.
  explicit Buckets(Client& client);

  Async<std::optional<RateLimiter::Verdict>> take(std::string_view policy, std::string_view key,
                                                  const RateLimit& limit) override;

 private:
  Client& client_;
  Script script_;
};

}  // namespace cognive::redis
