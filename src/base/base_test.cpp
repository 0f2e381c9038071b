#include <gtest/gtest.h>

#include "base/decimal.hpp"
#include "base/position.hpp"
#include "base/text.hpp"
#include "base/time.hpp"
#include "base/uuid.hpp"

namespace cognive {
namespace {

std::string round_trip(std::string_view text) {
  const auto time = Timestamp::parse(text);
  return time ? time->text() : "refused";
}

TEST(Timestamp, reads_rfc_3339_and_writes_utc_microseconds) {
  EXPECT_EQ(round_trip("2026-11-23T06:02:00.123456Z"), "2026-11-23T06:02:00.123456Z");
  EXPECT_EQ(round_trip("2026-11-23t06:02:00z"), "2026-11-23T06:02:00.000000Z");
  EXPECT_EQ(round_trip("2026-11-23 06:02:00.1+02:30"), "2026-11-23T03:32:00.100000Z");
  EXPECT_EQ(round_trip("1969-12-31T23:59:59.9999999Z"), "1969-12-31T23:59:59.999999Z");
  EXPECT_EQ(round_trip("2016-12-31T23:59:60Z"), "2017-01-01T00:00:00.000000Z");
  EXPECT_EQ(round_trip("2024-02-29T00:00:00-00:00"), "2024-02-29T00:00:00.000000Z");
}

TEST(Timestamp, refuses_everything_else) {
  for (const auto* text : {"", "2026-11-23", "2026-11-23T06:02:00", "2026-02-29T00:00:00Z", "2026-11-23T24:00:00Z",
                           "2026-11-23T06:02:00.Z", "2026-11-23T06:02:00+2:00", "0000-01-01T00:00:00Z",
                           "9999-12-31T23:59:59-01:00", "2026-11-23T06:02:00Zx", "20261123T060200Z000000"}) {
    EXPECT_EQ(round_trip(text), "refused") << text;
  }
}

TEST(Uuid, is_read_in_either_case_and_nothing_else) {
  const auto id = Uuid::parse("0192F0C1-2345-7ABC-8DEF-0123456789AB");
  ASSERT_TRUE(id);
  EXPECT_EQ(id->text(), "0192f0c1-2345-7abc-8def-0123456789ab");
  for (const auto* text : {"", "0192f0c123457abc8def0123456789ab", "{0192f0c1-2345-7abc-8def-0123456789a}",
                           "0192f0c1-2345-7abc-8def-0123456789ag", "0192f0c1+2345-7abc-8def-0123456789ab"}) {
    EXPECT_FALSE(Uuid::parse(text)) << text;
  }
}

TEST(Uuid, made_ids_are_version_7_and_increase) {
  Uuid last;
  for (int i = 0; i < 100000; ++i) {
    const auto id = Uuid::make();
    ASSERT_LT(last, id);
    last = id;
  }
  EXPECT_EQ(last.bytes[6] >> 4, 7);
  EXPECT_EQ(last.bytes[8] >> 6, 2);
  EXPECT_LT(std::abs(last.time()->micros - Timestamp::now().micros), 5000000);
}

TEST(Uuid, bucket_is_the_day_of_a_version_7_id_and_one_constant_otherwise) {
  const auto time = *Timestamp::parse("2026-11-23T23:59:59.999Z");
  const auto id = Uuid::derived(time, std::span<const std::uint8_t, 16>(Uuid::make().bytes));
  EXPECT_EQ(date_text(bucket_of(id)), "2026-11-23");
  EXPECT_EQ(date_text(bucket_of(*Uuid::parse("6ba7b810-9dad-41d1-80b4-00c04fd430c8"))), "9999-12-31");
  EXPECT_EQ(date_text(bucket_of(*Uuid::parse("ffffffff-ffff-7fff-bfff-ffffffffffff"))), "9999-12-31");
  const auto at = [&id](std::string_view instant) {
    return date_text(bucket_of(Uuid::derived(*Timestamp::parse(instant), std::span<const std::uint8_t, 16>(id.bytes))));
  };
  EXPECT_EQ(at("2019-12-31T23:59:59.999Z"), "9999-12-31");
  EXPECT_EQ(at("2020-01-01T00:00:00Z"), "2020-01-01");
  EXPECT_EQ(at("2099-12-31T23:59:59.999Z"), "2099-12-31");
  EXPECT_EQ(at("2100-01-01T00:00:00Z"), "9999-12-31");
}

std::string decimal(std::string_view text) {
  const auto value = Decimal::parse(text);
  return value ? value->text() : "refused";
}

TEST(Decimal, keeps_every_digit_of_a_json_number) {
  EXPECT_EQ(decimal("2.5"), "2.5");
  EXPECT_EQ(decimal("0.08333333333333334"), "0.08333333333333334");
  EXPECT_EQ(decimal("-0"), "0");
  EXPECT_EQ(decimal("10"), "10");
  EXPECT_EQ(decimal("10.500"), "10.5");
  EXPECT_EQ(decimal("100.00"), "100");
  EXPECT_EQ(decimal("1e3"), "1000");
  EXPECT_EQ(decimal("1.5E-3"), "0.0015");
  EXPECT_EQ(decimal("-12.0340"), "-12.034");
  EXPECT_EQ(decimal("1000000000000000000000e-21"), "1");
  EXPECT_EQ(decimal("0.000000000000000001"), "0.000000000000000001");
}

TEST(Decimal, refuses_what_is_not_a_json_number_or_not_exact) {
  for (const auto* text : {"", "-", "+1", ".5", "5.", "01", "1e", "1e+", "0x10", "NaN", "1 ", "1234567890123456789",
                           "0.0000000000000000001", "1e19", "1e99999999999"}) {
    EXPECT_EQ(decimal(text), "refused") << text;
  }
}

TEST(NanoUsd, prints_dollars_with_nine_digits) {
  EXPECT_EQ(NanoUsd{374500}.text(), "0.000374500");
  EXPECT_EQ(NanoUsd{-1}.text(), "-0.000000001");
  EXPECT_EQ(NanoUsd{INT64_MIN}.text(), "-9223372036.854775808");
}

TEST(NanoUsd, is_rounded_up_where_it_must_not_be_less) {
  const auto nanos = [](std::string_view text) { return NanoUsd::at_least(*Decimal::parse(text))->nanos; };
  EXPECT_EQ(nanos("0.1"), 100'000'000);
  EXPECT_EQ(nanos("0.30000000000000004"), 300'000'001);
  EXPECT_EQ(nanos("0.000000000000000001"), 1);
  EXPECT_EQ(nanos("0"), 0);
  EXPECT_FALSE(NanoUsd::at_least(*Decimal::parse("99999999999999")));
}

TEST(Text, shortens_at_a_code_point) {
  EXPECT_EQ(shortened("abcé", 4), "abc…");
  EXPECT_EQ(shortened("abc", 3), "abc");
  EXPECT_EQ(grouped(-1234567), "-1,234,567");
  EXPECT_EQ(grouped(999), "999");
}

TEST(Position, travels_as_a_token_and_back) {
  for (const Position position : {Position{1, 1}, Position{1, 0x16B3748}, Position{0xFFFFFFFF, INT64_MAX}}) {
    const auto token = position.token();
    EXPECT_LE(token.size(), 25);
    EXPECT_EQ(Position::parse_token(token), position) << token;
  }
  EXPECT_EQ((Position{2, 0x1F}).token(), "2-1f");
  EXPECT_EQ(lsn_text(0x2'16B3748F), "2/16B3748F");
}

TEST(Position, refuses_every_token_that_it_has_not_made) {
  for (const auto* token : {"",
                            "-",
                            "1",
                            "1-",
                            "-1",
                            "0-1",
                            "1-0",
                            "0-0",
                            "01-1",
                            "1-01",
                            "1-G",
                            "A-1",
                            "1-A",
                            "+1-1",
                            "1-+1",
                            "1--1",
                            " 1-1",
                            "1-1 ",
                            "1-1-1",
                            "0x1-1",
                            "100000000-1",
                            "1-10000000000000000",
                            "1-8000000000000000",
                            "1-1\n",
                            "1/1"}) {
    EXPECT_FALSE(Position::parse_token(token)) << token;
  }
}

TEST(Position, of_a_later_timeline_is_later) {
  EXPECT_GT((Position{2, 1}), (Position{1, 100}));
  EXPECT_GT((Position{2, 2}), (Position{2, 1}));
}

}  // namespace
}  // namespace cognive
