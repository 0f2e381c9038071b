#include "backups/manifest.hpp"

#include <gtest/gtest.h>

namespace cognive::backups {
namespace {

using Tables = std::vector<TableContent>;

const Tables dumped{{.name = "agents", .rows = 3, .checksum = "12"}, {.name = "runs", .rows = 0, .checksum = "0"}};

TEST(Manifest, WhatIsTheSameHasNoDifference) {
  EXPECT_EQ(difference(dumped, dumped), "");
  EXPECT_EQ(difference(dumped, {dumped[1], dumped[0]}), "");
  EXPECT_EQ(difference({}, {}), "");
}

TEST(Manifest, EachDifferenceIsNamed) {
  EXPECT_EQ(difference(dumped, {dumped[0]}), "Table runs is missing.");
  EXPECT_EQ(difference({dumped[0]}, dumped), "Table runs was not dumped.");
  EXPECT_EQ(difference(dumped, {{.name = "agents", .rows = 2, .checksum = "12"}, dumped[1]}),
            "Table agents has 2 rows in place of 3.");
  EXPECT_EQ(difference(dumped, {{.name = "agents", .rows = 3, .checksum = "13"}, dumped[1]}),
            "Table agents has other rows than were dumped.");
}

}  // namespace
}  // namespace cognive::backups
