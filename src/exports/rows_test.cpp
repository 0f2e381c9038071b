#include "exports/rows.hpp"

#include <gtest/gtest.h>

namespace cognive::exports {
namespace {

std::string csv(std::string row, std::vector<std::string_view> columns) {
  std::string out;
  append_csv(out, row, columns);
  return out;
}

TEST(ExportRows, ValuesAreWrittenAsTheyAre) {
  EXPECT_EQ(csv(R"({"a":0.000374500,"b":null,"c":true,"d":"plain"})", {"a", "b", "c", "d"}),
            "0.000374500,,true,plain\r\n");
}

TEST(ExportRows, WhatWouldBreakALineIsQuoted) {
  EXPECT_EQ(csv(R"({"a":"x,y","b":"say \"it\"","c":"two\nlines","d":{"k":"v"}})", {"a", "b", "c", "d"}),
            "\"x,y\",\"say \"\"it\"\"\",\"two\nlines\",\"{\"\"k\"\":\"\"v\"\"}\"\r\n");
}

TEST(ExportRows, NoTextIsAFormulaForASpreadsheetAndNegativeNumbersStay) {
  EXPECT_EQ(csv(R"({"a":"=1+1","b":"@SUM","c":-1,"d":"-x"})", {"a", "b", "c", "d"}),
            "\"'=1+1\",\"'@SUM\",-1,\"'-x\"\r\n");
}

TEST(ExportRows, ARowOfOtherColumnsIsAFault) {
  EXPECT_THROW(csv(R"({"a":1,"c":2})", {"a", "b"}), std::logic_error);
  EXPECT_THROW(csv(R"({"a":1})", {"a", "b"}), std::logic_error);
  EXPECT_THROW(csv(R"({"a":1,"b":2,"c":3})", {"a", "b"}), std::logic_error);
}

TEST(ExportRows, EveryKindButReplayHasAHeader) {
  for (const auto kind : {ExportKind::calls, ExportKind::runs, ExportKind::costs, ExportKind::audit}) {
    std::string header;
    append_header(header, columns_of(kind));
    EXPECT_TRUE(header.ends_with("\r\n") && header.find("id") != std::string::npos) << header;
  }
  EXPECT_TRUE(columns_of(ExportKind::replay).empty());
}

}  // namespace
}  // namespace cognive::exports
