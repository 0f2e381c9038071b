#include "events/routes.hpp"

#include "base/text.hpp"
#include "http/problem.hpp"
#include "http/router.hpp"
#include "identity/permissions.hpp"

namespace cognive::events {
namespace {

// Events of one batch: bounded by the body's size anyway, this bounds what one transaction and one answer hold.
constexpr std::size_t batch_events_max = 50'000;

// A batch as it was read: what passed, and where it stood.
struct Batch {
  std::vector<Event> events;
  std::vector<std::int64_t> indexes;
  BatchAnswer answer;

  void make_room(std::string_view body) {
    constexpr std::size_t bytes_of_event = 256;  // most are longer
    const auto count = std::min(body.size() / bytes_of_event, batch_events_max) + 1;
    events.reserve(count);
    indexes.reserve(count);
  }
};

// Reads the event where it will stay: events are large, and batches of them long.
template <typename Read>
void take(Batch& batch, std::int64_t index, const Read& read) {
  json::Faults faults;
  if (read(batch.events.emplace_back(), faults)) {
    batch.indexes.push_back(index);
  } else {
    batch.events.pop_back();
    batch.answer.rejected.push_back({index, faults.take()});
  }
}

Error too_many() {
  return {Code::too_large, fmt::format("A batch must not have more than {} events.", batch_events_max), {}};
}

Result<Batch> read_array(std::string body, Timestamp now) {
  Batch batch;
  batch.make_room(body);
  bool is_array = true;
  bool full = false;
  auto walked = json::walk(body, [&](json::Cursor& root) {
    if (root.kind() != json::Kind::array) {
      is_array = false;
      return;
    }
    root.each_item([&](std::size_t index, json::Cursor& item) {
      full = full || index >= batch_events_max;
      if (full) return;
      take(batch, static_cast<std::int64_t>(index),
           [&](Event& event, json::Faults& faults) { return read_event(item, event, faults, now); });
    });
  });
  if (!walked) return std::unexpected(walked.error());
  if (!is_array)
    return unprocessable("", "It must be an array of events, or one event per line as application/x-ndjson.");
  if (full) return std::unexpected(too_many());
  return batch;
}

// One event per line. Lines are their own frames, so a line that is not JSON is rejected alone, like any other bad
// event.
Result<Batch> read_lines(std::string_view body, Timestamp now) {
  Batch batch;
  batch.make_room(body);
  std::int64_t index = 0;
  while (!body.empty()) {
    const auto end = body.find('\n');
    const auto line = trim(body.substr(0, end));
    body = end == std::string_view::npos ? std::string_view{} : body.substr(end + 1);
    if (line.empty()) continue;
    if (index >= static_cast<std::int64_t>(batch_events_max)) return std::unexpected(too_many());
    std::string text(line);
    take(batch, index, [&](Event& event, json::Faults& faults) {
      bool is_whole = false;
      const auto walked =
          json::walk(text, [&](json::Cursor& root) { is_whole = read_event(root, event, faults, now); });
      if (walked) return is_whole;
      faults = {};
      faults.add(walked.error().detail);
      return false;
    });
    ++index;
  }
  return batch;
}

Async<http::Response> post_batch(Ingest& ingest, const Call& call, const http::Request& request) {
  const auto type = http::media_type(request);
  const bool lines = type == "application/x-ndjson" || type == "application/ndjson" || type == "application/jsonl";
  if (!lines && !type.empty() && type != "application/json") {
    const Error error{Code::unsupported_media, "The body must be application/json or application/x-ndjson.", {}};
    co_return http::problem(error, request);
  }
  auto batch = lines ? read_lines(request.body, Timestamp::now()) : read_array(request.body, Timestamp::now());
  if (!batch) co_return http::problem(batch.error(), request);
  std::vector<Uuid> run_ids;
  for (const auto& event : batch->events) run_ids.push_back(event.run_id);
  auto fates = co_await ingest.submit(call, std::move(batch->events), request.body.size());
  if (!fates) co_return http::problem(fates.error(), request);

  auto& answer = batch->answer;
  for (std::size_t i = 0; i < fates->size(); ++i) {
    auto& fate = (*fates)[i];
    if (fate.violation)
      answer.violations.push_back(
          {batch->indexes[i], std::string(fate.violation->subject), std::move(fate.violation->detail)});
    if (fate.terminate) answer.terminated.try_emplace(run_ids[i], std::move(*fate.terminate));
    switch (fate.kind) {
      case Fate::Kind::accepted:
        ++answer.accepted;
        break;
      case Fate::Kind::duplicate:
        ++answer.duplicates;
        break;
      case Fate::Kind::rejected:
        answer.rejected.push_back({batch->indexes[i], {std::move(fate.error)}});
        break;
    }
  }
  std::ranges::sort(answer.rejected, {}, &Rejected::index);
  http::Response response;
  response.body = batch_answer_json(answer);
  co_return response;
}

Async<http::Response> post_one(Ingest& ingest, EventType type, std::string_view path_template, const Call& call,
                               const http::Request& request) {
  const auto id_text = http::path_parameters(path_template, request).front().second;
  const auto run_id = Uuid::parse(id_text);
  auto body = http::json_body(request);
  if (!body) co_return http::problem(body.error(), request);
  auto event = decode_event(std::move(*body), type, run_id.value_or(Uuid{}), Timestamp::now());
  if (!run_id) {
    const auto fault =
        unprocessable("{id}", "It must be a UUID in its 36-character form.", json::quoted(shortened(id_text, 64)));
    const auto error = event ? fault.error() : http::with_body_faults(fault.error(), event.error());
    co_return http::problem(error, request);
  }
  if (!event) co_return http::problem(event.error(), request);
  const auto id = event->base().id;
  std::vector<Event> events;
  events.push_back(std::move(*event));
  auto fates = co_await ingest.submit(call, std::move(events), request.body.size());
  if (!fates) co_return http::problem(fates.error(), request);
  auto& fate = fates->front();
  if (fate.kind == Fate::Kind::rejected) {
    Error error{fate.code, fate.error.message, {}};
    if (fate.code == Code::unprocessable) error.fields.push_back(std::move(fate.error));
    co_return http::problem(error, request);
  }
  json::Writer answer;
  answer.begin_object();
  answer.field("id", id.text());
  answer.field("run_id", run_id->text());
  answer.key("duplicate");
  answer.boolean(fate.kind == Fate::Kind::duplicate);
  if (fate.violation) answer.field("violation", fate.violation->subject);
  if (fate.terminate) {
    answer.field("order", "terminate");
    answer.field("reason", *fate.terminate);
  }
  answer.end_object();
  co_return http::Response{.status = fate.kind == Fate::Kind::duplicate ? 200 : 201, .body = std::move(answer).text()};
}

}  // namespace

void add_routes(http::Router& router, Ingest& ingest) {
  constexpr std::string_view tag = "Events";
  add_batch_schemas(router.components());
  http::Router::Description batch;
  batch.body = R"({"type":"array","items":{"$ref":"#/components/schemas/Event"},"maxItems":50000})";
  batch.body_types = {"application/json", "application/x-ndjson"};
  batch.answer = R"({"$ref":"#/components/schemas/BatchAnswer"})";
  router.add_raw({.method = "POST",
                  .path = "/api/v1/events",
                  .id = "event_batch",
                  .tag = tag,
                  .summary = "Report events of any kind and run",
                  .description = "A JSON array, or one event per line; gzip is accepted. A bad event is rejected "
                                 "alone. Repeats change nothing.",
                  .permission = identity::permission::events_write},
                 std::move(batch), [&ingest](const Call& call, const http::Request& request) {
                   return post_batch(ingest, call, request);
                 });

  struct Single {
    EventType type;
    std::string_view path;
    std::string_view id;
    std::string_view schema;
    std::string_view summary;
  };
  static constexpr Single singles[] = {
      {EventType::step, "/api/v1/runs/{id}/steps", "step_create", "Step", "Report a step of a run"},
      {EventType::llm_call, "/api/v1/runs/{id}/llm-calls", "llm_call_create", "LlmCall", "Report an LLM call of a run"},
      {EventType::tool_invocation, "/api/v1/runs/{id}/tool-invocations", "tool_invocation_create", "ToolInvocation",
       "Report a tool invocation of a run"},
  };
  for (const auto& single : singles) {
    http::Router::Description description;
    description.parameters = {
        R"({"name":"id","in":"path","required":true,"description":"The run's id.","schema":{"type":"string","format":"uuid"}})"};
    description.body = R"({"$ref":"#/components/schemas/)" + std::string(single.schema) + "\"}";
    description.answer = R"({"$ref":"#/components/schemas/EventAnswer"})";
    router.add_raw({.method = "POST",
                    .path = single.path,
                    .id = single.id,
                    .tag = tag,
                    .summary = single.summary,
                    .description = "A repeat answers 200; other content under the same id is a conflict.",
                    .permission = identity::permission::events_write,
                    .status = 201,
                    .also = {200, 409}},
                   std::move(description), [&ingest, &single](const Call& call, const http::Request& request) {
                     return post_one(ingest, single.type, single.path, call, request);
                   });
  }
}

}  // namespace cognive::events
