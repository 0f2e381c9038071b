#include "imports/azure_import.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <span>
#include <vector>

#include "base/text.hpp"
#include "json/writer.hpp"

namespace cognive::imports {
namespace {

constexpr std::size_t rejected_kept_max = 20;
constexpr std::size_t rejected_shown = 5;

std::string counted(std::size_t rows) {
  return fmt::format("{} {}", grouped(static_cast<long long>(rows)), rows == 1 ? "row" : "rows");
}

// What all events of one import have in common.
struct Target {
  const Trace& trace;
  const ImportOptions& options;
  Uuid agent_id;
  Uuid run_id;
};

void write_event(json::Writer& out, const Target& target, const TraceRow& row) {
  out.begin_object();
  out.field("type", "llm_call");
  out.field("id", event_id_of(target.trace, row, target.run_id).text());
  out.field("run_id", target.run_id.text());
  out.field("agent_id", target.agent_id.text());
  out.field("timestamp", row.time.text());
  if (target.options.provider) out.field("provider", *target.options.provider);
  out.field("model", target.options.model);
  out.key("usage");
  out.begin_object();
  out.key("input_tokens");
  out.integer(row.input_tokens);
  out.key("output_tokens");
  out.integer(row.output_tokens);
  out.end_object();
  out.field("status", "ok");
  out.end_object();
}

struct Batch {
  std::size_t first;  // row
  std::size_t count;
};

std::string batch_body(const Target& target, Batch batch) {
  json::Writer out;
  out.begin_array();
  for (const auto& row : std::span(target.trace.rows).subspan(batch.first, batch.count)) write_event(out, target, row);
  out.end_array();
  return std::move(out).text();
}

// Rows that the server refused: all are counted, the first are kept.
struct Rejected {
  std::size_t rows = 0;
  std::vector<std::string> shown;
  std::vector<FieldError> fields;

  void add(std::size_t line, const std::vector<FieldError>& errors) {
    ++rows;
    if (rows > rejected_kept_max) return;
    std::string messages;
    for (const auto& fault : errors) {
      messages += fmt::format("{}{} {}", messages.empty() ? "" : " ", fault.pointer, fault.message);
      fields.push_back({fmt::format("/{}{}", line, fault.pointer), fault.message, fault.rejected});
    }
    if (rows <= rejected_shown) shown.push_back(fmt::format("line {}: {}", line, messages));
  }
};

// Adds one batch's answer to the sums. The answer must account for every row: an acknowledgement that does not is a
// fault that nobody would find later.
Result<void> tally(const client::EventsAnswer& answer, Batch batch, ImportSummary& summary, Rejected& rejected) {
  const auto accounted = answer.accepted + answer.duplicates + static_cast<std::int64_t>(answer.rejected.size());
  if (accounted != static_cast<std::int64_t>(batch.count)) {
    return fail(Code::internal,
                fmt::format("The server was sent {} and accounted for {}.", counted(batch.count), accounted));
  }
  summary.accepted += answer.accepted;
  summary.duplicates += answer.duplicates;
  for (const auto& event : answer.rejected) {
    if (event.index >= batch.count) return fail(Code::internal, "The server rejected a row that it was not sent.");
    rejected.add(Trace::line_number(batch.first + event.index), event.errors);
  }
  return {};
}

std::unexpected<Error> in_lines(Batch batch, Error error) {
  error.detail = fmt::format(
      "Lines {} to {} were not imported (those before them are stored; repeating the import completes it): {}",
      Trace::line_number(batch.first), Trace::line_number(batch.first + batch.count - 1), error.detail);
  return fail(std::move(error));
}

std::unexpected<Error> rejection(Rejected rejected, const ImportSummary& summary) {
  std::string detail = fmt::format("The server rejected {} of {}", grouped(static_cast<long long>(rejected.rows)),
                                   counted(summary.rows));
  detail += fmt::format(
      " and stored the others ({} new, {} there already){}:", grouped(summary.accepted), grouped(summary.duplicates),
      rejected.rows > rejected.shown.size() ? fmt::format("; the first {}", rejected.shown.size()) : "");
  for (const auto& line : rejected.shown) detail += "\n  " + line;
  return std::unexpected(Error{Code::unprocessable, std::move(detail), std::move(rejected.fields)});
}

}  // namespace

Result<ImportSummary> import_azure_trace(client::ApiClient& api, const Trace& trace, const ImportOptions& options,
                                         FunctionRef<void(Progress)> progress) {
  if (options.batch_rows == 0) return unprocessable("/batch_rows", "It must be at least 1.", "0");
  const auto begin = std::chrono::steady_clock::now();
  // Nothing but the name unless asked: a PUT replaces what it names, and the agent may be somebody's.
  const auto agent = api.agent_put({.name = options.agent, .environment = options.environment});
  if (!agent) return std::unexpected(agent.error());
  const Target target{.trace = trace, .options = options, .agent_id = agent->id, .run_id = run_id_of(trace, agent->id)};
  const auto run = api.run_start({.run_id = target.run_id, .agent_id = target.agent_id, .started_at = trace.first});
  if (!run) return std::unexpected(run.error());

  ImportSummary summary{.agent_id = target.agent_id,
                        .run_id = target.run_id,
                        .rows = trace.rows.size(),
                        .input_tokens = trace.input_tokens,
                        .output_tokens = trace.output_tokens};
  Rejected rejected;
  progress({.done = 0, .total = trace.rows.size()});
  for (Batch batch{.first = 0, .count = 0}; batch.first < trace.rows.size(); batch.first += batch.count) {
    batch.count = std::min(options.batch_rows, trace.rows.size() - batch.first);
    const auto answer = api.events_post(batch_body(target, batch));
    if (!answer) return in_lines(batch, answer.error());
    if (const auto sums = tally(*answer, batch, summary, rejected); !sums) return in_lines(batch, sums.error());
    progress({.done = batch.first + batch.count, .total = trace.rows.size()});
  }
  if (rejected.rows > 0) return rejection(std::move(rejected), summary);

  if (const auto ended = api.run_end(target.run_id, {.status = "succeeded", .ended_at = trace.last}); !ended) {
    Error error = ended.error();
    error.detail = fmt::format("All {} are stored, but run {} could not be ended: {}", counted(summary.rows),
                               target.run_id.text(), error.detail);
    return fail(std::move(error));
  }
  summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return summary;
}

}  // namespace cognive::imports
