// Replay: what a run did, in order, and what it would have cost otherwise.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "events/events.hpp"
#include "json/bind.hpp"
#include "pg/cluster.hpp"
#include "prices/pricer.hpp"
#include "runs/runs.hpp"
#include "runtime/call.hpp"

namespace cognive::http {
class Router;
}

namespace cognive::replay {

// A step, LLM call or tool invocation at its place in the run. Fields that its kind does not have are null.
struct Moment {
  events::EventType type = events::EventType::step;
  Uuid id;
  std::optional<Uuid> parent_step_id;
  std::int64_t depth = 0;
  Timestamp timestamp;
  std::int64_t offset_ms = 0;
  std::optional<std::int64_t> duration_ms;
  std::string name;
  std::optional<std::string> kind;
  std::optional<std::int64_t> index;
  std::optional<std::string> status;
  std::optional<std::string> error;
  std::optional<std::string> provider;
  std::optional<std::int64_t> input_tokens;
  std::optional<std::int64_t> output_tokens;
  std::optional<std::int64_t> cache_read_tokens;
  std::optional<std::int64_t> cache_write_tokens;
  std::optional<json::Object> usage;  // counts of the other units
  std::optional<std::string> price_status;
  std::optional<NanoUsd> cost_usd;
  std::optional<std::string> data_source;
  std::optional<std::string> violation;

  static constexpr std::string_view schema_name = "Moment";
  // For Moment and for what adds to it.
  template <typename T>
  static constexpr auto fields_of() {
    return json::fields(
        json::field("type", &T::type, ""), json::field("id", &T::id, ""),
        json::field("parent_step_id", &T::parent_step_id, "The step that it belongs to."),
        json::field("depth", &T::depth, "0 at the top; one more than its step otherwise."),
        json::field("timestamp", &T::timestamp, ""),
        json::field("offset_ms", &T::offset_ms, "Milliseconds since the run started; negative when it was before."),
        json::field("duration_ms", &T::duration_ms, ""),
        json::field("name", &T::name, "Of the step or the tool, or the model."),
        json::field("kind", &T::kind, "Of a step."), json::field("index", &T::index, "Of a step."),
        json::field("status", &T::status, "ok or error."), json::field("error", &T::error, ""),
        json::field("provider", &T::provider, "Of an LLM call."),
        json::field("input_tokens", &T::input_tokens, "Null: the usage is unknown."),
        json::field("output_tokens", &T::output_tokens, ""),
        json::field("cache_read_tokens", &T::cache_read_tokens, ""),
        json::field("cache_write_tokens", &T::cache_write_tokens, ""),
        json::field("usage", &T::usage, "Counts of other units."),
        json::field("price_status", &T::price_status, "Of an LLM call: priced, or why not."),
        json::field("cost_usd", &T::cost_usd, "Exact, as it is charged now; null when unpriced."),
        json::field("data_source", &T::data_source, "Of a tool invocation."),
        json::field("violation", &T::violation, "What of it the agent may not use."));
  }
  static constexpr auto fields() { return fields_of<Moment>(); }
};

struct Timeline {
  runs::Run run;
  std::vector<Moment> items;
  bool truncated = false;

  static constexpr std::string_view schema_name = "Timeline";
  static constexpr auto fields() {
    return json::fields(
        json::field("run", &Timeline::run, ""),
        json::field(
            "items", &Timeline::items,
            "In order; what belongs to a step stands right behind it. Siblings are ordered by time, then index."),
        json::field("truncated", &Timeline::truncated, "Whether the run has more than is shown: 20,000 of each kind."));
  }
};

struct ReplayQuery {
  std::optional<std::string> as_model;
  std::optional<std::string> as_provider;
  std::optional<Timestamp> as_of;

  static constexpr auto fields() {
    return json::fields(
        json::field("as_model", &ReplayQuery::as_model, "Price every LLM call as one of this model.",
                    {.min_length = 1, .max_length = 256}),
        json::field("as_provider", &ReplayQuery::as_provider, "Of this provider; guessed from the model when absent.",
                    {.min_length = 1, .max_length = 128}),
        json::field("as_of", &ReplayQuery::as_of, "With the prices of this time; of each call's own when absent."));
  }
};

// An event with what was kept of its content, and with its cost under other prices.
struct Recorded : Moment {
  std::optional<json::Object> metadata;
  std::optional<json::Object> content;
  std::optional<std::string> repriced_status;
  std::optional<NanoUsd> repriced_cost_usd;

  static constexpr std::string_view schema_name = "Recorded";
  static constexpr auto fields() {
    return std::tuple_cat(
        fields_of<Recorded>(),
        json::fields(json::field("metadata", &Recorded::metadata, "As it was reported."),
                     json::field("content", &Recorded::content, "What the agent's policy kept of inputs and outputs."),
                     json::field("repriced_status", &Recorded::repriced_status, "Null when nothing was repriced."),
                     json::field("repriced_cost_usd", &Recorded::repriced_cost_usd, "Exact; null when unpriced.")));
  }
};

struct CostSum {
  std::int64_t calls = 0;
  std::int64_t unpriced_calls = 0;
  NanoUsd cost_usd;

  static constexpr std::string_view schema_name = "CostSum";
  static constexpr auto fields() {
    return json::fields(json::field("calls", &CostSum::calls, "LLM calls."),
                        json::field("unpriced_calls", &CostSum::unpriced_calls, "Of them without a cost."),
                        json::field("cost_usd", &CostSum::cost_usd, "Exact sum over the others."));
  }
};

struct Bundle {
  runs::Run run;
  std::vector<Recorded> events;
  bool truncated = false;
  CostSum recorded;
  std::optional<CostSum> repriced;
  std::optional<NanoUsd> difference_usd;

  static constexpr std::string_view schema_name = "ReplayBundle";
  static constexpr auto fields() {
    return json::fields(
        json::field("run", &Bundle::run, ""), json::field("events", &Bundle::events, "In the order of the timeline."),
        json::field("truncated", &Bundle::truncated,
                    "Whether the run has more than is shown: of each kind 20,000, and 16 MiB of metadata and content."),
        json::field("recorded", &Bundle::recorded, "What the shown calls are charged now."),
        json::field("repriced", &Bundle::repriced, "What they would cost; null when nothing else was asked for."),
        json::field("difference_usd", &Bundle::difference_usd,
                    "Repriced less recorded, over the calls that have a price both ways; null when none has."));
  }
};

class Replay {
 public:
  Replay(pg::Cluster& database, const prices::CurrentCatalogue& catalogue)
      : database_(database), catalogue_(catalogue) {}

  // Code::not_found when the caller may not see such a run.
  Async<Result<Timeline>> timeline(const Call& call, Uuid run_id);
  // Nothing is changed or charged.
  Async<Result<Bundle>> bundle(const Call& call, Uuid run_id, ReplayQuery query);

 private:
  pg::Cluster& database_;
  const prices::CurrentCatalogue& catalogue_;
};

// In the order of the timeline, with depths: depth first, siblings by time, index, kind and id. What names a parent
// that is not there, or is its own ancestor, stands at the top.
void put_in_order(std::vector<Recorded>& moments);

void add_routes(http::Router& router, Replay& replay);

}  // namespace cognive::replay
