#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <set>

#include "client/fake_server.hpp"
#include "imports/tau_bench.hpp"
#include "imports/tau_bench_import.hpp"
#include "json/cursor.hpp"

namespace cognive::imports {
namespace {

using client::ApiClient;
using client::FakeReply;
using client::FakeRequest;
using client::FakeServer;

constexpr std::string_view user = R"({"role":"user","content":"u"})";
constexpr std::string_view reply = R"({"role":"assistant","content":"a"})";

std::string asks(std::string_view id, std::string_view tool, std::string_view arguments) {
  return fmt::format(
      R"({{"role":"assistant","content":null,"tool_calls":[{{"id":"{}","function":{{"name":"{}","arguments":{}}}}}]}})",
      id, tool, json::quoted(arguments));
}

std::string answers(std::string_view id, std::string_view tool, std::string_view content) {
  return fmt::format(R"({{"role":"tool","tool_call_id":"{}","name":"{}","content":{}}})", id, tool,
                     json::quoted(content));
}

std::string trajectory(std::initializer_list<std::string_view> messages, std::string_view reward = "1.0") {
  return fmt::format(R"({{"task_id":7,"reward":{},"info":{{"task":1}},"traj":[{}],"trial":2}})", reward,
                     fmt::join(messages, ", "));
}

TauBench file_of(std::initializer_list<std::string> trajectories) {
  auto file = parse_tau_bench(fmt::format("[{}]", fmt::join(trajectories, ",\n")), "some/where/t.json");
  if (!file) throw std::runtime_error(file.error().detail);
  return *std::move(file);
}

std::vector<Trajectory> all(TauBench& file) {
  std::vector<Trajectory> out;
  each_trajectory(file, [&](const Trajectory& one) {
    out.push_back(one);
    return true;
  });
  return out;
}

std::string fault_of(const std::string& text) {
  const auto file = parse_tau_bench(text, "t.json");
  return file ? "none" : file.error().detail;
}

std::string fault_of_message(std::string_view message) {
  const auto detail = fault_of("[" + trajectory({user, message}) + "]");
  constexpr std::string_view where = "t.json, trajectory 0, message 1 (/0/traj/1): ";
  return detail.starts_with(where) ? detail.substr(where.size()) : detail;
}

TEST(TauBench, reads_messages_and_what_tools_were_asked) {
  auto file = file_of({trajectory({user, asks("c1", "find", R"({"a": [1.50, "ü"]})"), answers("c1", "find", "found"),
                                   asks("c2", "write", "{broken"), answers("c2", "write", "Error: no"), reply}),
                       trajectory({}, "0")});
  EXPECT_EQ(file.source, "t.json");
  EXPECT_EQ(file.trajectories, 2U);
  EXPECT_EQ(file.succeeded, 1U);
  EXPECT_EQ(file.turns, 6U);
  EXPECT_EQ(file.llm_calls, 3U);
  EXPECT_EQ(file.tool_invocations, 2U);
  const auto trajectories = all(file);
  ASSERT_EQ(trajectories.size(), 2U);
  EXPECT_EQ(trajectories[0].task_id, "7");
  EXPECT_EQ(trajectories[0].trial, "2");
  EXPECT_TRUE(trajectories[0].succeeded);
  EXPECT_EQ(trajectories[1].reward, "0");
  EXPECT_FALSE(trajectories[1].succeeded);
  EXPECT_TRUE(trajectories[1].messages.empty());
  const auto& messages = trajectories[0].messages;
  ASSERT_EQ(messages.size(), 6U);
  EXPECT_EQ(messages[0].json, user);
  EXPECT_TRUE(messages[1].calls_tools);
  EXPECT_FALSE(messages[5].calls_tools);
  EXPECT_EQ(messages[2].role, Role::tool);
  EXPECT_EQ(messages[2].tool, "find");
  EXPECT_EQ(messages[2].asked_by, 1U);
  EXPECT_EQ(messages[2].arguments, R"({"a":[1.50,"ü"]})");
  EXPECT_EQ(messages[2].result, R"("found")");
  EXPECT_FALSE(messages[2].failed);
  EXPECT_EQ(messages[4].asked_by, 3U);
  EXPECT_EQ(messages[4].arguments, R"("{broken")");  // models do not always write JSON
  EXPECT_TRUE(messages[4].failed);
}

TEST(TauBench, takes_arguments_for_text_unless_they_are_one_value) {
  const auto arguments = [](std::string_view text) {
    auto file = file_of({trajectory({asks("c", "t", text), answers("c", "t", "")})});
    return all(file)[0].messages[1].arguments;
  };
  EXPECT_EQ(arguments("{}"), "{}");
  EXPECT_EQ(arguments(" null "), "null");
  EXPECT_EQ(arguments(""), R"("")");
  EXPECT_EQ(arguments("1, 2"), R"("1, 2")");
  EXPECT_EQ(arguments("1], [2"), R"("1], [2")");
  EXPECT_EQ(arguments("1]], [[2"), R"("1]], [[2")");
  // One level less than what a batch of events can hold, and one more.
  EXPECT_EQ(arguments(std::string(62, '[') + std::string(62, ']')).front(), '[');
  EXPECT_EQ(arguments(std::string(63, '[') + std::string(63, ']')).front(), '"');
}

TEST(TauBench, takes_an_id_that_comes_again_for_the_later_call) {
  auto file = file_of({trajectory({asks("c", "first", "1"), answers("c", "first", ""), asks("c", "second", "2"),
                                   R"({"content":"x","role":"tool","tool_call_id":"c"})"})});
  const auto messages = all(file)[0].messages;
  EXPECT_EQ(messages[1].asked_by, 0U);
  EXPECT_EQ(messages[3].asked_by, 2U);
  EXPECT_EQ(messages[3].arguments, "2");
  EXPECT_EQ(messages[3].tool, "second");  // that of the call, since the message names none
}

TEST(TauBench, accepts_what_other_exporters_add_or_leave_out) {
  EXPECT_EQ(fault_of_message(R"({"role":"assistant","function_call":null,"tool_calls":null})"), "none");
  EXPECT_EQ(fault_of_message(R"({"role":"assistant","content":[{"type":"text","text":"x"}],"tool_calls":[]})"), "none");
  EXPECT_EQ(fault_of_message(R"({"role":"user","content":[{"type":"text","text":"x"}],"name":5})"), "none");
  EXPECT_EQ(fault_of(R"([{"task_id":"retail-3","trial":0,"reward":1,"traj":[]}])"), "none");
}

TEST(TauBench, succeeds_with_a_reward_of_one) {
  for (const auto& [reward, succeeded] : {std::pair("1", true),
                                          {"1.0", true},
                                          {"1e0", true},
                                          {"2", true},
                                          {"0.999", false},
                                          {"0", false},
                                          {"-1", false}}) {
    EXPECT_EQ(file_of({trajectory({}, reward)}).succeeded, succeeded ? 1U : 0U) << reward;
  }
  auto long_one = file_of({trajectory({}, "0." + std::string(900, '3'))});
  EXPECT_LT(all(long_one)[0].reward.size(), 32U);
}

TEST(TauBench, names_what_is_malformed_by_trajectory_and_message_and_quotes_nothing) {
  EXPECT_EQ(fault_of_message("5"), "it must be an object.");
  EXPECT_EQ(fault_of_message("{}"), "it has no role.");
  EXPECT_EQ(fault_of_message(R"({"role":5,"content":"secret"})"), "it has no role.");
  EXPECT_EQ(fault_of_message(R"({"role":"secret","content":"secret"})"),
            "its role must be system, user, assistant or tool.");
  EXPECT_EQ(fault_of_message(R"({"role":"user"})"), "it has no content.");
  EXPECT_EQ(fault_of_message(R"({"role":"user","content":5})"), "its content must be text.");
  EXPECT_EQ(fault_of_message(R"({"role":"assistant","content":true})"), "its content must be text.");
  EXPECT_EQ(fault_of_message(R"({"role":"assistant","tool_calls":{}})"), "its tool_calls must be an array.");
  EXPECT_EQ(fault_of_message(R"({"role":"assistant","tool_calls":["secret"]})"), "tool call 0 must be an object.");
  EXPECT_EQ(fault_of_message(R"({"role":"assistant","tool_calls":[{"function":{"name":"t","arguments":"1"}}]})"),
            "tool call 0 has no id.");
  EXPECT_EQ(fault_of_message(R"({"role":"assistant","tool_calls":[{"id":"c","function":{"arguments":"1"}}]})"),
            "tool call 0's function.name must be text of 1 to 256 bytes.");
  EXPECT_EQ(
      fault_of_message(R"({"role":"assistant","tool_calls":[{"id":"c","function":{"name":"t","arguments":{}}}]})"),
      "tool call 0's function.arguments must be JSON text.");
  EXPECT_EQ(fault_of_message(R"({"role":"tool","content":"secret"})"), "it has no tool_call_id.");
  EXPECT_EQ(fault_of_message(answers("secret", "t", "")), "its tool_call_id is that of no tool call before it.");
  EXPECT_EQ(fault_of("[" + trajectory({asks("c", "t", "1"), answers("c", std::string(257, 't'), "")}) + "]"),
            "t.json, trajectory 0, message 1 (/0/traj/1): its name must be text of 1 to 256 bytes.");
  // Calls of another trajectory are no calls of this one.
  EXPECT_EQ(fault_of("[" + trajectory({asks("c", "t", "1")}) + "," + trajectory({answers("c", "t", "")}) + "]"),
            "t.json, trajectory 1, message 0 (/1/traj/0): its tool_call_id is that of no tool call before it.");
  // What follows from a fault is not a second one.
  EXPECT_EQ(fault_of("[" + trajectory({R"({"role":"assistant","tool_calls":[5]})", answers("c", "t", "")}) + "]"),
            "t.json, trajectory 0, message 0 (/0/traj/0): tool call 0 must be an object.");
}

TEST(TauBench, names_trajectories_without_what_they_must_have) {
  EXPECT_EQ(fault_of("[5]"), "t.json, trajectory 0 (/0): it must be an object.");
  EXPECT_EQ(fault_of(R"([{"trial":0,"reward":1,"traj":[]}])"),
            "t.json, trajectory 0 (/0): task_id must be a whole number, or text of 1 to 128 bytes.");
  for (const auto* broken : {R"({"task_id":1.5})", R"({"task_id":""})", R"({"task_id":null})", R"({"task_id":[1]})"}) {
    EXPECT_TRUE(fault_of(fmt::format("[{}]", broken)).contains("task_id must be")) << broken;
  }
  EXPECT_EQ(fault_of(R"([{"task_id":1,"trial":"0","reward":1,"traj":[]}])"),
            "t.json, trajectory 0 (/0): trial must be a whole number.");
  EXPECT_EQ(fault_of(R"([{"task_id":1,"trial":0,"reward":null,"traj":[]}])"),
            "t.json, trajectory 0 (/0): reward must be a number.");
  EXPECT_EQ(fault_of(R"([{"task_id":1,"trial":0,"reward":1e999,"traj":[]}])"),
            "t.json, trajectory 0 (/0): reward must be a number.");
  EXPECT_EQ(fault_of(R"([{"task_id":1,"trial":0,"reward":1,"traj":{}}])"),
            "t.json, trajectory 0 (/0): traj must be an array of messages.");
}

TEST(TauBench, names_the_first_five_of_many_faults) {
  std::string text = "[" + trajectory({user, reply});
  for (int i = 0; i < 600; ++i) text += "," + trajectory({user, "{}"});
  const auto detail = fault_of(text + "]");
  EXPECT_TRUE(detail.starts_with(
      "t.json has 600 faults, the first 5 of them:\n  trajectory 1, message 1 (/1/traj/1): it has no role\n"))
      << detail;
  EXPECT_EQ(std::ranges::count(detail, '\n'), 5);
}

TEST(TauBench, says_how_far_a_text_is_json) {
  EXPECT_EQ(fault_of(""), "t.json is not JSON: it is empty.");
  EXPECT_EQ(fault_of("\xff"), "t.json is not JSON: it is not valid UTF-8.");
  EXPECT_EQ(fault_of("{}"), "t.json must be a JSON array of trajectories.");
  EXPECT_EQ(fault_of("5"), "t.json must be a JSON array of trajectories.");
  EXPECT_EQ(fault_of("[]"), "t.json has no trajectories.");
  const std::string good = trajectory({user, reply});
  EXPECT_TRUE(fault_of("[" + good + "," + trajectory({user, reply, R"({"role" "user"})"}) + "]")
                  .starts_with("t.json, at or after trajectory 1, message 2 (/1/traj/2), is not JSON: "));
  EXPECT_NE(fault_of("[" + good + "] x"), "none");
  EXPECT_NE(fault_of("[" + good + "," + good), "none");
  EXPECT_EQ(read_tau_bench("/nowhere/t.json").error().detail,
            "/nowhere/t.json cannot be read: No such file or directory.");
}

TEST(TauBench, ids_have_no_day_and_are_sorted_as_the_messages_are) {
  auto file = file_of({trajectory({}), trajectory({})});
  const Uuid agent = Uuid::make();
  std::set<Uuid> ids;
  for (std::size_t index = 0; index < 2; ++index) {
    const Uuid run = run_id_of(file, index, agent);
    EXPECT_EQ(run.bytes[6] >> 4, 8);
    EXPECT_EQ(run.bytes[8] >> 6, 2);
    EXPECT_EQ(bucket_of(run), undated_bucket);
    Uuid last;
    for (std::size_t message = 0; message < 70'000; ++message) {
      for (const auto& id : {step_id_of(run, message), call_id_of(run, message)}) {
        if (message > 0) ASSERT_LT(last, id);
        last = id;
        ASSERT_TRUE(ids.insert(id).second);
      }
    }
    EXPECT_EQ(bucket_of(last), undated_bucket);
  }
  EXPECT_NE(run_id_of(file, 0, agent), run_id_of(file, 0, Uuid::make()));
  auto other = file_of({trajectory({}), trajectory({}), trajectory({})});
  EXPECT_NE(run_id_of(file, 0, agent), run_id_of(other, 0, agent));
}

TEST(TauBench, ids_do_not_change_between_versions) {
  // Written down: another value here would make old imports come in twice.
  auto file = file_of({trajectory({user, reply})});
  const Uuid run = run_id_of(file, 0, *Uuid::parse("0192f0c1-2345-7678-9abc-def012345678"));
  EXPECT_EQ(run.text(), "be42f76b-cb5c-87a6-8175-34735fe9ff78");
  EXPECT_EQ(step_id_of(run, 1).text(), "be42f76b-cb5c-87a6-8100-000002e9ff78");
  EXPECT_EQ(call_id_of(run, 1).text(), "be42f76b-cb5c-87a6-8100-000003e9ff78");
}

// As much of Cognive as an import meets.
struct FakeCognive {
  std::vector<std::string> requests;          // target and body, without events
  std::map<std::string, std::string> events;  // by kind and id
  std::vector<std::string> order;             // of the events, as they came first
  std::function<std::optional<FakeReply>(const FakeRequest&, const FakeReply&)> disturb;

  FakeReply operator()(const FakeRequest& request) {
    FakeReply answer{.status = 200, .body = "{}"};
    if (request.target == "/api/v1/agents") answer.body = R"({"id":"0192f0c1-2345-7678-9abc-def012345678","name":"a"})";
    if (request.target == "/api/v1/runs/start")
      answer.body = R"({"run_id":"0192f0c1-2345-7678-9abc-def012345678","status":"running"})";
    if (request.target == "/api/v1/events") {
      answer.body = post(request.body);
    } else {
      requests.push_back(request.target + " " + request.body);
    }
    return disturb ? disturb(request, answer).value_or(answer) : answer;
  }

  std::string post(std::string body) {
    int accepted = 0;
    int duplicates = 0;
    const auto walked = json::walk(body, [&](json::Cursor& root) {
      root.each_item([&](std::size_t, json::Cursor& item) {
        json::Writer event;
        item.copy_to(event);
        const std::string key = event.text().substr(0, event.text().find(R"(,"run_id")"));
        const bool is_new = events.emplace(key, event.text()).second;
        if (is_new) order.push_back(event.text());
        ++(is_new ? accepted : duplicates);
      });
    });
    EXPECT_TRUE(walked) << body;
    return fmt::format(R"({{"accepted":{},"duplicates":{},"rejected":[]}})", accepted, duplicates);
  }
};

ApiClient api_of(const FakeServer& server) {
  client::Clock clock = client::Clock::real();
  clock.sleep = [](std::chrono::milliseconds) {};
  return ApiClient({.base_url = server.url(), .api_key = "k", .api_key_source = "a test", .clock = clock});
}

const TauBenchOptions options{.agent = "desk", .model = "gpt-4o"};

TEST(TauBenchImport, sends_each_message_once_and_the_turns_in_order) {
  FakeCognive cognive;
  FakeServer server(std::ref(cognive));
  ApiClient api = api_of(server);
  auto file = file_of({trajectory({user, asks("c", "find", "{}"), answers("c", "find", "Error x"), reply, user}),
                       trajectory({}, "0.5")});
  TauBenchOptions with_all = options;
  with_all.provider = "azure";
  with_all.store = "full";
  const auto summary = import_tau_bench(api, file, with_all, [](Progress) {});
  server.stop();
  ASSERT_TRUE(summary) << summary.error().detail;
  EXPECT_EQ(summary->events, 8U);
  EXPECT_EQ(summary->accepted, 8);
  EXPECT_EQ(summary->duplicates, 0);

  const std::string agent = "0192f0c1-2345-7678-9abc-def012345678";
  const Uuid run = run_id_of(file, 0, summary->agent_id);
  const Uuid failed = run_id_of(file, 1, summary->agent_id);
  const auto start = [&](const Uuid& id) {
    return fmt::format(
        R"(/api/v1/runs/start {{"run_id":"{}","agent_id":"{}","labels":{{"source":"t.json","task_id":"7","trial":"2"}}}})",
        id.text(), agent);
  };
  EXPECT_EQ(cognive.requests,
            (std::vector<std::string>{
                R"(/api/v1/agents {"name":"desk","store":"full"})", start(run),
                fmt::format(R"(/api/v1/runs/{}/end {{"status":"succeeded"}})", run.text()), start(failed),
                fmt::format(R"(/api/v1/runs/{}/end {{"status":"failed","error":"reward 0.5"}})", failed.text())}));

  const auto event = [&](std::string_view type, const Uuid& id, std::string_view rest) {
    return fmt::format(R"({{"type":"{}","id":"{}","run_id":"{}","agent_id":"{}",{}}})", type, id.text(), run.text(),
                       agent, rest);
  };
  const auto parent = [&](std::size_t message) {
    return fmt::format(R"("parent_step_id":"{}",)", step_id_of(run, message).text());
  };
  const std::string call = asks("c", "find", "{}");
  const std::string answer = answers("c", "find", "Error x");
  const std::string error = R"("status":"error","error":"The tool answered with an error.")";
  EXPECT_EQ(cognive.order, (std::vector<std::string>{
                               event("step", step_id_of(run, 0), R"("index":0,"kind":"user","name":"user message")"),
                               event("step", step_id_of(run, 1), R"("index":1,"kind":"assistant","name":"tool call")"),
                               event("llm_call", call_id_of(run, 1),
                                     parent(1) + R"("provider":"azure","model":"gpt-4o","status":"ok","input":[)" +
                                         std::string(user) + R"(],"output":)" + call),
                               event("step", step_id_of(run, 2), R"("index":2,"kind":"tool","name":"find",)" + error),
                               event("tool_invocation", call_id_of(run, 2),
                                     parent(1) + R"("tool":"find",)" + error + R"(,"arguments":{},"result":"Error x")"),
                               event("step", step_id_of(run, 3), R"("index":3,"kind":"assistant","name":"reply")"),
                               event("llm_call", call_id_of(run, 3),
                                     parent(3) + R"("provider":"azure","model":"gpt-4o","status":"ok","input":[)" +
                                         answer + R"(],"output":)" + std::string(reply)),
                               event("step", step_id_of(run, 4),
                                     R"("index":4,"kind":"user","name":"user message","input":)" + std::string(user)),
                           }));
}

TEST(TauBenchImport, stores_every_event_once_across_refusals_lost_answers_and_repeats) {
  FakeCognive cognive;
  int request_number = 0;
  cognive.disturb = [&](const FakeRequest&, const FakeReply& answer) -> std::optional<FakeReply> {
    ++request_number;
    if (request_number % 5 == 0) return FakeReply{.status = 503, .body = "", .headers = "Retry-After: 0\r\n"};
    if (request_number % 7 == 0) return FakeReply{.status = 200, .body = answer.body, .drop = true};
    return std::nullopt;
  };
  FakeServer server(std::ref(cognive));
  ApiClient api = api_of(server);
  const auto one = trajectory({user, reply, user, reply, user, reply, user});
  auto file = file_of({one, one, one});
  TauBenchOptions small = options;
  small.batch_bytes = 300;
  std::vector<std::size_t> done;
  const auto summary = import_tau_bench(api, file, small, [&](Progress progress) {
    EXPECT_EQ(progress.total, 3U);
    done.push_back(progress.done);
  });
  ASSERT_TRUE(summary) << summary.error().detail;
  const auto sent = cognive.order.size();
  const auto again = import_tau_bench(api, file, options, [](Progress) {});
  server.stop();
  ASSERT_TRUE(again) << again.error().detail;
  EXPECT_EQ(done, (std::vector<std::size_t>{0, 1, 2, 3}));
  EXPECT_EQ(summary->events, 30U);
  EXPECT_EQ(summary->accepted + summary->duplicates, 30);
  EXPECT_EQ(again->accepted, 0);
  EXPECT_EQ(again->duplicates, 30);
  EXPECT_EQ(sent, 30U);
  EXPECT_EQ(cognive.order.size(), 30U);
}

TEST(TauBenchImport, leaves_a_run_that_ended_otherwise_and_goes_on) {
  FakeCognive cognive;
  int ends = 0;
  cognive.disturb = [&](const FakeRequest& request, const FakeReply&) -> std::optional<FakeReply> {
    if (!request.target.ends_with("/end") || ++ends != 1) return std::nullopt;
    return FakeReply{.status = 409, .body = R"({"detail":"The run has ended as terminated."})"};
  };
  FakeServer server(std::ref(cognive));
  ApiClient api = api_of(server);
  auto file = file_of({trajectory({user}), trajectory({reply})});
  const auto summary = import_tau_bench(api, file, options, [](Progress) {});
  server.stop();
  ASSERT_TRUE(summary) << summary.error().detail;
  EXPECT_EQ(summary->ended_otherwise, 1U);
  EXPECT_EQ(summary->accepted, 3);
}

TEST(TauBenchImport, names_the_messages_that_were_rejected_and_leaves_their_run_open) {
  FakeCognive cognive;
  int ends = 0;
  cognive.disturb = [&](const FakeRequest& request, const FakeReply&) -> std::optional<FakeReply> {
    if (request.target.ends_with("/end")) ++ends;
    if (request.target != "/api/v1/events" || !request.body.contains(R"("llm_call")")) return std::nullopt;
    return FakeReply{
        .status = 200,
        .body =
            R"({"accepted":2,"duplicates":0,"rejected":[{"index":2,"errors":[{"pointer":"/model","message":"It is unknown.","rejected":"\"secret\""}]}]})"};
  };
  FakeServer server(std::ref(cognive));
  ApiClient api = api_of(server);
  auto file = file_of({trajectory({user}), trajectory({user, reply}), trajectory({user})});
  const auto summary = import_tau_bench(api, file, options, [](Progress) {});
  server.stop();
  ASSERT_FALSE(summary);
  EXPECT_EQ(summary.error().code, Code::unprocessable);
  EXPECT_EQ(summary.error().detail,
            "The server rejected 1 of 5 events and stored the others (4 new, 0 there already):\n"
            "  trajectory 1, message 1 (/1/traj/1): /model It is unknown.");
  EXPECT_EQ(summary.error().fields, (std::vector<FieldError>{{"/1/traj/1/model", "It is unknown.", ""}}));
  EXPECT_EQ(ends, 2);
}

TEST(TauBenchImport, names_the_trajectory_that_was_refused_and_sends_no_more) {
  FakeCognive cognive;
  int starts = 0;
  cognive.disturb = [&](const FakeRequest& request, const FakeReply&) -> std::optional<FakeReply> {
    if (request.target != "/api/v1/runs/start" || ++starts != 2) return std::nullopt;
    return FakeReply{.status = 403, .body = R"({"detail":"The agent is suspended and cannot start runs."})"};
  };
  FakeServer server(std::ref(cognive));
  ApiClient api = api_of(server);
  auto file = file_of({trajectory({user}), trajectory({user}), trajectory({user})});
  const auto summary = import_tau_bench(api, file, options, [](Progress) {});
  server.stop();
  ASSERT_FALSE(summary);
  EXPECT_EQ(summary.error().code, Code::forbidden);
  EXPECT_EQ(
      summary.error().detail,
      "Trajectory 1 (task_id 7, trial 2) was not imported (those before it are stored; repeating the import completes "
      "it): The agent is suspended and cannot start runs.");
  EXPECT_EQ(starts, 2);
}

TEST(TauBenchImport, does_not_believe_an_answer_that_loses_events) {
  FakeCognive cognive;
  cognive.disturb = [](const FakeRequest& request, const FakeReply&) -> std::optional<FakeReply> {
    if (request.target != "/api/v1/events") return std::nullopt;
    return FakeReply{.status = 200, .body = R"({"accepted":0,"duplicates":0,"rejected":[]})"};
  };
  FakeServer server(std::ref(cognive));
  ApiClient api = api_of(server);
  auto file = file_of({trajectory({user})});
  const auto summary = import_tau_bench(api, file, options, [](Progress) {});
  ASSERT_FALSE(summary);
  EXPECT_EQ(summary.error().code, Code::internal);
}

TEST(TauBenchImport, takes_the_whole_file_when_it_is_here) {
  const std::string path = std::string(COGNIVE_SOURCE_DIR) + "/../shared/data/tau_bench_gpt-4o_airline_trials01.json";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not here";
  auto file = read_tau_bench(path);
  ASSERT_TRUE(file) << file.error().detail;
  EXPECT_EQ(file->trajectories, 100U);
  EXPECT_EQ(file->succeeded, 43U);
  EXPECT_EQ(file->turns, 2658U);
  EXPECT_EQ(file->llm_calls, 1229U);
  EXPECT_EQ(file->tool_invocations, 572U);
  FakeCognive cognive;
  FakeServer server(std::ref(cognive));
  ApiClient api = api_of(server);
  const auto summary = import_tau_bench(api, *file, options, [](Progress) {});
  server.stop();
  ASSERT_TRUE(summary) << summary.error().detail;
  EXPECT_EQ(summary->accepted, 4459);
  EXPECT_EQ(cognive.order.size(), 4459U);
}

}  // namespace
}  // namespace cognive::imports
