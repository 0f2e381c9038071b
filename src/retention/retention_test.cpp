#include "retention/retention.hpp"

#include <gtest/gtest.h>

namespace cognive::retention {
namespace {

TEST(OldestDay, is_nothing_when_everything_is_kept) {
  EXPECT_EQ(oldest_day(Settings{}), std::nullopt);
}

TEST(OldestDay, goes_with_the_day_of_utc_whatever_the_time) {
  Settings settings;
  settings.retention_days = 90;
  for (const auto* now : {"2026-11-24T00:00:00Z", "2026-11-24T23:59:59.999999Z"}) {
    const auto day = oldest_day(settings, *Timestamp::parse(now));
    ASSERT_TRUE(day.has_value());
    EXPECT_EQ(date_text(*day), "2026-08-26") << now;
  }
}

}  // namespace
}  // namespace cognive::retention
