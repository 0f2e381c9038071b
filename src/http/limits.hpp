// How many requests a caller may make: the limits, and the header fields that tell of them
// (draft-ietf-httpapi-ratelimit-headers-10: RateLimit-Policy and RateLimit).
#pragma once

#include <optional>
#include <string_view>

#include "base/error.hpp"
#include "base/rate_limiter.hpp"
#include "http/message.hpp"
#include "runtime/async.hpp"

namespace cognive::http {

// As one process counts, for all of its threads.
struct Limits {
  // Requests a second; 0 is no limit. A bucket holds ten seconds' worth.
  Limits(std::int64_t per_caller, std::int64_t per_address);

  std::optional<RateLimiter> by_caller;   // by the id of a key or user
  std::optional<RateLimiter> by_address;  // whoever asks from there
};

// Where processes count together. For one I/O thread.
class SharedBuckets {
 public:
  SharedBuckets() = default;
  SharedBuckets(const SharedBuckets&) = delete;
  SharedBuckets& operator=(const SharedBuckets&) = delete;
  virtual ~SharedBuckets() = default;
  // Nothing when it cannot be asked within moments. `policy`: the name of the limit.
  virtual Async<std::optional<RateLimiter::Verdict>> take(std::string_view policy, std::string_view key,
                                                          const RateLimit& limit) = 0;
};

// Of all processes together where that can be told, else of this one.
Async<RateLimiter::Verdict> take(SharedBuckets* shared, std::string_view policy, RateLimiter& limiter, std::string key);

// Adds the fields of one limit to an answer. `name`: of the policy.
void add_limit_fields(Response& response, std::string_view name, const RateLimiter& limiter,
                      const RateLimiter::Verdict& verdict);

// What a caller over a limit is told.
Error over_limit(std::string_view of_whom, const RateLimiter& limiter, const RateLimiter::Verdict& verdict);

}  // namespace cognive::http
