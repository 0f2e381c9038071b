#include <gtest/gtest.h>

#include "json/bind.hpp"

namespace cognive::json {
namespace {

enum class Colour { red, green };
constexpr auto enum_names(Colour) {
  return std::array{name(Colour::red, "red"), name(Colour::green, "green")};
}

struct Inner {
  std::int64_t count = 0;
  static constexpr auto fields() { return json::fields(field("count", &Inner::count, "", {.min = 0, .max = 10})); }
};

struct Sample {
  std::string title;
  std::optional<Colour> colour;
  std::vector<Inner> inners;
  std::map<std::string, std::int64_t> usage;
  Object metadata;
  std::optional<Timestamp> at;
  std::optional<Decimal> rate;

  static constexpr auto fields() {
    return json::fields(field("title", &Sample::title, "", {.min_length = 1, .max_length = 5}),
                        field("colour", &Sample::colour, ""), field("inners", &Sample::inners, "", {.optional = true}),
                        field("usage", &Sample::usage, "", {.min = 0, .optional = true}),
                        field("metadata", &Sample::metadata, "", {.max_length = 20, .optional = true}),
                        field("at", &Sample::at, ""), field("rate", &Sample::rate, ""));
  }
};

std::string faults_of(std::string text) {
  const auto result = decode<Sample>(std::move(text));
  if (result) return "none";
  std::string out = result.error().code == Code::malformed ? "malformed" : "";
  for (const auto& fault : result.error().fields) out += fault.pointer + " " + fault.message + "|";
  return out;
}

TEST(Bind, reads_every_kind_of_field_and_writes_it_back) {
  const std::string text =
      R"({"title":"é\n","colour":"green","inners":[{"count":3}],"usage":{"input_tokens":12},"metadata":{"a":[1.50,null]},)"
      R"("at":"2026-11-23T06:02:00.000000Z","rate":0.08333333333333334})";
  const auto value = decode<Sample>(text);
  ASSERT_TRUE(value) << value.error().detail;
  EXPECT_EQ(value->title, "é\n");
  EXPECT_EQ(encode(*value), text);
}

TEST(Bind, lists_every_fault_with_its_pointer) {
  EXPECT_EQ(
      faults_of(R"({"colour":"blue","inners":[{"count":1},{"count":11,"x/y":1}],"usage":{"a":-1},"title":"abcdef"})"),
      "/colour It must be one of: red, green.|/inners/1/count It must be at most 10.|"
      "/inners/1/x~1y There is no such field.|/usage/a It must be at least 0.|"
      "/title It must have at most 5 characters; it has 6.|");
  EXPECT_EQ(faults_of("{}"), "/title It is required.|");
  EXPECT_EQ(faults_of(R"({"title":"a","title":"b"})"), "/title The field appears more than once.|");
  EXPECT_EQ(faults_of(R"({"title":null})"), "/title It must be a string.|");
  EXPECT_EQ(faults_of(R"({"title":"a\u0000"})"), "/title It must not contain the character U+0000.|");
  EXPECT_EQ(faults_of(R"({"title":"a","metadata":{"a":"\u0000"}})"),
            "/metadata It must not contain the character U+0000.|");
  EXPECT_EQ(faults_of(R"({"title":"a","metadata":{"a":"012345678901234567890"}})"),
            "/metadata It must have at most 20 bytes; it has 29.|");
  EXPECT_EQ(faults_of("[]"), " It must be an object.|");
  EXPECT_EQ(faults_of("12"), " It must be an object.|");
}

TEST(Bind, integers_are_exact_or_refused) {
  const auto count = [](const std::string& number) {
    return faults_of(R"({"title":"a","inners":[{"count":)" + number + "}]}");
  };
  EXPECT_EQ(count("1.0e1"), "none");
  EXPECT_EQ(count("1.5"), "/inners/0/count It must be an integer.|");
  EXPECT_EQ(count("99999999999999999999999"), "/inners/0/count It is too large.|");
  EXPECT_EQ(count("1e999"), "/inners/0/count It is too large.|");
  EXPECT_EQ(count("\"1\""), "/inners/0/count It must be an integer.|");
}

TEST(Walk, refuses_what_is_not_json_wherever_it_stands) {
  const std::string deep(10'000'000, '[');
  for (const auto& text :
       {std::string(""), std::string("{"), std::string("{}{}"), std::string("{\"title\":tru}"),
        std::string("{\"unknown\":[1,,2]}"), std::string("{\"unknown\":01}"), std::string("{\"a\" 1}"),
        std::string("{\"unknown\":{\"deep\":nul}}"), std::string("nul"), std::string("\"\xff\""),
        std::string("{\"title\":\"\\ud800\"}"), std::string("{\"title\":\"a\nb\"}"), std::string("[1] 2"),
        std::string("{\"unknown\":-}"), std::string("1 2"), std::string("{\"title\":\"a\"]"), deep}) {
    EXPECT_EQ(faults_of(text), "malformed") << text.substr(0, 40);
  }
}

TEST(Walk, a_document_may_be_read_while_another_one_is) {
  std::string outer = R"([{"a":"first"},{"a":"second"}])";
  std::string seen;
  const auto walked = walk(outer, [&](Cursor& root) {
    root.each_item([&](std::size_t, Cursor& item) {
      std::string inner = R"({"x":["inner"]})" + std::string(10'000, ' ');
      EXPECT_TRUE(walk(inner, [](Cursor& value) { value.skip(); }));
      item.each_field([&](std::string_view, Cursor& value) { seen += value.string(); });
    });
  });
  EXPECT_TRUE(walked);
  EXPECT_EQ(seen, "firstsecond");
}

TEST(Walk, says_what_is_wrong) {
  const auto result = decode<Sample>(std::string(100, '['));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().detail, "The body is not valid JSON: it is nested deeper than 64 levels.");
}

TEST(Writer, escapes_what_json_demands) {
  EXPECT_EQ(quoted("a\"\\\n\t\x01é/"), "\"a\\\"\\\\\\n\\t\\u0001é/\"");
}

TEST(Faults, are_bounded) {
  std::string text = R"({"title":"a")";
  for (int i = 0; i < 1000; ++i) text += ",\"f" + std::to_string(i) + "\":1";
  const auto result = decode<Sample>(text + "}");
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().fields.size(), Faults::kept_max + 1);
  EXPECT_EQ(result.error().fields.back().message, "There are 900 more faults.");
}

}  // namespace
}  // namespace cognive::json
