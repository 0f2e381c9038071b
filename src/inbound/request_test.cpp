// Messages of the inbound queues and the requests that they stand for. What becomes of them:
// tests/api/rabbitmq_test.py.
#include "inbound/request.hpp"

#include <gtest/gtest.h>

namespace cognive::inbound {
namespace {

amqp::Delivery message(std::string queue, std::string body, std::string content_type = "application/json") {
  amqp::Delivery out;
  out.queue = std::move(queue);
  out.body = std::move(body);
  out.properties.content_type = std::move(content_type);
  out.properties.headers = {{"X-API-Key", "cgv_key"}};
  return out;
}

Result<http::Request> read(const amqp::Delivery& delivery) {
  return request_of(delivery, 1'000);
}

TEST(Request, of_one_event_is_a_batch_of_it) {
  const auto request = read(message("agent.llm.calls", R"({ "id":"x", "model":"gpt" })"));
  ASSERT_TRUE(request);
  EXPECT_EQ(request->method + " " + request->instance, "POST /api/v1/events");
  EXPECT_EQ(request->body, R"([{"type":"llm_call","id":"x","model":"gpt"}])");
  EXPECT_EQ(request->header("x-api-key"), "cgv_key");
}

TEST(Request, says_what_an_event_is_when_the_queue_does_and_it_does_not_itself) {
  EXPECT_EQ(read(message("agent.tool.invocations", R"({"id":"x"})"))->body, R"([{"type":"tool_invocation","id":"x"}])");
  EXPECT_EQ(read(message("agent.llm.calls", R"({"type":"step"})"))->body, R"([{"type":"step"}])");
  EXPECT_EQ(read(message("agent.runs.events", R"({"id":"x"})"))->body, R"([{"id":"x"}])");
}

TEST(Request, may_say_in_which_characters_it_is_written) {
  EXPECT_TRUE(read(message("agent.llm.calls", "{}", "application/json; charset=utf-8")));
}

TEST(Request, of_an_array_or_of_lines_is_what_they_are) {
  EXPECT_EQ(read(message("agent.llm.calls", R"([ {"id":"x"} ])"))->body, R"([ {"id":"x"} ])");
  const auto lines = read(message("agent.llm.calls", "{}\n{}", "application/x-ndjson"));
  EXPECT_EQ(lines->body, "{}\n{}");
  EXPECT_EQ(lines->header("content-type"), "application/x-ndjson");
}

TEST(Request, about_a_run_is_that_of_its_route) {
  const auto start = read(message("agent.runs.events", R"({"type":"run_start","run_id":"r","agent_id":"a"})"));
  EXPECT_EQ(start->instance, "/api/v1/runs/start");
  EXPECT_EQ(start->body, R"({"run_id":"r","agent_id":"a"})");
  const auto end = read(message("agent.runs.events", R"({"run_id":"r","type":"run_end","status":"failed"})"));
  EXPECT_EQ(end->instance, "/api/v1/runs/r/end");
  EXPECT_EQ(end->body, R"({"status":"failed"})");
  // It may come twice, and must not begin two runs.
  EXPECT_EQ(read(message("agent.runs.events", R"({"type":"run_start","agent_id":"a"})")).error().code,
            Code::unprocessable);
}

TEST(Request, of_somebody_is_told_from_those_of_others_without_the_key) {
  auto other = message("agent.llm.calls", "{}");
  other.properties.headers = {{"api_key", "cgv_other"}};
  const auto mine = read(message("agent.llm.calls", "{}"));
  const auto theirs = read(other);
  EXPECT_NE(mine->address, theirs->address);
  EXPECT_EQ(theirs->header("x-api-key"), "cgv_other");
  EXPECT_EQ(theirs->address.find("cgv"), std::string::npos);
}

TEST(Request, is_none_of_what_nobody_can_read) {
  EXPECT_EQ(read(message("agent.llm.calls", "{")).error().code, Code::malformed);
  EXPECT_EQ(read(message("agent.llm.calls", "")).error().code, Code::malformed);
  EXPECT_EQ(read(message("agent.llm.calls", "{}", "application/x-python-serialize")).error().code,
            Code::unsupported_media);
  auto packed = message("agent.llm.calls", "no gzip");
  packed.properties.content_encoding = "gzip";
  EXPECT_EQ(read(packed).error().code, Code::malformed);
  packed.properties.content_encoding = "zstd";
  EXPECT_EQ(read(packed).error().code, Code::unsupported_media);
}

}  // namespace
}  // namespace cognive::inbound
