// How often something may happen: a token bucket per key, such as an address or an API key.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

namespace cognive {

// A bucket holds `burst` tokens at most and gets a new one `per_second` times a second.
struct RateLimit {
  double per_second = 1;
  std::int64_t burst = 1;
};

class RateLimiter {
 public:
  using Clock = std::chrono::steady_clock;

  struct Verdict {
    bool allowed = true;
    std::int64_t remaining = 0;                // whole tokens that are left
    std::chrono::milliseconds retry_after{0};  // until there is one again
    std::chrono::milliseconds full_in{0};      // until the bucket is full again
  };

  explicit RateLimiter(RateLimit limit) : limit_(limit) {}

  [[nodiscard]] const RateLimit& limit() const { return limit_; }

  // Takes a token when there is one. Safe on every thread.
  Verdict take(std::string_view key, Clock::time_point now = Clock::now());
  // Gives one back.
  void give_back(std::string_view key, Clock::time_point now = Clock::now());

 private:
  // Buckets are kept by when they are full again (GCRA): one that is full needs no keeping.
  static constexpr std::size_t shards = 16;
  static constexpr std::size_t kept_max = 4'096;  // per shard

  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };

  struct Shard {
    std::mutex mutex;
    std::unordered_map<std::string, Clock::time_point, Hash, std::equal_to<>> full_at;
  };

  [[nodiscard]] Clock::duration interval() const;
  Shard& shard_of(std::string_view key) { return shards_[Hash{}(key) % shards]; }
  static void make_room(Shard& shard, Clock::time_point now);

  RateLimit limit_;
  std::array<Shard, shards> shards_;
};

// One try of something of which only those count that were found to be wrong: whatever else becomes of it, the token
// that it took goes back.
class Attempt {
 public:
  // `limiter` must outlive it.
  Attempt(RateLimiter& limiter, std::string key)
      : limiter_(limiter), key_(std::move(key)), verdict_(limiter.take(key_)) {}
  Attempt(const Attempt&) = delete;
  Attempt& operator=(const Attempt&) = delete;
  ~Attempt() {
    if (verdict_.allowed && !is_wrong_) limiter_.give_back(key_);
  }

  [[nodiscard]] bool allowed() const { return verdict_.allowed; }
  [[nodiscard]] const RateLimiter::Verdict& verdict() const { return verdict_; }
  void was_wrong() { is_wrong_ = true; }

 private:
  RateLimiter& limiter_;
  std::string key_;
  RateLimiter::Verdict verdict_;
  bool is_wrong_ = false;
};

}  // namespace cognive
