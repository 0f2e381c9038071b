// What is sent to addresses of users: webhooks, and how mail is written.
#include <gtest/gtest.h>

#include "client/fake_server.hpp"
#include "client/mail.hpp"
#include "client/webhook.hpp"

namespace cognive::client {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds patience{10'000};
const std::atomic<bool> go_on{false};
const std::vector<Network> loopback = parse_networks("127.0.0.0/8").value();

TEST(Webhook, is_posted_with_its_headers_and_its_status_is_the_result) {
  FakeRequest seen;
  FakeServer server([&](const FakeRequest& request) {
    seen = request;
    return FakeReply{.status = 202, .body = "thanks"};
  });
  const auto sent = post_webhook({.url = server.url() + "/hook?key=1", .headers = {{"webhook-id", "7"}}, .body = "{}"},
                                 loopback, patience, go_on);
  ASSERT_TRUE(sent) << sent.error().detail;
  EXPECT_EQ(*sent, 202);
  server.stop();
  EXPECT_EQ(seen.method + " " + seen.target, "POST /hook?key=1");
  EXPECT_EQ(seen.header("webhook-id"), "7");
  EXPECT_EQ(seen.header("content-type"), "application/json");
  EXPECT_EQ(seen.body, "{}");
}

TEST(Webhook, a_private_address_is_not_reached_unless_allowed_whatever_its_name) {
  std::size_t requests = 0;
  FakeServer server([&](const FakeRequest&) {
    ++requests;
    return FakeReply{};
  });
  const auto port = server.url().substr(server.url().rfind(':'));
  // The last ones are other spellings of 127.0.0.1.
  for (const auto* host : {"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "127.1"}) {
    const auto sent = post_webhook({.url = std::string("http://") + host + port, .headers = {}, .body = "{}"},
                                   parse_networks("10.0.0.0/8").value(), patience, go_on);
    ASSERT_FALSE(sent) << host;
    EXPECT_EQ(sent.error().code, Code::forbidden) << host << ": " << sent.error().detail;
  }
  server.stop();
  EXPECT_EQ(requests, 0U);
}

TEST(Webhook, a_redirect_is_an_answer_and_not_followed) {
  std::size_t requests = 0;
  FakeServer server([&](const FakeRequest&) {
    ++requests;
    return FakeReply{.status = 302, .body = {}, .headers = "Location: /elsewhere\r\n"};
  });
  const auto sent = post_webhook({.url = server.url(), .headers = {}, .body = "{}"}, loopback, patience, go_on);
  ASSERT_TRUE(sent);
  EXPECT_EQ(*sent, 302);
  server.stop();
  EXPECT_EQ(requests, 1U);
}

TEST(Webhook, an_answer_without_end_does_not_matter) {
  FakeServer server([](const FakeRequest&) { return FakeReply{.status = 200, .body = std::string(8 << 20, 'x')}; });
  const auto sent = post_webhook({.url = server.url(), .headers = {}, .body = "{}"}, loopback, patience, go_on);
  ASSERT_TRUE(sent) << sent.error().detail;
  EXPECT_EQ(*sent, 200);
}

TEST(Webhook, a_failure_says_where_but_not_the_secrets_of_the_url) {
  FakeServer server([](const FakeRequest&) { return FakeReply{.body = {}, .headers = {}, .drop = true}; });
  const auto url = server.url() + "/hook?token=hunter2";
  const auto sent = post_webhook({.url = url, .headers = {}, .body = "{}"}, loopback, patience, go_on);
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, Code::unavailable);
  EXPECT_NE(sent.error().detail.find("http://127.0.0.1:"), std::string::npos) << sent.error().detail;
  EXPECT_EQ(sent.error().detail.find("/hook"), std::string::npos) << sent.error().detail;
  EXPECT_EQ(sent.error().detail.find("hunter2"), std::string::npos) << sent.error().detail;
}

TEST(Webhook, ends_soon_when_the_process_stops) {
  std::atomic<bool> stop{true};
  FakeServer server([](const FakeRequest&) { return FakeReply{}; });
  const auto sent = post_webhook({.url = server.url(), .headers = {}, .body = "{}"}, loopback, patience, stop);
  EXPECT_FALSE(sent);
}

TEST(Webhook, urls_that_cannot_be_meant_are_refused_beforehand) {
  for (const auto* url :
       {"", "example.com", "ftp://example.com", "https://user:pass@example.com", "http://127.0.0.1:1",
        "http://localhost", "http://[::1]/", "http://169.254.169.254/latest", "http://0x7f000001/", "http://10.1"})
    EXPECT_FALSE(webhook_fault(url, {}).empty()) << url;
  for (const auto* url : {"https://example.com/hook?a=b", "http://8.8.8.8:8080"})
    EXPECT_EQ(webhook_fault(url, {}), "") << url;
  EXPECT_EQ(webhook_fault("http://127.0.0.1:1", loopback), "");
}

TEST(Mail, header_fields_hold_any_text_and_no_line_of_their_own) {
  EXPECT_EQ(header_text("80 % of a budget"), "80 % of a budget");
  EXPECT_EQ(header_text("a\r\nBcc: b"), "=?UTF-8?B?YQ0KQmNjOiBi?=");
  const auto text = header_text(std::string(30, 'x') + "ä" + std::string(100, 'y'));
  EXPECT_LE(text.substr(0, text.find("\r\n")).size(), 75U);
}

}  // namespace
}  // namespace cognive::client
