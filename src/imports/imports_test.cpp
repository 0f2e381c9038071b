#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>

#include "client/fake_server.hpp"
#include "imports/azure_import.hpp"
#include "imports/azure_trace.hpp"
#include "imports/progress.hpp"
#include "json/cursor.hpp"

namespace cognive::imports {
namespace {

using client::ApiClient;
using client::FakeReply;
using client::FakeRequest;
using client::FakeServer;

const std::string header = "TIMESTAMP,ContextTokens,GeneratedTokens\n";

Trace trace_of(const std::string& rows) {
  auto trace = parse_azure_trace(header + rows, "t.csv");
  if (!trace) throw std::runtime_error(trace.error().detail);
  return *std::move(trace);
}

std::string fault_of(const std::string& text) {
  const auto trace = parse_azure_trace(text, "t.csv");
  return trace ? "none" : trace.error().detail;
}

TEST(AzureTrace, reads_rows_whatever_the_line_ends) {
  const std::string row_1 = "2023-11-16 18:15:46.6805909,374,44";
  const std::string row_2 = "2023-11-16 18:15:50,396,0";
  const std::string head = "TIMESTAMP,ContextTokens,GeneratedTokens";
  for (const auto& text : {head + "\r\n" + row_1 + "\r\n" + row_2, head + "\n" + row_1 + "\n" + row_2 + "\n",
                           "\xEF\xBB\xBF" + head + "\n" + row_1 + "\r\n" + row_2 + "\r\n\r\n \n\t\r\n"}) {
    const auto trace = parse_azure_trace(text, "t.csv");
    ASSERT_TRUE(trace) << trace.error().detail;
    ASSERT_EQ(trace->rows.size(), 2U);
    EXPECT_EQ(trace->rows[0].time.text(), "2023-11-16T18:15:46.680590Z");
    EXPECT_EQ(trace->rows[0].input_tokens, 374);
    EXPECT_EQ(trace->rows[0].output_tokens, 44);
    EXPECT_EQ(trace->line_of(trace->rows[0]), row_1);
    EXPECT_EQ(trace->line_of(trace->rows[1]), row_2);
    EXPECT_EQ(trace->rows[1].time.text(), "2023-11-16T18:15:50.000000Z");
    EXPECT_EQ(trace->input_tokens, 770);
    EXPECT_EQ(trace->output_tokens, 44);
    EXPECT_EQ(trace->first, trace->rows[0].time);
    EXPECT_EQ(trace->last, trace->rows[1].time);
  }
}

TEST(AzureTrace, reads_times_as_utc_unless_they_have_an_offset) {
  const auto time = [](const std::string& text) {
    const auto trace = parse_azure_trace(header + text + ",1,1", "t.csv");
    return trace ? trace->rows[0].time.text() : "broken";
  };
  EXPECT_EQ(time("2023-11-16 18:15:46.123456789"), "2023-11-16T18:15:46.123456Z");
  EXPECT_EQ(time("2023-11-16T18:15:46.1"), "2023-11-16T18:15:46.100000Z");
  EXPECT_EQ(time("2024-05-10 00:00:00.009930+00:00"), "2024-05-10T00:00:00.009930Z");
  EXPECT_EQ(time("2024-05-10 00:00:00+02:00"), "2024-05-09T22:00:00.000000Z");
  EXPECT_EQ(time("2024-05-10 00:00:00Z"), "2024-05-10T00:00:00.000000Z");
  for (const auto* broken :
       {"", "2023-11-16", "2023-11-16 18:15", "2023-11-16 18:15:46.", "2023-11-16 18:15:46.1234567890",
        "2023-02-29 18:15:46", "2023-11-16 24:15:46", "2023-11-16 18:15:46 ", "1700158546", "16/11/2023 18:15:46",
        "2023-11-16 18:15:46.123456789+00:000"}) {
    EXPECT_EQ(time(broken), "broken") << broken;
  }
}

TEST(AzureTrace, names_a_broken_line_and_what_was_expected) {
  const std::string good = "2023-11-16 18:15:46.6805900,374,44\n";
  EXPECT_EQ(
      fault_of(header + good + "2023-11-16 18:15:46,x,44\n"),
      "t.csv, line 3: \"2023-11-16 18:15:46,x,44\": ContextTokens must be a whole number from 0 to 10,000,000,000.");
  EXPECT_EQ(fault_of(header + "yesterday,1,1"),
            "t.csv, line 2: \"yesterday,1,1\": TIMESTAMP must be a time such as 2023-11-16 18:15:46.6805900.");
  EXPECT_EQ(
      fault_of(header + "\x1b[2J\xff\n" + good),
      "t.csv, line 2: \"\\x1b[2J\\xff\": 3 columns are expected (TIMESTAMP,ContextTokens,GeneratedTokens), it has 1.");
  EXPECT_EQ(fault_of(header + good + "\n" + good), "t.csv, line 3: \"\": the line is empty.");
  EXPECT_EQ(fault_of(header + "2023-11-16 18:15:46,1,1," + std::string(5000, 'y')),
            "t.csv, line 2: \"2023-11-16 18:15:46,1,1," + std::string(36, 'y') +
                "…\": 3 columns are expected (TIMESTAMP,ContextTokens,GeneratedTokens), it has 4.");
}

TEST(AzureTrace, refuses_tokens_that_no_request_has) {
  for (const auto* broken : {"-1", "-0", "+1", "1.0", "1e3", "", " 1", "10000000001", "99999999999999999999999"}) {
    EXPECT_NE(fault_of(header + "2023-11-16 18:15:46,1," + broken), "none") << broken;
    EXPECT_NE(fault_of(header + "2023-11-16 18:15:46," + broken + ",1"), "none") << broken;
  }
  EXPECT_EQ(fault_of(header + "2023-11-16 18:15:46,10000000000,0"), "none");
}

TEST(AzureTrace, names_the_first_five_of_many_broken_lines) {
  std::string text = header;
  for (int i = 0; i < 1200; ++i) text += "2023-11-16 18:15:46,1,1\n" + std::string(i % 2 == 0 ? "bad\n" : "");
  const auto detail = fault_of(text);
  EXPECT_TRUE(detail.starts_with("t.csv has 600 broken lines, the first 5 of them:\n  line 3: \"bad\": 3 columns"))
      << detail;
  EXPECT_EQ(std::ranges::count(detail, '\n'), 5);
  EXPECT_TRUE(fault_of(header + "a\nb\n").starts_with("t.csv has 2 broken lines:\n  line 2: \"a\""));
}

TEST(AzureTrace, says_when_there_is_nothing_to_read) {
  EXPECT_EQ(fault_of(""), "t.csv is empty.");
  EXPECT_EQ(fault_of("\n\r\n"), "t.csv is empty.");
  EXPECT_EQ(fault_of("\xEF\xBB\xBF"), "t.csv is empty.");
  EXPECT_EQ(fault_of(header), "t.csv has a header and no rows.");
  EXPECT_EQ(fault_of(header + "\n \n"), "t.csv has a header and no rows.");
  EXPECT_EQ(fault_of("2023-11-16 18:15:46,1,1\n"),
            "t.csv, line 1: \"2023-11-16 18:15:46,1,1\": the first line must be the header "
            "TIMESTAMP,ContextTokens,GeneratedTokens.");
  EXPECT_EQ(read_azure_trace("/nowhere/t.csv").error().detail,
            "/nowhere/t.csv cannot be read: No such file or directory.");
  EXPECT_EQ(read_azure_trace("/nowhere/t.csv").error().code, Code::not_found);
  EXPECT_EQ(read_azure_trace("/").error().detail, "/ cannot be read: Is a directory.");
}

TEST(AzureTrace, reads_the_file_that_it_is_given) {
  const auto path = std::filesystem::path(testing::TempDir()) / fmt::format("cognive_trace_{}.csv", getpid());
  std::ofstream(path, std::ios::binary) << header << "2023-11-16 18:15:46,1,2\n";
  const auto trace = read_azure_trace(path.string());
  // Sparse: the size alone is refused, nothing is read.
  std::filesystem::resize_file(path, trace_bytes_max + 1);
  const auto large = read_azure_trace(path.string());
  std::filesystem::remove(path);
  ASSERT_TRUE(trace) << trace.error().detail;
  EXPECT_EQ(trace->rows.size(), 1U);
  ASSERT_FALSE(large);
  EXPECT_EQ(large.error().code, Code::too_large);
}

std::vector<Uuid> event_ids(const Trace& trace, const Uuid& run_id) {
  std::vector<Uuid> ids;
  for (const auto& row : trace.rows) ids.push_back(event_id_of(trace, row, run_id));
  return ids;
}

TEST(Ids, are_stable_and_distinct_also_for_identical_lines_out_of_order) {
  // a, b and c share an instant; a appears three times, with others between.
  const std::string a = "2023-11-16 18:15:46.5,1,1\n";
  const std::string b = "2023-11-16 18:15:46.5,1,2\n";
  const std::string c = "2023-11-16 18:15:46.50,1,1\n";
  const std::string later = "2023-11-16 18:15:47,1,1\n";
  const Trace trace = trace_of(later + a + b + a + later + c + a);
  std::vector<std::uint32_t> occurrences;
  for (const auto& row : trace.rows) occurrences.push_back(row.occurrence);
  EXPECT_EQ(occurrences, (std::vector<std::uint32_t>{0, 0, 0, 1, 1, 0, 2}));

  const Uuid run_id = run_id_of(trace, Uuid{});
  EXPECT_EQ(run_id.time()->text(), "2023-11-16T18:15:46.500000Z");
  const auto ids = event_ids(trace, run_id);
  EXPECT_EQ(std::set<Uuid>(ids.begin(), ids.end()).size(), ids.size());
  EXPECT_EQ(ids, event_ids(trace_of(later + a + b + a + later + c + a), run_id));
  EXPECT_EQ(ids[0].time()->text(), "2023-11-16T18:15:47.000000Z");
}

TEST(Ids, depend_on_agent_and_file) {
  const std::string row = "2023-11-16 18:15:46.5,1,1\n";
  const Uuid agent = Uuid::make();
  const Uuid run_id = run_id_of(trace_of(row), agent);
  EXPECT_EQ(run_id, run_id_of(trace_of(row), agent));
  EXPECT_NE(run_id, run_id_of(trace_of(row), Uuid::make()));
  EXPECT_NE(run_id, run_id_of(trace_of(row + row), agent));
  EXPECT_NE(event_ids(trace_of(row), run_id), event_ids(trace_of(row), Uuid::make()));
}

TEST(Ids, do_not_change_between_versions) {
  // Written down: another value here would make old imports come in twice.
  const Trace trace = trace_of("2023-11-16 18:15:46.6805900,374,44\n");
  const Uuid run_id = run_id_of(trace, *Uuid::parse("0192f0c1-2345-7678-9abc-def012345678"));
  EXPECT_EQ(run_id.text(), "018bd958-a2f8-7216-bf40-10d260a5a87a");
  EXPECT_EQ(event_ids(trace, run_id)[0].text(), "018bd958-a2f8-7bee-a836-3701c59b6188");
}

// As much of Cognive as an import meets: what is stored, by id, and how often each event was received.
struct FakeCognive {
  std::string agent_put_body;
  std::string run_start_body;
  std::string run_end_body;
  std::map<std::string, std::string> events;
  std::map<std::string, int> received;
  std::set<std::string> refused_inputs;  // "input_tokens" values that the server rejects
  int batches = 0;
  int run_ends = 0;
  std::function<std::optional<FakeReply>(int batch, const FakeReply& answer)> disturb;

  FakeReply operator()(const FakeRequest& request) {
    if (request.target == "/api/v1/agents") {
      agent_put_body = request.body;
      return {.status = 201, .body = R"({"id":"0192f0c1-2345-7678-9abc-def012345678","name":"a"})"};
    }
    if (request.target == "/api/v1/runs/start") {
      run_start_body = request.body;
      return {.status = 201, .body = R"({"run_id":"0192f0c1-2345-7678-9abc-def012345678","status":"running"})"};
    }
    if (request.target == "/api/v1/events") return post(request.body);
    run_end_body = request.body;
    ++run_ends;
    return {.status = 200, .body = "{}"};
  }

  FakeReply post(std::string body) {
    const auto before = events;
    int index = 0;
    int accepted = 0;
    std::string rejected;
    const auto walked = json::walk(body, [&](json::Cursor& root) {
      root.each_item([&](std::size_t, json::Cursor& item) {
        json::Writer event;
        item.copy_to(event);
        const std::string& text = event.text();
        const std::string id = text.substr(text.find("\"id\":\"") + 6, 36);
        ++received[id];
        const auto input = text.find("\"input_tokens\":") + 15;
        if (refused_inputs.contains(text.substr(input, text.find(',', input) - input))) {
          rejected += fmt::format(R"({}{{"index":{},"errors":[{{"pointer":"/model","message":"It is unknown."}}]}})",
                                  rejected.empty() ? "" : ",", index);
        } else {
          accepted += events.emplace(id, text).second ? 1 : 0;
        }
        ++index;
      });
    });
    if (!walked) return {.status = 400, .body = "{}"};
    const auto refused = std::ranges::count(rejected, '/');
    const FakeReply answer{.status = 200,
                           .body = fmt::format(R"({{"accepted":{},"duplicates":{},"rejected":[{}]}})", accepted,
                                               index - accepted - refused, rejected)};
    const auto instead = disturb ? disturb(++batches, answer) : std::nullopt;
    // Only a dropped connection comes after the commit.
    if (instead && !instead->drop) events = before;
    return instead.value_or(answer);
  }
};

ApiClient api_of(const FakeServer& server) {
  client::Clock clock = client::Clock::real();
  clock.sleep = [](std::chrono::milliseconds) {};
  return ApiClient({.base_url = server.url(), .api_key = "k", .api_key_source = "a test", .clock = clock});
}

Trace trace_of_rows(int count) {
  std::string rows;
  for (int i = 0; i < count; ++i) rows += fmt::format("2023-11-16 18:15:{:02}.5,{},{}\n", i % 60, i + 1, i / 60);
  return trace_of(rows);
}

const ImportOptions options{.agent = "chat", .model = "gpt-4", .batch_rows = 10};

TEST(Import, sends_agent_run_events_and_end) {
  FakeCognive cognive;
  FakeServer server(std::ref(cognive));
  ApiClient api = api_of(server);
  ImportOptions with_provider = options;
  with_provider.provider = "azure";
  const Trace trace = trace_of("2023-11-16 18:15:47,396,109\n2023-11-16 18:15:46.6805900,374,44\n");
  const auto summary = import_azure_trace(api, trace, with_provider, [](Progress) {});
  server.stop();
  ASSERT_TRUE(summary) << summary.error().detail;
  EXPECT_EQ(cognive.agent_put_body, R"({"name":"chat"})");
  const Uuid run_id = run_id_of(trace, summary->agent_id);
  EXPECT_EQ(summary->run_id, run_id);
  EXPECT_EQ(
      cognive.run_start_body,
      fmt::format(
          R"({{"run_id":"{}","agent_id":"0192f0c1-2345-7678-9abc-def012345678","started_at":"2023-11-16T18:15:46.680590Z"}})",
          run_id.text()));
  EXPECT_EQ(cognive.run_end_body, R"({"status":"succeeded","ended_at":"2023-11-16T18:15:47.000000Z"})");
  const std::string id = event_id_of(trace, trace.rows[1], run_id).text();
  EXPECT_EQ(
      cognive.events.at(id),
      fmt::format(R"({{"type":"llm_call","id":"{}","run_id":"{}","agent_id":"0192f0c1-2345-7678-9abc-def012345678",)"
                  R"("timestamp":"2023-11-16T18:15:46.680590Z","provider":"azure","model":"gpt-4",)"
                  R"("usage":{{"input_tokens":374,"output_tokens":44}},"status":"ok"}})",
                  id, run_id.text()));
}

TEST(Import, stores_every_row_once_across_refusals_and_lost_answers) {
  FakeCognive cognive;
  cognive.disturb = [](int batch, const FakeReply& answer) -> std::optional<FakeReply> {
    if (batch == 1) return FakeReply{.status = 503, .body = "", .headers = "Retry-After: 0\r\n"};
    if (batch == 4) return FakeReply{.status = 200, .body = answer.body, .drop = true};
    if (batch == 6) return FakeReply{.status = 429, .body = ""};
    return std::nullopt;
  };
  FakeServer server(std::ref(cognive));
  ApiClient api = api_of(server);
  const Trace trace = trace_of_rows(95);
  std::vector<std::size_t> done;
  const auto summary = import_azure_trace(api, trace, options, [&](Progress progress) {
    EXPECT_EQ(progress.total, 95U);
    done.push_back(progress.done);
  });
  ASSERT_TRUE(summary) << summary.error().detail;
  const auto again = import_azure_trace(api, trace, options, [](Progress) {});
  server.stop();
  ASSERT_TRUE(again) << again.error().detail;

  EXPECT_EQ(done, (std::vector<std::size_t>{0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95}));
  EXPECT_EQ(summary->rows, 95U);
  EXPECT_EQ(summary->accepted, 85);
  EXPECT_EQ(summary->duplicates, 10);  // the batch that was committed and whose answer was lost
  EXPECT_EQ(summary->input_tokens, 95 * 96 / 2);
  EXPECT_EQ(summary->output_tokens, 35);
  EXPECT_EQ(again->accepted, 0);
  EXPECT_EQ(again->duplicates, 95);
  EXPECT_EQ(again->run_id, summary->run_id);

  EXPECT_EQ(cognive.events.size(), 95U);
  EXPECT_EQ(cognive.received.size(), 95U);  // no other id was ever sent
  for (const auto& row : trace.rows) EXPECT_GE(cognive.received[event_id_of(trace, row, summary->run_id).text()], 2);
}

TEST(Import, fails_after_the_last_batch_when_rows_were_rejected) {
  FakeCognive cognive;
  cognive.refused_inputs = {"3", "15"};
  FakeServer server(std::ref(cognive));
  ApiClient api = api_of(server);
  const auto summary = import_azure_trace(api, trace_of_rows(25), options, [](Progress) {});
  server.stop();
  ASSERT_FALSE(summary);
  EXPECT_EQ(summary.error().code, Code::unprocessable);
  EXPECT_EQ(summary.error().detail,
            "The server rejected 2 of 25 rows and stored the others (23 new, 0 there already):\n"
            "  line 4: /model It is unknown.\n  line 16: /model It is unknown.");
  EXPECT_EQ(summary.error().fields,
            (std::vector<FieldError>{{"/4/model", "It is unknown.", ""}, {"/16/model", "It is unknown.", ""}}));
  EXPECT_EQ(cognive.events.size(), 23U);
  EXPECT_EQ(cognive.run_ends, 0);
}

TEST(Import, names_the_lines_that_a_refused_request_had) {
  FakeCognive cognive;
  cognive.disturb = [](int batch, const FakeReply&) -> std::optional<FakeReply> {
    if (batch == 2) return FakeReply{.status = 413, .body = R"({"detail":"The body is too large."})"};
    return std::nullopt;
  };
  FakeServer server(std::ref(cognive));
  ApiClient api = api_of(server);
  const auto summary = import_azure_trace(api, trace_of_rows(25), options, [](Progress) {});
  ASSERT_FALSE(summary);
  EXPECT_EQ(summary.error().code, Code::too_large);
  EXPECT_EQ(summary.error().detail,
            "Lines 12 to 21 were not imported (those before them are stored; repeating the import completes it): "
            "The body is too large.");
}

TEST(Import, does_not_believe_an_answer_that_loses_rows) {
  FakeCognive cognive;
  cognive.disturb = [](int, const FakeReply&) {
    return FakeReply{.status = 200, .body = R"({"accepted":9,"duplicates":0,"rejected":[]})"};
  };
  FakeServer server(std::ref(cognive));
  ApiClient api = api_of(server);
  const auto summary = import_azure_trace(api, trace_of_rows(25), options, [](Progress) {});
  ASSERT_FALSE(summary);
  EXPECT_EQ(summary.error().code, Code::internal);
}

TEST(Import, takes_the_whole_trace_when_it_is_here) {
  const std::string path = std::string(COGNIVE_SOURCE_DIR) + "/../shared/data/AzureLLMInferenceTrace_conv.csv";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not here";
  const auto trace = read_azure_trace(path);
  ASSERT_TRUE(trace) << trace.error().detail;
  EXPECT_EQ(trace->rows.size(), 19366U);
  EXPECT_EQ(trace->input_tokens, 22361870);
  EXPECT_EQ(trace->output_tokens, 4088665);

  FakeCognive cognive;
  FakeServer server(std::ref(cognive));
  ApiClient api = api_of(server);
  ImportOptions in_large_batches = options;
  in_large_batches.batch_rows = 5000;
  const auto summary = import_azure_trace(api, *trace, in_large_batches, [](Progress) {});
  server.stop();
  ASSERT_TRUE(summary) << summary.error().detail;
  EXPECT_EQ(summary->accepted, 19366);
  EXPECT_EQ(cognive.events.size(), 19366U);
}

TEST(ProgressLine, drops_its_lesser_parts_when_there_is_no_room) {
  const Progress progress{.done = 12'200, .total = 19'366};
  const auto line = [&](std::size_t columns) {
    return progress_line("importing", "rows", progress, std::chrono::duration<double>(1.34), columns);
  };
  EXPECT_EQ(line(120), "importing ▕███████████████░░░░░░░░░▏ 63 %  12,200 / 19,366 rows  9,100 rows/s  0:01 left");
  EXPECT_EQ(line(80), "importing ▕█████████░░░░░░▏ 63 %  12,200 / 19,366 rows  9,100 rows/s  0:01 left");
  EXPECT_EQ(line(65), "importing 63 %  12,200 / 19,366 rows  9,100 rows/s  0:01 left");
  EXPECT_EQ(line(55), "importing 63 %  12,200 / 19,366 rows  9,100 rows/s");
  EXPECT_EQ(line(45), "importing 63 %  12,200 / 19,366 rows");
  EXPECT_EQ(line(20), "63 %");
}

TEST(ProgressLine, knows_the_beginning_and_the_end) {
  EXPECT_EQ(progress_line("importing", "rows", {.done = 0, .total = 10}, std::chrono::seconds(0), 50),
            "importing ▕░░░░░░░░░░░░░░░░░░░░▏ 0 %  0 / 10 rows");
  EXPECT_EQ(progress_line("importing", "rows", {.done = 10, .total = 10}, std::chrono::seconds(5), 63),
            "importing ▕████████████████████▏ 100 %  10 / 10 rows  2 rows/s");
  EXPECT_EQ(progress_line("importing", "rows", {.done = 1, .total = 7201}, std::chrono::seconds(1), 65),
            "importing ▕░░░░░░░░▏ 0 %  1 / 7,201 rows  1 rows/s  2:00:00 left");
}

}  // namespace
}  // namespace cognive::imports
