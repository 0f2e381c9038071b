#include "events/events.hpp"

#include <charconv>

#include "base/text.hpp"
#include "events/stored.hpp"

namespace cognive::events {
namespace {

// Everything that the caller said about the event, in one canonical text; what identifies the event (run, id) is not in
// it.
class Canonical {
 public:
  explicit Canonical(std::string& text) : text_(text) { text_.clear(); }

  void add(std::string_view text) {
    // Lengths keep neighbours apart.
    add_number(static_cast<std::int64_t>(text.size()), ':');
    text_ += text;
  }
  void add(std::int64_t number) { add_number(number, ';'); }
  void add(const Uuid& id) { id.append_to(text_); }
  void add(Timestamp time) { add(time.micros); }
  void add(Outcome status) { add(static_cast<std::int64_t>(status)); }
  void add(const json::Object& object) { add(std::string_view(object.text)); }
  template <typename T>
  void add(const std::optional<T>& value) {
    text_.push_back(value ? '+' : '-');
    if (value) add(*value);
  }
  void add(const prices::Usage& usage) {
    const auto& units = prices::Units::shipped();
    add(static_cast<std::int64_t>(std::popcount(usage.reported_units())));
    for (const auto unit : units.in_order_of_names()) {
      if (!usage.is_reported(unit)) continue;
      add(std::string_view(units[unit].name));
      add(usage.reported(unit));
    }
  }

 private:
  void add_number(std::int64_t number, char end) {
    std::array<char, 24> digits;
    const auto written = std::to_chars(digits.data(), digits.data() + digits.size(), number);
    text_.append(digits.data(), written.ptr);
    text_.push_back(end);
  }

  std::string& text_;
};

void add_body(Canonical& out, const LlmCall& call) {
  out.add(call.provider);
  out.add(std::string_view(call.model));
  out.add(call.usage);
  out.add(call.status);
  out.add(call.reservation_id);
}

void add_body(Canonical& out, const ToolInvocation& call) {
  out.add(std::string_view(call.tool));
  out.add(call.status);
  out.add(call.data_source);
}

void add_body(Canonical& out, const Step& step) {
  out.add(step.index);
  out.add(std::string_view(step.kind));
  out.add(std::string_view(step.name));
  out.add(step.status);
}

// Checks what single fields cannot tell, whatever faults these had. Whether there are none at all.
bool complete(Event& event, std::optional<Uuid> path_run_id, json::Faults& faults, Timestamp now,
              std::size_t faults_before) {
  const auto& base = event.base();
  if (!faults.has_at("run_id")) {
    if (!path_run_id && !base.run_id) faults.add_at("run_id", "It is required.");
    if (path_run_id && base.run_id && *base.run_id != *path_run_id) {
      faults.add_at("run_id", "It must be the run of the path, or absent.", json::quoted(base.run_id->text()));
    }
  }
  if (base.timestamp && !base.timestamp->is_plausible(now) && !faults.has_at("timestamp")) {
    faults.add_at("timestamp", "It must lie between 1970 and tomorrow.", json::quoted(base.timestamp->text()));
  }
  if (const auto* call = std::get_if<LlmCall>(&event.body)) {
    const json::Faults::Scope scope(faults, "usage");
    for (auto& excess : call->usage.excesses()) {
      if (!faults.has_at(excess.pointer))
        faults.add_at(excess.pointer, std::move(excess.message), std::move(excess.rejected));
    }
  }
  if (faults.count() > faults_before) return false;
  event.run_id = path_run_id ? *path_run_id : *base.run_id;
  event.timestamp = base.timestamp.value_or(now);
  return true;
}

void read_body(json::Cursor& in, std::variant<LlmCall, ToolInvocation, Step>& body, EventType type,
               json::Faults& faults) {
  switch (type) {
    case EventType::llm_call:
      json::read(in, body.emplace<LlmCall>(), faults);
      break;
    case EventType::tool_invocation:
      json::read(in, body.emplace<ToolInvocation>(), faults);
      break;
    case EventType::step:
      json::read(in, body.emplace<Step>(), faults);
      break;
  }
}

}  // namespace

void read(json::Cursor& in, Content& out, json::Faults&, const json::Rules&) {
  json::Writer text;
  out.storable = in.copy_to(text).empty();
  out.json = std::move(text).text();
}

std::int64_t ContentHash::of(const Event& event) {
  Canonical out(text_);
  out.add(static_cast<std::int64_t>(event.type()));
  const auto& base = event.base();
  out.add(base.timestamp);
  out.add(base.parent_step_id);
  out.add(base.error);
  out.add(base.duration_ms);
  out.add(base.metadata);
  std::visit([&](const auto& body) { add_body(out, body); }, event.body);
  return hash_.of(text_);
}

bool read_event(json::Cursor& in, Event& out, json::Faults& faults, Timestamp now) {
  if (in.kind() != json::Kind::object) {
    faults.add("It must be an object.", in.excerpt());
    return false;
  }
  const auto type = in.peek_string("type");
  EventType kind{};
  if (!type || !json::enum_parse(*type, kind)) {
    in.skip();
    faults.add_at("type", "It must be one of: llm_call, tool_invocation, step.",
                  type ? json::quoted(shortened(*type, 64)) : "");
    return false;
  }
  const auto before = faults.count();
  read_body(in, out.body, kind, faults);
  return complete(out, std::nullopt, faults, now, before);
}

Result<Event> decode_event(std::string body, EventType type, const Uuid& run_id, Timestamp now) {
  Event event;
  json::Faults faults;
  const auto walked = json::walk(body, [&](json::Cursor& root) { read_body(root, event.body, type, faults); });
  if (!walked) return std::unexpected(walked.error());
  const auto stated = event.base().type;
  if (stated && *stated != type && !faults.has_at("type")) {
    faults.add_at("type", "It must be " + std::string(json::enum_text(type)) + " here, or absent.",
                  json::quoted(json::enum_text(*stated)));
  }
  if (complete(event, run_id, faults, now, 0)) return event;
  return unprocessable(faults.take());
}

std::string batch_answer_json(const BatchAnswer& answer) {
  json::Writer out;
  out.begin_object();
  out.key("accepted");
  out.integer(answer.accepted);
  out.key("duplicates");
  out.integer(answer.duplicates);
  out.key("rejected");
  out.begin_array();
  for (const auto& item : answer.rejected) {
    out.begin_object();
    out.key("index");
    out.integer(item.index);
    out.key("errors");
    out.begin_array();
    for (const auto& error : item.errors) {
      out.begin_object();
      out.field("pointer", error.pointer);
      out.field("message", error.message);
      if (!error.rejected.empty()) out.field("rejected", error.rejected);
      out.end_object();
    }
    out.end_array();
    out.end_object();
  }
  out.end_array();
  if (!answer.violations.empty()) {
    out.key("violations");
    out.begin_array();
    for (const auto& one : answer.violations) {
      out.begin_object();
      out.key("index");
      out.integer(one.index);
      out.field("subject", one.subject);
      out.field("detail", one.detail);
      out.end_object();
    }
    out.end_array();
  }
  if (!answer.terminated.empty()) {
    out.key("terminate");
    out.begin_array();
    for (const auto& [run_id, reason] : answer.terminated) {
      out.begin_object();
      out.field("run_id", run_id.text());
      out.field("reason", reason);
      out.end_object();
    }
    out.end_array();
  }
  out.end_object();
  return std::move(out).text();
}

std::string Stored::message() const {
  json::Writer out;
  out.begin_object();
  for (const auto& [type, text] : enum_names(EventType{})) {
    out.key(text);
    out.integer(static_cast<std::int64_t>(counts[static_cast<std::size_t>(type)]));
  }
  out.end_object();
  return std::move(out).text();
}

void add_batch_schemas(json::Components& components) {
  json::Writer ignored;
  ignored.begin_array();
  json::schema_object<LlmCall>(ignored, {}, components);
  json::schema_object<ToolInvocation>(ignored, {}, components);
  json::schema_object<Step>(ignored, {}, components);
  // `type` tells the kinds apart; in batches it and run_id are required.
  std::string kinds;
  for (const auto& [type, text] : enum_names(EventType{})) {
    constexpr std::array<std::string_view, 3> names{LlmCall::schema_name, ToolInvocation::schema_name,
                                                    Step::schema_name};
    kinds += fmt::format(
        R"({}{{"allOf":[{{"$ref":"#/components/schemas/{}"}},{{"properties":{{"type":{{"const":"{}"}},"run_id":{{}}}},)"
        R"("required":["type","run_id"]}}]}})",
        kinds.empty() ? "" : ",", names[static_cast<std::size_t>(type)], text);
  }
  components.schemas["Event"] = R"({"oneOf":[)" + kinds + "]}";
  components.schemas["BatchAnswer"] =
      R"({"type":"object","properties":{"accepted":{"type":"integer","description":"Stored now."},)"
      R"("duplicates":{"type":"integer","description":"Stored before; nothing changed."},)"
      R"("rejected":{"type":"array","items":{"type":"object","properties":{"index":{"type":"integer","description":)"
      R"("Position in the batch, from 0."},"errors":{"type":"array","items":{"type":"object","properties":{"pointer":)"
      R"({"type":"string"},"message":{"type":"string"},"rejected":{"type":"string"}},"required":["pointer","message"]}}},)"
      R"("required":["index","errors"]}},"violations":{"type":"array","description":"Events of something that the )"
      R"(agent's policy forbids, stored all the same. Absent when there are none.","items":{"type":"object","properties":)"
      R"({"index":{"type":"integer"},"subject":{"type":"string"},"detail":{"type":"string"}},"required":["index",)"
      R"("subject","detail"]}},"terminate":{"type":"array","description":"Runs that have been terminated and have to )"
      R"(stop. Absent when there are none.","items":{"type":"object","properties":{"run_id":{"type":"string","format":)"
      R"("uuid"},"reason":{"type":"string"}},"required":["run_id","reason"]}}},)"
      R"("required":["accepted","duplicates","rejected"]})";
  components.schemas["EventAnswer"] =
      R"({"type":"object","properties":{"id":{"type":"string","format":"uuid"},"run_id":{"type":"string","format":"uuid"},)"
      R"("duplicate":{"type":"boolean"},"violation":{"type":"string","description":"What of it the agent's policy )"
      R"(forbids; absent when nothing."},"order":{"type":"string","const":"terminate","description":"The run has been )"
      R"(terminated and has to stop; absent when it goes on."},"reason":{"type":"string"}},)"
      R"("required":["id","run_id","duplicate"]})";
}

}  // namespace cognive::events
