// Events: what happens inside runs. Steps, LLM calls and tool invocations, reported one by one or in batches, each
// exactly once.
//
// An event's identity is its kind, its run and its id. A repeat with the same content changes nothing; other content
// under the same id is a conflict. Of inputs, outputs, prompts and arguments only what the agent's policy wants is kept
// (events/content.hpp); the rest is dropped before anything is stored or logged.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/crypto.hpp"
#include "base/error.hpp"
#include "base/uuid.hpp"
#include "json/bind.hpp"
#include "json/schema.hpp"
#include "prices/usage.hpp"

namespace cognive::events {

enum class EventType { llm_call, tool_invocation, step };

constexpr auto enum_names(EventType) {
  return std::array{json::name(EventType::llm_call, "llm_call"),
                    json::name(EventType::tool_invocation, "tool_invocation"), json::name(EventType::step, "step")};
}

enum class Outcome { ok, error };

constexpr auto enum_names(Outcome) {
  return std::array{json::name(Outcome::ok, "ok"), json::name(Outcome::error, "error")};
}

// What was said to a model or a tool, or by one: any JSON value, compact; empty when the caller sent none. It is not
// part of what tells a repeat from other content, since what is kept of it may change.
struct Content {
  std::string json;
  bool storable = true;  // whether PostgreSQL could store it as it is
};

void read(json::Cursor& in, Content& out, json::Faults& faults, const json::Rules& rules);

inline constexpr std::size_t event_metadata_bytes_max = 16 << 10;
inline constexpr std::int64_t duration_ms_max = 366LL * 86'400'000;

// What all kinds have in common.
struct EventBase {
  std::optional<EventType> type;
  Uuid id;
  std::optional<Uuid> run_id;
  std::optional<Uuid> agent_id;
  std::optional<Timestamp> timestamp;
  std::optional<Uuid> parent_step_id;
  std::optional<std::string> error;
  std::optional<std::int64_t> duration_ms;
  std::optional<json::Object> metadata;

  template <typename T>
  static constexpr auto fields_of() {
    return json::fields(
        json::field("type", &T::type, "llm_call, tool_invocation or step; required in batches."),
        json::field("id", &T::id,
                    "The caller's own, unique among the events of this kind in the run: that is how a repeat is known. "
                    "Version 7 is fastest."),
        json::field("run_id", &T::run_id, "Required in batches; elsewhere the path says it."),
        json::field("agent_id", &T::agent_id, "Needed when the run is not known yet: then a placeholder run is made."),
        json::field("timestamp", &T::timestamp,
                    "When it happened; the time of arrival when absent. Decides the price."),
        json::field("parent_step_id", &T::parent_step_id, "The step that this belongs to."),
        json::field("error", &T::error, "What went wrong.", {.max_length = 4096}),
        json::field("duration_ms", &T::duration_ms, "Milliseconds.", {.min = 0, .max = duration_ms_max}),
        json::field("metadata", &T::metadata, "A JSON object of at most 16 KiB; never prompt text.",
                    {.max_length = event_metadata_bytes_max}));
  }
};

struct LlmCall : EventBase {
  std::optional<std::string> provider;
  std::string model;
  prices::Usage usage;
  Outcome status = Outcome::ok;
  std::optional<Uuid> reservation_id;
  Content input;
  Content output;

  static constexpr std::string_view schema_name = "LlmCall";
  static constexpr auto fields() {
    return std::tuple_cat(
        fields_of<LlmCall>(),
        json::fields(
            json::field("provider", &LlmCall::provider, "For instance openai; guessed from the model when absent.",
                        {.min_length = 1, .max_length = 128, .example = "\"openai\""}),
            json::field("model", &LlmCall::model, "As the provider names it.",
                        {.min_length = 1, .max_length = 256, .example = "\"gpt-4o\""}),
            json::field(
                "usage", &LlmCall::usage,
                "Counts by unit of the price catalogue; input_tokens includes cached ones, output_tokens reasoning.",
                {.min = 0,
                 .max = prices::quantity_max,
                 .max_length = 64,
                 .optional = true,
                 .example = R"({"input_tokens":1000,"cache_read_tokens":200,"output_tokens":100})"}),
            json::field("status", &LlmCall::status, "", {.optional = true}),
            json::field("reservation_id", &LlmCall::reservation_id,
                        "The reservation that this call settles; an unknown one counts as unreserved."),
            json::field("input", &LlmCall::input, "Kept as the agent's policy says; usually not at all.",
                        {.optional = true}),
            json::field("output", &LlmCall::output, "Kept as the agent's policy says; usually not at all.",
                        {.optional = true})));
  }
};

struct ToolInvocation : EventBase {
  std::string tool;
  std::optional<std::string> data_source;
  Outcome status = Outcome::ok;
  Content arguments;
  Content result;

  static constexpr std::string_view schema_name = "ToolInvocation";
  static constexpr auto fields() {
    return std::tuple_cat(
        fields_of<ToolInvocation>(),
        json::fields(json::field("tool", &ToolInvocation::tool, "Name of the tool.",
                                 {.min_length = 1, .max_length = 256, .example = "\"search_flights\""}),
                     json::field("data_source", &ToolInvocation::data_source, "What the tool read from or wrote to.",
                                 {.min_length = 1, .max_length = 256}),
                     json::field("status", &ToolInvocation::status, "", {.optional = true}),
                     json::field("arguments", &ToolInvocation::arguments,
                                 "Kept as the agent's policy says; usually not at all.", {.optional = true}),
                     json::field("result", &ToolInvocation::result,
                                 "Kept as the agent's policy says; usually not at all.", {.optional = true})));
  }
};

struct Step : EventBase {
  std::int64_t index = 0;
  std::string kind;
  std::string name;
  std::optional<Outcome> status;
  Content input;
  Content output;

  static constexpr std::string_view schema_name = "Step";
  static constexpr auto fields() {
    return std::tuple_cat(
        fields_of<Step>(),
        json::fields(json::field("index", &Step::index, "Position in the run.",
                                 {.min = 0, .max = 1'000'000'000, .example = "3"}),
                     json::field("kind", &Step::kind, "For instance llm, tool, plan.",
                                 {.min_length = 1, .max_length = 64, .example = "\"llm\""}),
                     json::field("name", &Step::name, "", {.min_length = 1, .max_length = 256, .example = "\"plan\""}),
                     json::field("status", &Step::status, ""),
                     json::field("input", &Step::input, "Kept as the agent's policy says; usually not at all.",
                                 {.optional = true}),
                     json::field("output", &Step::output, "Kept as the agent's policy says; usually not at all.",
                                 {.optional = true})));
  }
};

// An event that has passed the door: complete, checked, with what pricing and storage need.
struct Event {
  std::variant<LlmCall, ToolInvocation, Step> body;
  Uuid run_id;
  Timestamp timestamp;            // given, or the time of arrival
  std::int64_t content_hash = 0;  // for whoever stores it, see below

  [[nodiscard]] const EventBase& base() const {
    return std::visit([](const auto& event) -> const EventBase& { return event; }, body);
  }
  [[nodiscard]] EventType type() const { return static_cast<EventType>(body.index()); }
};

// Tells repeats from other content under the same id: hashes all that the caller said about the event, not when it
// arrived. Some of that is masked before it is stored, so a hash without a key would tell those who try. For one
// thread.
class ContentHash {
 public:
  explicit ContentHash(const Digest& key) : hash_(key) {}

  std::int64_t of(const Event& event);

 private:
  KeyedHash hash_;
  std::string text_;  // of the event at hand
};

// One event of a batch; `faults` get pointers relative to it. False when there were faults: then `out` means nothing.
// `now` is the time of arrival.
bool read_event(json::Cursor& in, Event& out, json::Faults& faults, Timestamp now);

// One event of a known type and run, as the single-event routes take it.
Result<Event> decode_event(std::string body, EventType type, const Uuid& run_id, Timestamp now);

struct Rejected {
  std::int64_t index = 0;
  std::vector<FieldError> errors;
};

// An event of something that the agent's policy forbids. It is stored all the same.
struct Flagged {
  std::int64_t index = 0;
  std::string subject;
  std::string detail;
};

struct BatchAnswer {
  std::int64_t accepted = 0;
  std::int64_t duplicates = 0;
  std::vector<Rejected> rejected;
  std::vector<Flagged> violations;
  std::map<Uuid, std::string> terminated;  // runs that have to stop, and why
};

std::string batch_answer_json(const BatchAnswer& answer);
void add_batch_schemas(json::Components& components);

}  // namespace cognive::events

namespace cognive::json {
template <>
inline void schema_members<events::Content>(Writer&, const Rules&, Components&) {}
}  // namespace cognive::json
