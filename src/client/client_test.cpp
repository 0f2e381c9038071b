#include <gtest/gtest.h>

#include <algorithm>

#include "client/api.hpp"
#include "client/fake_server.hpp"

namespace cognive::client {
namespace {

using std::chrono::milliseconds;

constexpr std::string_view key = "cgv_abc_secret";

// Time that passes only by being slept through.
struct FakeClock {
  std::chrono::steady_clock::time_point now{};
  std::vector<milliseconds> slept;

  Clock clock() {
    return {.now = [this] { return now; },
            .sleep =
                [this](milliseconds time) {
                  now += time;
                  slept.push_back(time);
                }};
  }
};

ApiClient client_of(const std::string& url, FakeClock& time) {
  return ApiClient(
      {.base_url = url, .api_key = std::string(key), .api_key_source = "COGNIVE_API_KEY", .clock = time.clock()});
}

// Answers each request with the next reply of a list, the last one again and again.
struct Script {
  std::vector<FakeReply> replies;
  std::vector<FakeRequest> seen;

  FakeReply operator()(const FakeRequest& request) {
    seen.push_back(request);
    return replies[std::min(seen.size(), replies.size()) - 1];
  }
};

const std::string agent_body =
    R"({"id":"0192f0c1-2345-7678-9abc-def012345678","name":"a","team_id":null,"labels":{"x":[1,2]},"new":true})";

TEST(HttpClient, sends_key_body_and_type_over_one_connection) {
  Script script{.replies = {{.status = 201, .body = "made"}}, .seen = {}};
  FakeServer server(std::ref(script));
  HttpClient http{std::string(key)};
  const std::string body(3 << 20, 'x');  // above the size at which libcurl by itself would wait for a 100
  for (int i = 0; i < 3; ++i) {
    const auto response =
        http.send({.method = "PUT", .url = server.url() + "/a?b=c", .body = body, .content_type = "text/plain"},
                  milliseconds(10'000));
    ASSERT_TRUE(response) << response.error().detail;
    EXPECT_EQ(response->status, 201);
    EXPECT_EQ(response->body, "made");
    EXPECT_FALSE(response->retry_after);
  }
  server.stop();
  EXPECT_EQ(server.connections(), 1);
  ASSERT_EQ(script.seen.size(), 3U);
  const auto& request = script.seen[2];
  EXPECT_EQ(request.method, "PUT");
  EXPECT_EQ(request.target, "/a?b=c");
  EXPECT_EQ(request.header("X-API-Key"), key);
  EXPECT_EQ(request.header("Content-Type"), "text/plain");
  EXPECT_EQ(request.header("Expect"), "");
  EXPECT_EQ(request.body, body);
}

TEST(HttpClient, does_not_follow_redirects_and_reads_retry_after) {
  Script script{.replies = {{.status = 302, .body = "", .headers = "Location: /elsewhere\r\n"},
                            {.status = 503, .body = "", .headers = "Retry-After: 7\r\n"},
                            {.status = 503, .body = "", .headers = "retry-after: 0\r\n"}},
                .seen = {}};
  FakeServer server(std::ref(script));
  HttpClient http{""};
  const HttpRequest request{.method = "GET", .url = {}, .body = {}, .content_type = {}};
  const std::string url = server.url() + "/";
  auto get = [&] {
    HttpRequest one = request;
    one.url = url;
    return http.send(one, milliseconds(10'000));
  };
  EXPECT_EQ(get()->status, 302);
  EXPECT_EQ(get()->retry_after, std::chrono::seconds(7));
  EXPECT_EQ(get()->retry_after, std::chrono::seconds(0));
  server.stop();
  EXPECT_EQ(script.seen.size(), 3U);
  EXPECT_EQ(script.seen[0].head.find("X-API-Key"), std::string::npos);
}

TEST(HttpClient, names_the_address_and_no_secret_when_there_is_no_answer) {
  FakeServer server([](const FakeRequest&) { return FakeReply{}; });
  server.stop();
  HttpClient http{std::string(key)};
  const std::string port = server.url().substr(server.url().rfind(':'));
  const std::string url = "http://ann:pass@127.0.0.1" + port + "/api?token=hidden";
  const auto response = http.send({.method = "GET", .url = url, .body = {}, .content_type = {}}, milliseconds(5'000));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, Code::unavailable);
  EXPECT_EQ(response.error().detail,
            "No answer from http://127.0.0.1" + port + "/api: nothing accepts connections there.");
}

TEST(HttpClient, ends_at_its_deadline) {
  // A listener that never accepts: the kernel completes the connection, and nobody answers.
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), length), 0);
  ASSERT_EQ(listen(listener, 1), 0);
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length);
  HttpClient http{""};
  const std::string url = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  const auto response = http.send({.method = "GET", .url = url, .body = {}, .content_type = {}}, milliseconds(20));
  close(listener);
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code, Code::unavailable);
  EXPECT_NE(response.error().detail.find("it took longer than 0.02 s"), std::string::npos) << response.error().detail;
}

TEST(HttpClient, refuses_what_it_cannot_send_and_what_is_too_large) {
  const auto code = [](HttpClient http, std::string_view url) {
    const auto response =
        http.send({.method = "GET", .url = url, .body = {}, .content_type = {}}, milliseconds(10'000));
    return response ? Code::internal : response.error().code;
  };
  EXPECT_EQ(code(HttpClient{""}, "localhost:8000"), Code::malformed);
  EXPECT_EQ(code(HttpClient{""}, ""), Code::malformed);
  EXPECT_EQ(code(HttpClient{""}, "file:///etc/passwd"), Code::malformed);
  EXPECT_EQ(code(HttpClient{"key\n"}, "http://127.0.0.1:1/"), Code::unauthenticated);
  const std::string large(HttpClient::response_bytes_max + 1, 'x');
  FakeServer server([&](const FakeRequest&) { return FakeReply{.status = 200, .body = large}; });
  EXPECT_EQ(code(HttpClient{""}, server.url()), Code::too_large);
}

TEST(Backoff, grows_to_its_bound_and_adds_what_the_server_asked) {
  for (int round = 0; round < 50; ++round) {
    Backoff backoff;
    milliseconds bound = Backoff::first;
    for (int i = 0; i < 12; ++i) {
      const auto wait = backoff.next(std::nullopt);
      EXPECT_GE(wait, milliseconds(0));
      EXPECT_LE(wait, bound);
      bound = std::min(bound * 2, Backoff::longest);
    }
    const auto asked = backoff.next(std::chrono::seconds(9));
    EXPECT_GE(asked, std::chrono::seconds(9));
    EXPECT_LE(asked, std::chrono::seconds(9) + Backoff::longest);
  }
}

TEST(ApiClient, sends_only_what_was_given_and_ignores_what_it_does_not_know) {
  Script script{
      .replies = {{.status = 201, .body = agent_body},
                  {.status = 200,
                   .body = R"({"run_id":"0192f0c1-2345-7678-9abc-def012345678","status":"running","agent":{"id":1}})"},
                  {.status = 200, .body = "{}"},
                  {.status = 200, .body = R"({"items":[]})"}},
      .seen = {}};
  FakeServer server(std::ref(script));
  FakeClock time;
  ApiClient api = client_of(server.url() + "//", time);
  const auto agent = api.agent_put({.name = "a\"b", .environment = "prod"});
  ASSERT_TRUE(agent) << agent.error().detail;
  EXPECT_EQ(agent->id.text(), "0192f0c1-2345-7678-9abc-def012345678");
  EXPECT_EQ(agent->name, "a");
  const auto run =
      api.run_start({.run_id = agent->id, .agent_id = agent->id, .started_at = Timestamp{1}, .labels = {{"k", "v"}}});
  ASSERT_TRUE(run) << run.error().detail;
  EXPECT_EQ(run->status, "running");
  ASSERT_TRUE(api.run_end(agent->id, {.status = "succeeded", .ended_at = Timestamp{2}}));
  EXPECT_EQ(api.get("/api/v1/agents?limit=1").value(), R"({"items":[]})");
  server.stop();
  ASSERT_EQ(script.seen.size(), 4U);
  EXPECT_EQ(script.seen[0].target, "/api/v1/agents");
  EXPECT_EQ(script.seen[0].body, R"({"name":"a\"b","environment":"prod"})");
  EXPECT_EQ(script.seen[0].header("Content-Type"), "application/json");
  EXPECT_EQ(script.seen[1].body,
            R"({"run_id":"0192f0c1-2345-7678-9abc-def012345678","agent_id":"0192f0c1-2345-7678-9abc-def012345678",)"
            R"("started_at":"1970-01-01T00:00:00.000001Z","labels":{"k":"v"}})");
  EXPECT_EQ(script.seen[2].target, "/api/v1/runs/0192f0c1-2345-7678-9abc-def012345678/end");
  EXPECT_EQ(script.seen[2].body, R"({"status":"succeeded","ended_at":"1970-01-01T00:00:00.000002Z"})");
  EXPECT_EQ(script.seen[3].method, "GET");
}

TEST(ApiClient, reads_which_events_were_rejected) {
  FakeServer server([](const FakeRequest&) {
    return FakeReply{
        .status = 200,
        .body =
            R"({"accepted":2,"duplicates":1,"rejected":[{"index":3,"errors":[{"pointer":"/model","message":"It is required.","rejected":null}]}]})"};
  });
  FakeClock time;
  const auto answer = client_of(server.url(), time).events_post("[]");
  ASSERT_TRUE(answer) << answer.error().detail;
  EXPECT_EQ(answer->accepted, 2);
  EXPECT_EQ(answer->duplicates, 1);
  ASSERT_EQ(answer->rejected.size(), 1U);
  EXPECT_EQ(answer->rejected[0].index, 3U);
  EXPECT_EQ(answer->rejected[0].errors, (std::vector<FieldError>{{"/model", "It is required.", "null"}}));
}

TEST(ApiClient, repeats_until_the_server_is_back) {
  Script script{.replies = {{.status = 503, .body = "", .headers = "Retry-After: 0\r\n"},
                            {.status = 200, .body = "", .drop = true},
                            {.status = 429, .body = "", .headers = "Retry-After: 2\r\n"},
                            {.status = 502, .body = "<html>"},
                            {.status = 200, .body = agent_body, .truncate = true},
                            {.status = 200, .body = agent_body}},
                .seen = {}};
  FakeServer server(std::ref(script));
  FakeClock time;
  ApiClient api = client_of(server.url(), time);
  EXPECT_TRUE(api.agent_put({.name = "a"}));
  server.stop();
  EXPECT_EQ(script.seen.size(), 6U);
  for (const auto& request : script.seen) EXPECT_EQ(request.body, R"({"name":"a"})");
  // libcurl repeats by itself when a kept-alive connection turns out to be closed, so one wait may be missing.
  ASSERT_GE(time.slept.size(), 4U);
  EXPECT_GE(std::ranges::max(time.slept), milliseconds(2000));
}

TEST(ApiClient, gives_up_at_the_deadline_and_says_what_the_server_said) {
  std::vector<std::string> told;
  FakeServer server(
      [](const FakeRequest&) { return FakeReply{.status = 503, .body = R"({"detail":"The database is away."})"}; });
  FakeClock time;
  ApiClient api({.base_url = server.url(),
                 .api_key = "",
                 .api_key_source = "",
                 .deadline = std::chrono::seconds(20),
                 .on_retry = [&](const Error& error, milliseconds) { told.push_back(error.detail); },
                 .clock = time.clock()});
  const auto answer = api.get("/api/v1/agents");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::unavailable);
  EXPECT_TRUE(answer.error().detail.starts_with("The database is away. Gave up after ")) << answer.error().detail;
  EXPECT_LE(time.now.time_since_epoch(), std::chrono::seconds(20));
  EXPECT_EQ(told.size(), time.slept.size());
  EXPECT_EQ(told.at(0), "The database is away.");
}

TEST(ApiClient, does_not_wait_for_what_the_deadline_excludes) {
  FakeServer server(
      [](const FakeRequest&) { return FakeReply{.status = 429, .body = "", .headers = "Retry-After: 3600\r\n"}; });
  FakeClock time;
  const auto answer = client_of(server.url(), time).get("/x");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::too_many);
  EXPECT_EQ(answer.error().detail,
            "The server answered GET /x with status 429 and no explanation. Gave up after one attempt in 0 s. The "
            "server asked for a wait of 3600 s.");
  EXPECT_TRUE(time.slept.empty());
}

struct Refusal {
  int status;
  std::string body;
  Code code;
  std::string detail;
};

TEST(ApiClient, turns_refusals_into_errors_without_repeating_them) {
  const std::vector<Refusal> table{
      {401, R"({"detail":"The API key is not known."})", Code::unauthenticated,
       "The server does not accept the API key from COGNIVE_API_KEY: The API key is not known."},
      {401, "", Code::unauthenticated, "The server does not accept the API key from COGNIVE_API_KEY."},
      {403, R"({"title":"Forbidden","detail":"The agent is suspended."})", Code::forbidden, "The agent is suspended."},
      {409, R"({"title":"Conflict"})", Code::conflict, "Conflict"},
      {404, "<html>", Code::not_found,
       "The server answered GET /x with status 404 and no explanation. Is this the address of a Cognive server?"},
      {301, "", Code::internal,
       "The server answered GET /x with status 301: it points to another address; give that one instead."},
      {500, R"({"detail":"Something broke.","request_id":"r1"})", Code::internal, "Something broke. (request r1)"},
  };
  for (const auto& row : table) {
    FakeServer server([&](const FakeRequest&) { return FakeReply{.status = row.status, .body = row.body}; });
    FakeClock time;
    const auto answer = client_of(server.url(), time).get("/x?a=b");
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, row.code) << row.status;
    EXPECT_EQ(answer.error().detail, row.detail);
    EXPECT_TRUE(time.slept.empty());
  }
}

TEST(ApiClient, keeps_every_field_error) {
  FakeServer server([](const FakeRequest&) {
    return FakeReply{
        .status = 422,
        .body =
            R"({"detail":"2 fields.","errors":[{"pointer":"/a","message":"Bad.","rejected":"x"},{"pointer":"/b","message":"Worse."}]})"};
  });
  FakeClock time;
  const auto answer = client_of(server.url(), time).agent_put({.name = "a"});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::unprocessable);
  EXPECT_EQ(answer.error().fields, (std::vector<FieldError>{{"/a", "Bad.", "\"x\""}, {"/b", "Worse.", ""}}));
}

TEST(ApiClient, asks_for_a_key_when_it_has_none) {
  FakeServer server([](const FakeRequest&) { return FakeReply{.status = 401, .body = "{}"}; });
  FakeClock time;
  ApiClient api({.base_url = server.url(), .api_key = "", .api_key_source = "COGNIVE_API_KEY", .clock = time.clock()});
  EXPECT_EQ(api.get("/").error().detail, "The server wants an API key and none was sent: set COGNIVE_API_KEY.");
}

TEST(ApiClient, does_not_believe_answers_that_no_cognive_server_gives) {
  for (const std::string body :
       {"", "<html>", "[]", "null", "{}", R"({"accepted":1,"duplicates":0})", R"({"id":7,"accepted":-1})",
        R"({"id":"0192"})", R"({"accepted":1,"duplicates":0,"rejected":[{}]})"}) {
    FakeServer server([&](const FakeRequest&) { return FakeReply{.status = 200, .body = body}; });
    FakeClock time;
    ApiClient api = client_of(server.url(), time);
    EXPECT_EQ(api.agent_put({.name = "a"}).error().code, Code::malformed) << body;
    EXPECT_EQ(api.events_post("[]").error().code, Code::malformed) << body;
    EXPECT_TRUE(time.slept.empty());
  }
}

}  // namespace
}  // namespace cognive::client
