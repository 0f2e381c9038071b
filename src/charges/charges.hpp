// Charges: what LLM calls are charged now. A call is never changed; pricing it again appends an adjustment, and the
// latest adjustment is what it is charged.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "audit/audit.hpp"
#include "base/error.hpp"
#include "json/bind.hpp"
#include "pg/cluster.hpp"
#include "prices/pricer.hpp"
#include "prices/prices.hpp"
#include "runtime/call.hpp"

namespace cognive::http {
class Router;
}

namespace cognive::charges {

// Of the outbox: charges have changed.
inline constexpr std::string_view repriced_topic = "charges.repriced";

// Where a repricing stands within its range: behind this call, in the order of time.
struct Place {
  Timestamp timestamp;
  Uuid run_id;
  Uuid call_id;

  auto operator<=>(const Place&) const = default;

  [[nodiscard]] std::string cursor() const;
  // Nothing for anything that is not one of our cursors.
  static std::optional<Place> parse(std::string_view cursor);
};

struct RepriceRequest {
  Timestamp from;
  Timestamp to;
  std::optional<std::string> team;
  std::optional<Uuid> agent_id;
  std::optional<std::string> provider;
  std::optional<std::string> model;
  bool dry_run = false;
  std::optional<Uuid> id;
  std::optional<std::string> cursor;

  void check(json::Faults& faults) const;

  static constexpr std::string_view schema_name = "Reprice";
  static constexpr auto fields() {
    return json::fields(
        json::field("from", &RepriceRequest::from, "Calls at or after this time.",
                    {.example = "\"2026-11-01T00:00:00.000000Z\""}),
        json::field("to", &RepriceRequest::to, "Calls before this time.",
                    {.example = "\"2026-12-01T00:00:00.000000Z\""}),
        json::field("team", &RepriceRequest::team, "Only calls of the team with this name.", {.max_length = 128}),
        json::field("agent_id", &RepriceRequest::agent_id, "Only calls of this agent."),
        json::field("provider", &RepriceRequest::provider, "Only calls to this provider, as stored.",
                    {.max_length = 128}),
        json::field("model", &RepriceRequest::model, "Only calls of this model, as reported.", {.max_length = 256}),
        json::field("dry_run", &RepriceRequest::dry_run, "Say what would change and change nothing.",
                    {.optional = true}),
        json::field("id", &RepriceRequest::id,
                    "Of the repricing, for its adjustments; made by us when absent. Send it again with the cursor."),
        json::field("cursor", &RepriceRequest::cursor, "`cursor` of the answer before, to go on.",
                    {.max_length = 256}));
  }
};

// What became of the calls of one model.
struct RepricedModel {
  std::optional<std::string> provider;
  std::string model;
  std::int64_t changed = 0;
  NanoUsd before_usd;
  NanoUsd after_usd;

  static constexpr std::string_view schema_name = "RepricedModel";
  static constexpr auto fields() {
    return json::fields(json::field("provider", &RepricedModel::provider, ""),
                        json::field("model", &RepricedModel::model, ""),
                        json::field("changed", &RepricedModel::changed, "Calls with another charge."),
                        json::field("before_usd", &RepricedModel::before_usd, "Exact sum of what they were charged."),
                        json::field("after_usd", &RepricedModel::after_usd, "Of what they are charged now."));
  }
};

struct RepriceAnswer {
  Uuid id;
  std::int64_t calls = 0;
  std::int64_t changed = 0;
  std::int64_t newly_priced = 0;
  std::int64_t no_longer_priced = 0;
  NanoUsd difference_usd;
  std::vector<RepricedModel> items;
  bool done = false;
  Timestamp reached;
  std::optional<std::string> cursor;

  static constexpr std::string_view schema_name = "RepriceAnswer";
  static constexpr auto fields() {
    return json::fields(
        json::field("id", &RepriceAnswer::id, "Of the repricing."),
        json::field("calls", &RepriceAnswer::calls, "Looked at by this request."),
        json::field("changed", &RepriceAnswer::changed, "Of them with another charge, or another price version."),
        json::field("newly_priced", &RepriceAnswer::newly_priced, "Of them without a charge before."),
        json::field("no_longer_priced", &RepriceAnswer::no_longer_priced, "Of them without a charge now."),
        json::field("difference_usd", &RepriceAnswer::difference_usd, "Exact; what this request changed in all."),
        json::field("items", &RepriceAnswer::items, "By model, the largest changes first; at most 1,000."),
        json::field("done", &RepriceAnswer::done, "Whether the range is finished."),
        json::field("reached", &RepriceAnswer::reached, "Calls before this time are finished."),
        json::field("cursor", &RepriceAnswer::cursor, "To go on with; null when done."));
  }
};

struct Adjustment {
  std::int64_t sequence = 0;
  Uuid repricing_id;
  std::string old_price_status;
  std::optional<Uuid> old_price_version_id;
  std::optional<NanoUsd> old_cost_usd;
  std::string new_price_status;
  std::optional<Uuid> new_price_version_id;
  std::optional<NanoUsd> new_cost_usd;
  NanoUsd difference_usd;
  Timestamp created_at;

  static constexpr std::string_view schema_name = "ChargeAdjustment";
  static constexpr auto fields() {
    return json::fields(json::field("sequence", &Adjustment::sequence, "Counts up per call."),
                        json::field("repricing_id", &Adjustment::repricing_id, ""),
                        json::field("old_price_status", &Adjustment::old_price_status, ""),
                        json::field("old_price_version_id", &Adjustment::old_price_version_id, ""),
                        json::field("old_cost_usd", &Adjustment::old_cost_usd, "Null: unpriced."),
                        json::field("new_price_status", &Adjustment::new_price_status, ""),
                        json::field("new_price_version_id", &Adjustment::new_price_version_id, ""),
                        json::field("new_cost_usd", &Adjustment::new_cost_usd, "Null: unpriced."),
                        json::field("difference_usd", &Adjustment::difference_usd, "New less old."),
                        json::field("created_at", &Adjustment::created_at, ""));
  }
};

// How the charge of one call comes about.
struct Explanation {
  Uuid run_id;
  Uuid id;
  std::optional<std::string> provider;
  std::string model;
  Timestamp timestamp;
  std::map<std::string, std::int64_t> usage;
  std::string price_status;
  std::optional<NanoUsd> cost_usd;
  std::optional<Uuid> price_version_id;
  std::optional<prices::PriceSource> price_source;
  std::vector<prices::QuoteLine> lines;
  std::vector<Adjustment> adjustments;

  static constexpr std::string_view schema_name = "ChargeExplanation";
  static constexpr auto fields() {
    return json::fields(
        json::field("run_id", &Explanation::run_id, ""), json::field("id", &Explanation::id, "Of the call."),
        json::field("provider", &Explanation::provider, ""), json::field("model", &Explanation::model, "As reported."),
        json::field("timestamp", &Explanation::timestamp, "Decides which version holds."),
        json::field("usage", &Explanation::usage, "Counts by unit; none when the usage is unknown."),
        json::field("price_status", &Explanation::price_status, "priced, or why there is no complete price."),
        json::field("cost_usd", &Explanation::cost_usd, "What the call is charged now; null when unpriced."),
        json::field("price_version_id", &Explanation::price_version_id, "By which it is charged."),
        json::field("price_source", &Explanation::price_source, "Whose version that is."),
        json::field("lines", &Explanation::lines,
                    "Quantities and rates that add up to the cost; rounded half-even to the nano-dollar once."),
        json::field("adjustments", &Explanation::adjustments, "What repricing has changed, in order."));
  }
};

class Charges {
 public:
  Charges(pg::Cluster& database, audit::Trail trail, prices::Prices& prices, const prices::CurrentCatalogue& catalogue)
      : database_(database), trail_(trail), prices_(prices), catalogue_(catalogue) {}

  // Prices the calls of a range again by the prices of now, and appends an adjustment where the charge differs. Works
  // as long as the caller's patience allows; an answer that is not done has a cursor to go on with. Repeating it
  // changes nothing more. Code::forbidden for the key of an agent.
  Async<Result<RepriceAnswer>> reprice(const Call& call, RepriceRequest request);

  // Code::not_found when the caller may not see such a call.
  Async<Result<Explanation>> explain(const Call& call, Uuid run_id, Uuid call_id);

 private:
  pg::Cluster& database_;
  audit::Trail trail_;
  prices::Prices& prices_;
  const prices::CurrentCatalogue& catalogue_;
};

void add_routes(http::Router& router, Charges& charges);

}  // namespace cognive::charges
