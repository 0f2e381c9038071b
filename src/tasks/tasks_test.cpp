#include "tasks/tasks.hpp"

#include <gtest/gtest.h>

namespace cognive::tasks {
namespace {

using std::chrono::milliseconds;

constexpr Definition definition{
    .name = "a.task", .backoff_first = milliseconds{1'000}, .backoff_max = milliseconds{60'000}};

TEST(Backoff, doubles_up_to_its_maximum) {
  EXPECT_EQ(backoff(definition, 1, 1.0), milliseconds{1'000});
  EXPECT_EQ(backoff(definition, 2, 1.0), milliseconds{2'000});
  EXPECT_EQ(backoff(definition, 6, 1.0), milliseconds{32'000});
  EXPECT_EQ(backoff(definition, 7, 1.0), milliseconds{60'000});
}

TEST(Backoff, never_overflows_however_many_attempts) {
  for (const std::int32_t attempt : {40, 64, 1'000, INT32_MAX})
    EXPECT_EQ(backoff(definition, attempt, 1.0), milliseconds{60'000});
}

TEST(Backoff, is_not_negative_for_numbers_that_no_attempt_has) {
  for (const std::int32_t attempt : {0, -1, INT32_MIN + 1})
    EXPECT_EQ(backoff(definition, attempt, 1.0), milliseconds{1'000});
}

TEST(Backoff, lies_anywhere_below_the_longest_wait) {
  EXPECT_EQ(backoff(definition, 3, 0.0), milliseconds{0});
  EXPECT_EQ(backoff(definition, 3, 0.5), milliseconds{2'000});
  std::set<milliseconds> seen;
  for (int i = 0; i < 200; ++i) {
    const auto wait = backoff(definition, 3);
    EXPECT_GE(wait, milliseconds{0});
    EXPECT_LE(wait, milliseconds{4'000});
    seen.insert(wait);
  }
  EXPECT_GT(seen.size(), 100U);
}

TEST(Jitter, stays_within_half_of_the_duration_to_both_sides) {
  for (int i = 0; i < 200; ++i) {
    const auto wait = jittered(milliseconds{1'000});
    EXPECT_GE(wait, milliseconds{500});
    EXPECT_LE(wait, milliseconds{1'500});
  }
}

TEST(KeptError, is_bounded_and_holds_no_secret) {
  EXPECT_EQ(kept_error("the table is away"), "the table is away");
  EXPECT_LE(kept_error(std::string(100'000, 'x')).size(), 1'010U);
  EXPECT_EQ(kept_error("").empty(), false);
  EXPECT_EQ(kept_error(std::string("a\0b", 3)), "ab");
  const auto kept = kept_error("could not log in with password=hunter2hunter2 at the host");
  EXPECT_EQ(kept.find("hunter2"), std::string::npos) << kept;
}

TEST(Handlers, are_found_by_name_and_tell_their_queues) {
  Handlers handlers;
  handlers.add(definition, {});
  handlers.add({.name = "b.task", .queue = "slow"}, {});
  EXPECT_NE(handlers.find("a.task"), nullptr);
  EXPECT_EQ(handlers.find("c.task"), nullptr);
  EXPECT_EQ(handlers.names(), (std::vector<std::string>{"a.task", "b.task"}));
  EXPECT_EQ(handlers.queues(), (std::vector<std::string>{"default", "slow"}));
  EXPECT_THROW(handlers.add(definition, {}), std::logic_error);
}

TEST(NewTask, has_what_its_definition_says) {
  const auto task = NewTask::of({.name = "b.task", .queue = "slow", .attempts_max = 3, .time_limit = milliseconds{7}},
                                R"({"a":1})", "key");
  EXPECT_EQ(task.name, "b.task");
  EXPECT_EQ(task.queue, "slow");
  EXPECT_EQ(task.attempts_max, 3);
  EXPECT_EQ(task.time_limit, milliseconds{7});
  EXPECT_EQ(task.payload, R"({"a":1})");
  EXPECT_EQ(task.key, "key");
}

}  // namespace
}  // namespace cognive::tasks
