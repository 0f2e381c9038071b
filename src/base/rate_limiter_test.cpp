#include "base/rate_limiter.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace cognive {
namespace {

using namespace std::chrono_literals;
using Clock = RateLimiter::Clock;

constexpr RateLimit ten_at_once{.per_second = 2, .burst = 10};

TEST(RateLimiter, lets_a_burst_through_and_then_as_many_as_come_back) {
  RateLimiter limiter(ten_at_once);
  const Clock::time_point begin{1000h};
  for (int i = 0; i < 10; ++i) {
    const auto verdict = limiter.take("a", begin);
    EXPECT_TRUE(verdict.allowed);
    EXPECT_EQ(verdict.remaining, 9 - i);
  }
  const auto refused = limiter.take("a", begin);
  EXPECT_FALSE(refused.allowed);
  EXPECT_EQ(refused.remaining, 0);
  EXPECT_EQ(refused.retry_after, 500ms);
  EXPECT_EQ(refused.full_in, 5s);
  EXPECT_FALSE(limiter.take("a", begin + 499ms).allowed);
  EXPECT_TRUE(limiter.take("a", begin + 500ms).allowed);
  EXPECT_FALSE(limiter.take("a", begin + 999ms).allowed);
}

TEST(RateLimiter, refusals_cost_nothing) {
  RateLimiter limiter(ten_at_once);
  const Clock::time_point begin{1000h};
  for (int i = 0; i < 1000; ++i) limiter.take("a", begin);
  EXPECT_TRUE(limiter.take("a", begin + 500ms).allowed);
}

TEST(RateLimiter, keeps_keys_apart) {
  RateLimiter limiter({.per_second = 1, .burst = 1});
  const Clock::time_point now{1000h};
  EXPECT_TRUE(limiter.take("a", now).allowed);
  EXPECT_FALSE(limiter.take("a", now).allowed);
  EXPECT_TRUE(limiter.take("b", now).allowed);
}

TEST(RateLimiter, a_token_that_is_given_back_can_be_taken_again) {
  RateLimiter limiter({.per_second = 1, .burst = 2});
  const Clock::time_point now{1000h};
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(limiter.take("a", now).allowed);
    limiter.give_back("a", now);
  }
  limiter.give_back("a", now);
  EXPECT_EQ(limiter.take("a", now).remaining, 1) << "more came back than the bucket holds";
}

TEST(RateLimiter, a_hundred_thousand_keys_do_not_make_it_grow_without_end_nor_free_who_is_over) {
  RateLimiter limiter({.per_second = 1.0 / 3600, .burst = 1});
  const Clock::time_point now{1000h};
  for (int i = 0; i < 100'000; ++i) EXPECT_TRUE(limiter.take(std::to_string(i), now).allowed);
  EXPECT_TRUE(limiter.take("a", now).allowed);
  EXPECT_FALSE(limiter.take("a", now).allowed);
}

TEST(RateLimiter, whoever_is_over_the_limit_is_not_freed_by_many_others_who_are_not) {
  RateLimiter limiter({.per_second = 1.0 / 3600, .burst = 3});
  const Clock::time_point now{1000h};
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(limiter.take("a", now).allowed);
  for (int i = 0; i < 500'000; ++i) limiter.take(std::to_string(i), now);
  EXPECT_FALSE(limiter.take("a", now).allowed);
}

TEST(Attempt, counts_only_when_it_was_wrong) {
  RateLimiter limiter({.per_second = 1.0 / 3600, .burst = 2});
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(Attempt(limiter, "a").allowed());
  for (int i = 0; i < 2; ++i) Attempt(limiter, "a").was_wrong();
  EXPECT_FALSE(Attempt(limiter, "a").allowed());
  EXPECT_TRUE(Attempt(limiter, "b").allowed());
}

TEST(RateLimiter, threads_together_get_no_more_than_the_burst) {
  RateLimiter limiter({.per_second = 0.001, .burst = 1000});
  std::atomic<int> allowed = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int j = 0; j < 1000; ++j) allowed += limiter.take("a").allowed ? 1 : 0;
      });
    }
  }
  EXPECT_EQ(allowed, 1000);
}

}  // namespace
}  // namespace cognive
