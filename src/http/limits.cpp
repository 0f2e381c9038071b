#include "http/limits.hpp"

namespace cognive::http {
namespace {

constexpr std::int64_t window_s = 10;

void begin(std::optional<RateLimiter>& limiter, std::int64_t per_second) {
  if (per_second > 0) limiter.emplace(RateLimit{static_cast<double>(per_second), per_second * window_s});
}

std::int64_t seconds(std::chrono::milliseconds duration) {
  return std::chrono::ceil<std::chrono::seconds>(duration).count();
}

}  // namespace

Limits::Limits(std::int64_t per_caller, std::int64_t per_address) {
  begin(by_caller, per_caller);
  begin(by_address, per_address);
}

Async<RateLimiter::Verdict> take(SharedBuckets* shared, std::string_view policy, RateLimiter& limiter,
                                 std::string key) {
  if (shared != nullptr) {
    if (const auto verdict = co_await shared->take(policy, key, limiter.limit())) co_return *verdict;
  }
  co_return limiter.take(key);
}

void add_limit_fields(Response& response, std::string_view name, const RateLimiter& limiter,
                      const RateLimiter::Verdict& verdict) {
  response.headers.emplace_back("RateLimit-Policy",
                                fmt::format("\"{}\";q={};w={}", name, limiter.limit().burst, window_s));
  response.headers.emplace_back("RateLimit",
                                fmt::format("\"{}\";r={};t={}", name, verdict.remaining, seconds(verdict.full_in)));
}

Error over_limit(std::string_view of_whom, const RateLimiter& limiter, const RateLimiter::Verdict& verdict) {
  return {
      Code::too_many,
      fmt::format("Too many requests of this {}: {} in {} s are possible.", of_whom, limiter.limit().burst, window_s),
      {},
      std::max<std::int64_t>(1, seconds(verdict.retry_after))};
}

}  // namespace cognive::http
