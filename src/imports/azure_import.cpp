#include "imports/azure_import.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <span>
#include <vector>

#include "base/text.hpp"
#include "json/cursor.hpp"
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

// A row that is sent, and the reservation that it settles.
struct SentRow {
  std::size_t row = 0;
  std::optional<Uuid> reservation_id;
};

void write_event(json::Writer& out, const Target& target, const SentRow& sent) {
  const auto& row = target.trace.rows[sent.row];
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
  if (sent.reservation_id) out.field("reservation_id", sent.reservation_id->text());
  out.end_object();
}

struct Batch {
  std::size_t first;  // row
  std::size_t count;
  std::vector<SentRow> sent;  // of them: all, or those that budgets have room for
};

std::string batch_body(const Target& target, const Batch& batch) {
  json::Writer out;
  out.begin_array();
  for (const auto& row : batch.sent) write_event(out, target, row);
  out.end_array();
  return std::move(out).text();
}

// Asks for one row; nothing when a budget refuses it.
Result<std::optional<Uuid>> authorise(client::ApiClient& api, const Target& target, const TraceRow& row,
                                      ImportSummary::Refused& refused) {
  client::AuthoriseRequest request{.reservation_id = event_id_of(target.trace, row, target.run_id),
                                   .agent_id = target.agent_id,
                                   .run_id = target.run_id,
                                   .model = target.options.model,
                                   .provider = target.options.provider,
                                   .input_tokens = row.input_tokens,
                                   .output_tokens = row.output_tokens};
  auto answer = api.authorise(request);
  if (!answer && answer.error().code == Code::conflict) {
    // Asked for by an import before: settled by its call, or given back before there was one.
    const auto known = api.get("/api/v1/budgets/reservations/" + request.reservation_id.text());
    if (known && known->find(R"("state":"settled")") != std::string::npos) return request.reservation_id;
    request.reservation_id = Uuid::make();
    answer = api.authorise(request);
  }
  if (!answer) return std::unexpected(answer.error());
  if (answer->granted) return request.reservation_id;
  ++refused.rows;
  if (answer->metric == "cost") {
    refused.cost.nanos += NanoUsd::exactly(answer->wanted).value_or(NanoUsd{}).nanos;
  } else {
    ++refused.unpriced;
  }
  return std::nullopt;
}

// Which rows of the batch are sent.
Result<void> choose_rows(client::ApiClient& api, const Target& target, Batch& batch, ImportSummary::Refused& refused) {
  for (auto row = batch.first; row < batch.first + batch.count; ++row) {
    if (!target.options.authorise) {
      batch.sent.push_back({.row = row, .reservation_id = {}});
      continue;
    }
    const auto reservation = authorise(api, target, target.trace.rows[row], refused);
    if (!reservation) return std::unexpected(reservation.error());
    if (*reservation) batch.sent.push_back({.row = row, .reservation_id = *reservation});
  }
  return {};
}

// What the server says that the calls of the run cost.
Result<NanoUsd> cost_of_run(client::ApiClient& api, const Uuid& run_id) {
  auto body = api.get("/api/v1/runs/" + run_id.text());
  if (!body) return std::unexpected(body.error());
  std::optional<NanoUsd> cost;
  const auto walked = json::walk(*body, [&](json::Cursor& root) {
    root.each_field([&](std::string_view key, json::Cursor& value) {
      if (key != "totals") return;
      value.each_field([&](std::string_view name, json::Cursor& member) {
        if (name != "cost_usd" || member.kind() != json::Kind::number) return;
        if (const auto amount = Decimal::parse(member.number())) cost = NanoUsd::exactly(*amount);
      });
    });
  });
  if (!walked || !cost) return fail(Code::malformed, "The server does not say what the run costs.");
  return *cost;
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
Result<void> tally(const client::EventsAnswer& answer, const Batch& batch, ImportSummary& summary, Rejected& rejected) {
  const auto accounted = answer.accepted + answer.duplicates + static_cast<std::int64_t>(answer.rejected.size());
  if (accounted != std::ssize(batch.sent)) {
    return fail(Code::internal,
                fmt::format("The server was sent {} and accounted for {}.", counted(batch.sent.size()), accounted));
  }
  summary.accepted += answer.accepted;
  summary.duplicates += answer.duplicates;
  for (const auto& event : answer.rejected) {
    if (event.index >= batch.sent.size())
      return fail(Code::internal, "The server rejected a row that it was not sent.");
    rejected.add(Trace::line_number(batch.sent[event.index].row), event.errors);
  }
  return {};
}

std::unexpected<Error> in_lines(const Batch& batch, Error error) {
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
  for (std::size_t first = 0; first < trace.rows.size(); first += options.batch_rows) {
    Batch batch{.first = first, .count = std::min(options.batch_rows, trace.rows.size() - first), .sent = {}};
    if (const auto chosen = choose_rows(api, target, batch, summary.refused); !chosen)
      return in_lines(batch, chosen.error());
    if (batch.sent.empty()) {
      progress({.done = first + batch.count, .total = trace.rows.size()});
      continue;
    }
    const auto answer = api.events_post(batch_body(target, batch));
    if (!answer) return in_lines(batch, answer.error());
    if (const auto sums = tally(*answer, batch, summary, rejected); !sums) return in_lines(batch, sums.error());
    progress({.done = batch.first + batch.count, .total = trace.rows.size()});
  }
  if (rejected.rows > 0) return rejection(std::move(rejected), summary);
  if (options.authorise) {
    const auto cost = cost_of_run(api, target.run_id);
    if (!cost) return std::unexpected(cost.error());
    summary.accepted_cost = *cost;
  }
  summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (summary.refused.rows > 0) {
    progress({.done = trace.rows.size(), .total = trace.rows.size()});
    return summary;
  }

  if (const auto ended = api.run_end(target.run_id, {.status = "succeeded", .ended_at = trace.last}); !ended) {
    Error error = ended.error();
    error.detail = fmt::format("All {} are stored, but run {} could not be ended: {}", counted(summary.rows),
                               target.run_id.text(), error.detail);
    return fail(std::move(error));
  }
  return summary;
}

}  // namespace cognive::imports
