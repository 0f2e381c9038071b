#include "base/rate_limiter.hpp"

namespace cognive {

RateLimiter::Clock::duration RateLimiter::interval() const {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(1.0 / limit_.per_second));
}

void RateLimiter::make_room(Shard& shard, Clock::time_point now) {
  if (shard.full_at.size() < kept_max) return;
  std::erase_if(shard.full_at, [&](const auto& bucket) { return bucket.second <= now; });
  if (shard.full_at.size() < kept_max) return;
  // Somebody plays many keys at once. Memory must have a bound, and whoever is forgotten gets a full bucket: so those
  // go that are nearest to it, and whoever is over the limit stays.
  std::vector<Clock::time_point> times;
  times.reserve(shard.full_at.size());
  for (const auto& [key, full_at] : shard.full_at) times.push_back(full_at);
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::ranges::nth_element(times, middle);
  std::erase_if(shard.full_at, [&](const auto& bucket) { return bucket.second <= *middle; });
}

RateLimiter::Verdict RateLimiter::take(std::string_view key, Clock::time_point now) {
  auto& shard = shard_of(key);
  const auto each = interval();
  const auto whole = each * limit_.burst;
  const std::scoped_lock lock(shard.mutex);
  auto place = shard.full_at.find(key);
  const auto full_at = place == shard.full_at.end() ? now : std::max(place->second, now);
  const auto after = full_at + each;
  Verdict out;
  out.allowed = after <= now + whole;
  if (out.allowed) {
    if (place == shard.full_at.end()) {
      make_room(shard, now);
      place = shard.full_at.try_emplace(std::string(key)).first;
    }
    place->second = after;
  } else {
    out.retry_after = std::chrono::ceil<std::chrono::milliseconds>(after - now - whole);
  }
  const auto in_use = (out.allowed ? after : full_at) - now;
  out.remaining = (whole - in_use) / each;
  out.full_in = std::chrono::ceil<std::chrono::milliseconds>(in_use);
  return out;
}

void RateLimiter::give_back(std::string_view key, Clock::time_point now) {
  auto& shard = shard_of(key);
  const std::scoped_lock lock(shard.mutex);
  const auto place = shard.full_at.find(key);
  if (place == shard.full_at.end()) return;
  place->second -= interval();
  if (place->second <= now) shard.full_at.erase(place);
}

}  // namespace cognive
