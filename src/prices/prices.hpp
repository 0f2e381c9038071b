// Prices: the catalogue of the database, imports into it, and quotes from it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "pg/cluster.hpp"
#include "prices/data_set.hpp"
#include "prices/pricer.hpp"
#include "runtime/call.hpp"

namespace cognive::http {
class Router;
}

namespace cognive::prices {

// What an import did.
struct ImportReport {
  std::int64_t providers = 0;
  std::int64_t providers_changed = 0;
  std::int64_t models = 0;  // in the data set
  std::int64_t models_added = 0;
  std::int64_t models_changed = 0;  // rules, names, context window
  std::int64_t models_kept = 0;     // in the database, but no longer in the data set
  std::int64_t versions_added = 0;
  std::vector<std::string> refused;  // one sentence each

  static constexpr auto fields() {
    return json::fields(json::field("providers", &ImportReport::providers, ""),
                        json::field("providers_changed", &ImportReport::providers_changed, ""),
                        json::field("models", &ImportReport::models, ""),
                        json::field("models_added", &ImportReport::models_added, ""),
                        json::field("models_changed", &ImportReport::models_changed, ""),
                        json::field("models_kept", &ImportReport::models_kept, ""),
                        json::field("versions_added", &ImportReport::versions_added, ""),
                        json::field("refused", &ImportReport::refused, ""));
  }
};

struct QuoteQuery {
  std::string model;
  std::optional<std::string> provider;
  std::optional<Timestamp> at;
  std::map<std::string, std::int64_t> usage;

  // Every other parameter is a unit of usage: ?model=gpt-4o&input_tokens=1000
  static constexpr std::string_view rest = "usage";
  static constexpr auto fields() {
    return json::fields(
        json::field("model", &QuoteQuery::model, "Name of the model, as a call would report it.",
                    {.min_length = 1, .max_length = 256}),
        json::field("provider", &QuoteQuery::provider, "Name of the provider, as a call would report it.",
                    {.max_length = 128}),
        json::field("at", &QuoteQuery::at, "Time of the call; now when absent."),
        json::field(
            "usage", &QuoteQuery::usage,
            "Counts by unit, each as a parameter of its own: input_tokens=1000&cache_read_tokens=200&output_tokens=50.",
            {.min = 0, .max = quantity_max, .max_length = 64, .optional = true}));
  }
};

struct QuoteLine {
  std::string unit;
  std::int64_t quantity = 0;
  Decimal rate;
  std::int64_t per = 1;

  static constexpr std::string_view schema_name = "QuoteLine";
  static constexpr auto fields() {
    return json::fields(
        json::field("unit", &QuoteLine::unit, ""),
        json::field("quantity", &QuoteLine::quantity, "What belongs to this unit and to no finer priced one."),
        json::field("rate", &QuoteLine::rate, "USD per `per` units."), json::field("per", &QuoteLine::per, ""));
  }
};

struct Quote {
  PriceStatus status = PriceStatus::unknown_model;
  std::optional<NanoUsd> cost_usd;
  std::optional<std::string> provider;
  std::optional<std::string> model;
  std::optional<Uuid> price_version_id;
  std::optional<std::int64_t> price_version;
  std::optional<Timestamp> effective_from;
  Timestamp at;
  std::vector<QuoteLine> lines;

  static constexpr std::string_view schema_name = "Quote";
  static constexpr auto fields() {
    return json::fields(
        json::field("status", &Quote::status, "priced, or why there is no complete price."),
        json::field("cost_usd", &Quote::cost_usd, "Exact; null when unpriced."),
        json::field("provider", &Quote::provider, "Of the catalogue; it owns the rate card."),
        json::field("model", &Quote::model, "Of the catalogue."),
        json::field("price_version_id", &Quote::price_version_id, ""),
        json::field("price_version", &Quote::price_version, "Counts up per model."),
        json::field("effective_from", &Quote::effective_from, "Since when the version holds; null: since ever."),
        json::field("at", &Quote::at, ""), json::field("lines", &Quote::lines, "How the cost comes about."));
  }
};

class Prices {
 public:
  Prices(pg::Cluster& database, CurrentCatalogue& current) : database_(database), current_(current) {}

  // Adds what is new in `data` and puts the result into force in this process; other processes follow within seconds.
  // One transaction.
  Async<ImportReport> import(const Call& call, DataSet data);

  // Reads the catalogue again when an import has changed it since the last time.
  Async<> refresh(Deadline deadline);

  // Not stored, not charged.
  Async<Result<Quote>> quote(const Call& call, QuoteQuery query);

 private:
  pg::Cluster& database_;
  CurrentCatalogue& current_;
  std::optional<Uuid> loaded_;  // the import after which the catalogue was read
};

void add_routes(http::Router& router, Prices& prices);

}  // namespace cognive::prices
