// What a caller who knows no consistency tokens wrote last: remembered for a while, for many callers, not for all.
#include "http/recent_writes.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace cognive::http {
namespace {

using std::chrono::milliseconds;

TEST(RecentWrites, are_each_callers_own_latest) {
  RecentWrites writes(milliseconds{60'000});
  const auto caller = Uuid::make();
  EXPECT_FALSE(writes.find(caller));
  writes.note(caller, {1, 200});
  writes.note(caller, {1, 100});
  writes.note(Uuid::make(), {1, 300});
  EXPECT_EQ(writes.find(caller), (Position{1, 200}));
  writes.note(caller, {2, 50});
  EXPECT_EQ(writes.find(caller), (Position{2, 50}));
}

TEST(RecentWrites, are_forgotten_after_their_lifetime) {
  RecentWrites writes(milliseconds{20});
  const auto caller = Uuid::make();
  writes.note(caller, {1, 100});
  std::this_thread::sleep_for(milliseconds{40});
  EXPECT_FALSE(writes.find(caller));
}

TEST(RecentWrites, of_the_latest_callers_stay_when_there_are_too_many) {
  RecentWrites writes(milliseconds{600'000});
  constexpr std::size_t many = 45'000;
  std::vector<Uuid> callers;
  for (std::size_t i = 0; i < many; ++i) {
    callers.push_back(Uuid::make());
    writes.note(callers.back(), {1, i + 1});
  }
  EXPECT_FALSE(writes.find(callers.front()));
  for (std::size_t i = many - 1'000; i < many; ++i) EXPECT_EQ(writes.find(callers[i]), (Position{1, i + 1}));
}

}  // namespace
}  // namespace cognive::http
