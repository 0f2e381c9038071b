#include "events/events.hpp"

#include <gtest/gtest.h>

namespace cognive::events {
namespace {

const Timestamp now = *Timestamp::parse("2026-11-24T00:00:00Z");

struct Parsed {
  std::optional<Event> event;
  std::string faults;
};

Parsed parse(std::string text) {
  Parsed out;
  json::Faults faults;
  const auto walked = json::walk(text, [&](json::Cursor& in) {
    if (!read_event(in, out.event.emplace(), faults, now)) out.event.reset();
  });
  if (!walked) out.faults = walked.error().detail;
  for (const auto& fault : faults.take()) out.faults += fault.pointer + " " + fault.message + "|";
  return out;
}

constexpr std::string_view ids =
    R"("id":"0192f0c1-2345-7abc-8def-0123456789ab","run_id":"0192f0c1-2345-7abc-8def-0123456789ac")";

TEST(Event, the_type_may_stand_anywhere) {
  const auto call =
      parse("{" + std::string(ids) + R"(,"model":"gpt-4o","usage":{"input_tokens":3},"type":"llm_call"})");
  ASSERT_TRUE(call.event) << call.faults;
  EXPECT_EQ(call.event->type(), EventType::llm_call);
  EXPECT_EQ(call.event->timestamp, now);
  const auto step =
      parse(R"({"type":"step",)" + std::string(ids) + R"(,"index":3,"kind":"llm","name":"plan","input":{"deep":[1]}})");
  ASSERT_TRUE(step.event) << step.faults;
  EXPECT_EQ(std::get<Step>(step.event->body).name, "plan");
}

TEST(Event, an_empty_object_is_one_bad_event_and_nothing_else) {
  std::string batch = R"([{},{"type":"step"},{}])";
  std::vector<std::size_t> counts;
  const auto walked = json::walk(batch, [&](json::Cursor& root) {
    root.each_item([&](std::size_t, json::Cursor& item) {
      json::Faults faults;
      Event event;
      EXPECT_FALSE(read_event(item, event, faults, now));
      counts.push_back(faults.count());
    });
  });
  EXPECT_TRUE(walked);
  EXPECT_EQ(counts, (std::vector<std::size_t>{1, 5, 1}));
}

TEST(Event, broken_json_is_refused_where_the_type_is_looked_for) {
  EXPECT_NE(parse(R"({,typ:"s_"eim)").faults.find("not valid JSON"), std::string::npos);
  EXPECT_NE(parse(R"({"id":1,"type":"step\x"})").faults.find("not valid JSON"), std::string::npos);
}

TEST(Event, every_fault_is_reported) {
  EXPECT_EQ(parse(R"({"type":"call"})").faults, "/type It must be one of: llm_call, tool_invocation, step.|");
  EXPECT_EQ(parse(R"([1])").faults, " It must be an object.|");
  EXPECT_EQ(
      parse("{" + std::string(ids) + R"(,"type":"llm_call","model":"m","usage":{"input_tokens":-1},"x":1})").faults,
      "/usage/input_tokens It must be at least 0.|/x There is no such field.|");
  EXPECT_EQ(parse("{" + std::string(ids) +
                  R"(,"type":"llm_call","model":"m","usage":{"input_tokens":1,"cache_read_tokens":2,"y":1}})")
                .faults,
            "/usage/y There is no such unit of usage.|/usage/cache_read_tokens It is part of input_tokens and must not "
            "exceed it.|");
  EXPECT_EQ(
      parse("{" + std::string(ids) + R"(,"type":"tool_invocation","tool":"t","timestamp":"2026-11-26T00:00:00Z"})")
          .faults,
      "/timestamp It must lie between 1970 and tomorrow.|");
}

TEST(Event, content_is_told_apart_but_not_by_when_it_arrived) {
  ContentHash key(Digest{});
  const auto hash = [&key](const std::string& rest) {
    return key.of(*parse("{" + std::string(ids) + R"(,"type":"llm_call")" + rest + "}").event);
  };
  const auto base = hash(R"(,"model":"m","usage":{"input_tokens":1,"output_tokens":2})");
  EXPECT_EQ(base, hash(R"(,"usage":{"output_tokens":2,"input_tokens":1},"model":"m","metadata":null)"));
  EXPECT_NE(base, hash(R"(,"model":"n","usage":{"input_tokens":1,"output_tokens":2})"));
  EXPECT_NE(base, hash(R"(,"model":"m","usage":{"input_tokens":1,"output_tokens":3})"));
  EXPECT_NE(base, hash(R"(,"model":"m","usage":{"input_tokens":1,"output_tokens":2},"duration_ms":0)"));
}

TEST(Event, the_hash_of_its_content_takes_a_key) {
  const auto event = *parse("{" + std::string(ids) + R"(,"type":"step","index":1,"kind":"k","name":"n"})").event;
  Digest other{};
  other[0] = 1;
  ContentHash one(Digest{});
  ContentHash same(Digest{});
  ContentHash another(other);
  EXPECT_EQ(one.of(event), one.of(event));
  EXPECT_EQ(one.of(event), same.of(event));
  EXPECT_NE(one.of(event), another.of(event));
}

}  // namespace
}  // namespace cognive::events
