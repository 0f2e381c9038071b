#include "embedded/restart_policy.hpp"

#include <gtest/gtest.h>

namespace cognive::embedded {
namespace {
using namespace std::chrono_literals;

TEST(RestartPolicy, waits_twice_as_long_after_each_death_and_gives_up_at_the_fifth_within_a_minute) {
  RestartPolicy policy;
  const RestartPolicy::TimePoint start{};
  EXPECT_EQ(policy.died(start), 1s);
  EXPECT_EQ(policy.died(start + 2s), 2s);
  EXPECT_EQ(policy.died(start + 5s), 4s);
  EXPECT_EQ(policy.died(start + 10s), 8s);
  EXPECT_EQ(policy.died(start + 60s), std::nullopt);
}

TEST(RestartPolicy, forgets_deaths_older_than_a_minute) {
  RestartPolicy policy;
  for (int minute = 0; minute < 20; ++minute) {
    EXPECT_EQ(policy.died(RestartPolicy::TimePoint{} + minute * 61s), 1s) << minute;
  }
}

}  // namespace
}  // namespace cognive::embedded
