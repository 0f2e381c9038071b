#include "redis/buckets.hpp"

#include <fmt/format.h>

#include "base/crypto.hpp"
#include "base/error.hpp"

namespace cognive::redis {
namespace {

// As base/rate_limiter.hpp: what is kept of a bucket is when it is full again, in microseconds of Redis' own clock, and
// a key is gone when it is. KEYS[1]: the bucket. ARGV: microseconds for a token, tokens that a bucket holds. Answers
// whether there was one, how many are left, the microseconds until there is one again and until the bucket is full.
constexpr std::string_view take_script = R"(
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval = tonumber(ARGV[1])
local capacity = interval * tonumber(ARGV[2])
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local after = full_at + interval
if after - now > capacity then
  return {0, 0, math.ceil(after - now - capacity), math.ceil(full_at - now)}
end
redis.call('SET', KEYS[1], string.format('%.3f', after), 'PX', math.ceil((after - now) / 1000))
return {1, math.floor((capacity - (after - now)) / interval), 0, math.ceil(after - now)}
)";

std::chrono::milliseconds milliseconds_of(const Reply& reply) {
  return std::chrono::ceil<std::chrono::milliseconds>(std::chrono::microseconds{reply.integer});
}

}  // namespace

Buckets::Buckets(Client& client) : client_(client), script_(take_script) {}

Async<std::optional<RateLimiter::Verdict>> Buckets::take(std::string_view policy, std::string_view key,
                                                         const RateLimit& limit) {
  const auto deadline = Deadline::in(patience);
  const auto name = fmt::format("cognive:limit:{}:{}", policy, key);
  const auto interval = fmt::format("{:.6f}", 1e6 / limit.per_second);
  const auto burst = std::to_string(limit.burst);
  try {
    const auto reply = co_await script_.run(client_, {name}, {interval, burst}, deadline);
    if (reply.items.size() != 4) co_return std::nullopt;
    co_return RateLimiter::Verdict{.allowed = reply.items[0].integer == 1,
                                   .remaining = reply.items[1].integer,
                                   .retry_after = milliseconds_of(reply.items[2]),
                                   .full_in = milliseconds_of(reply.items[3])};
  } catch (const Unavailable&) {
    co_return std::nullopt;
  }
}

}  // namespace cognive::redis
