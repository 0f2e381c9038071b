// What calls add up to in memory, and how durations are kept.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "rollups/deltas.hpp"
#include "rollups/latency.hpp"

namespace cognive::rollups {
namespace {

Key key_of(std::int64_t micros, std::string_view model = "m") {
  return {.timestamp = {micros},
          .team_id = {},
          .agent_id = {},
          .environment = "production",
          .provider = "p",
          .model = model,
          .price_status = "priced"};
}

constexpr std::int64_t hour = 3'600'000'000;

TEST(Latency, of_a_bucket_is_within_five_percent_of_every_duration_in_it) {
  for (std::int64_t duration = 0; duration <= 366LL * 86'400'000;
       duration = std::max(duration + 1, duration * 1001 / 1000)) {
    const auto taken_for = latency_of_bucket(latency_bucket(duration));
    const auto off = std::abs(taken_for - duration);
    ASSERT_LE(off * 20, duration) << duration << " is taken for " << taken_for;
  }
}

TEST(Latency, bounds_never_change_since_they_are_stored) {
  const auto& bounds = latency_bounds();
  EXPECT_EQ(bounds.size(), 248U);
  EXPECT_EQ(bounds[10], 10);
  EXPECT_EQ(bounds[30], 46);
  EXPECT_EQ(bounds[100], 32'904);
  EXPECT_EQ(bounds.back(), 39986657645);
}

TEST(Deltas, add_up_calls_of_one_hour_and_key) {
  Deltas deltas;
  deltas.add(key_of(hour + 5),
             {.failed = true, .is_usage_known = true, .tokens = {10, 2, 3, 0}, .cost_nanos = 7, .duration_ms = 100});
  deltas.add(key_of(2 * hour - 1),
             {.failed = false, .is_usage_known = false, .tokens = {}, .cost_nanos = 0, .duration_ms = {}});
  deltas.add(key_of(2 * hour), Facts{});
  auto rows = deltas.rows();
  std::ranges::sort(rows, {}, &Deltas::Row::hour);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].hour.micros, hour);
  EXPECT_EQ(rows[0].model, "m");
  EXPECT_EQ(rows[0].environment, "production");
  const auto& sums = *rows[0].sums;
  EXPECT_EQ(sums.calls, 2);
  EXPECT_EQ(sums.errors, 1);
  EXPECT_EQ(sums.usage_calls, 1);
  EXPECT_EQ(sums.tokens, (std::array<std::int64_t, 4>{10, 2, 3, 0}));
  EXPECT_EQ(sums.cost_nanos, 7);
  EXPECT_EQ(sums.first_at.micros, hour + 5);
  EXPECT_EQ(sums.last_at.micros, 2 * hour - 1);
  EXPECT_EQ(sums.latencies.size(), 1U);
}

TEST(Deltas, merged_are_what_all_calls_together_would_be) {
  std::minstd_rand random{7};
  Deltas all;
  Deltas merged;
  for (int part = 0; part < 20; ++part) {
    Deltas some;
    for (int i = 0; i < 50; ++i) {
      const auto key = key_of(static_cast<std::int64_t>(random() % 3) * hour, i % 2 == 0 ? "a" : "b");
      const Facts facts{.failed = random() % 5 == 0,
                        .is_usage_known = true,
                        .tokens = {static_cast<std::int64_t>(random() % 1000), 1, 0, 0},
                        .cost_nanos = static_cast<std::int64_t>(random()),
                        .duration_ms = random() % 5000};
      some.add(key, facts);
      all.add(key, facts);
    }
    merged.merge(some);
  }
  const auto as_map = [](const Deltas& deltas) {
    std::map<std::pair<std::int64_t, std::string>, std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t>>
        out;
    for (const auto& row : deltas.rows())
      out[{row.hour.micros, row.model}] = {row.sums->calls, row.sums->errors, row.sums->tokens[0],
                                           row.sums->cost_nanos};
    return out;
  };
  EXPECT_EQ(as_map(all), as_map(merged));
}

TEST(Deltas, of_amounts_that_no_sum_can_hold_stand_in_rows_of_their_own) {
  Deltas deltas;
  for (int i = 0; i < 3; ++i)
    deltas.add(key_of(0),
               {.failed = false, .is_usage_known = true, .tokens = {}, .cost_nanos = INT64_MAX, .duration_ms = {}});
  Deltas others;
  others.merge(deltas);
  others.merge(deltas);
  const auto rows = others.rows();
  EXPECT_EQ(rows.size(), 6U);
  for (const auto& row : rows) EXPECT_EQ(row.sums->cost_nanos, INT64_MAX);
}

TEST(Deltas, of_a_call_that_moves_leave_nothing_behind) {
  Deltas deltas;
  const Facts facts{.failed = true, .is_usage_known = true, .tokens = {5, 6, 7, 8}, .cost_nanos = 9, .duration_ms = 10};
  deltas.add(key_of(1), facts);
  deltas.subtract(key_of(1), facts);
  const auto rows = deltas.rows();
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0].sums->calls, 0);
  EXPECT_EQ(rows[0].sums->cost_nanos, 0);
  EXPECT_EQ(rows[0].sums->tokens, (std::array<std::int64_t, 4>{}));
  EXPECT_EQ(rows[0].sums->latencies.front().second, 0);
}

}  // namespace
}  // namespace cognive::rollups
