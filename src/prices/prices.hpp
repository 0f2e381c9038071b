// Prices: the catalogue of the database, imports into it, and quotes from it.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "audit/audit.hpp"
#include "base/error.hpp"
#include "pg/cluster.hpp"
#include "prices/data_set.hpp"
#include "prices/overrides.hpp"
#include "prices/pricer.hpp"
#include "runtime/call.hpp"

namespace cognive::http {
class Router;
}

namespace cognive::prices {

// What an import changes in the rates of one model.
struct RateChange {
  std::string provider;
  std::string model;
  Timestamp effective_from;
  std::optional<json::Object> before;
  json::Object after;

  static constexpr auto fields() {
    return json::fields(json::field("provider", &RateChange::provider, ""),
                        json::field("model", &RateChange::model, ""),
                        json::field("effective_from", &RateChange::effective_from, ""),
                        json::field("before", &RateChange::before, "Rates until then."),
                        json::field("after", &RateChange::after, "Rates from then on."));
  }
};

// What an import did, or would do.
struct ImportReport {
  std::int64_t providers = 0;
  std::int64_t providers_changed = 0;
  std::int64_t models = 0;  // in the data set
  std::int64_t models_added = 0;
  std::int64_t models_changed = 0;  // rules, names, context window
  std::int64_t models_kept = 0;     // in the database, but no longer in the data set
  std::int64_t versions_added = 0;
  std::vector<std::string> refused;  // one sentence each
  std::vector<std::string> added;    // provider/model
  std::vector<RateChange> changes;   // of models that were known

  static constexpr auto fields() {
    return json::fields(
        json::field("providers", &ImportReport::providers, ""),
        json::field("providers_changed", &ImportReport::providers_changed, ""),
        json::field("models", &ImportReport::models, ""), json::field("models_added", &ImportReport::models_added, ""),
        json::field("models_changed", &ImportReport::models_changed, ""),
        json::field("models_kept", &ImportReport::models_kept, ""),
        json::field("versions_added", &ImportReport::versions_added, ""),
        json::field("refused", &ImportReport::refused, ""), json::field("added", &ImportReport::added, ""),
        json::field("changes", &ImportReport::changes, ""));
  }
};

struct QuoteQuery {
  std::string model;
  std::optional<std::string> provider;
  std::optional<std::string> team;
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
        json::field("team", &QuoteQuery::team,
                    "Name of the team whose call it would be; absent: that of the key, or none.", {.max_length = 128}),
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
  std::optional<PriceSource> price_source;
  std::optional<Timestamp> effective_from;
  Timestamp at;
  std::vector<QuoteLine> lines;

  static constexpr std::string_view schema_name = "Quote";
  static constexpr auto fields() {
    return json::fields(
        json::field("status", &Quote::status, "priced, or why there is no complete price."),
        json::field("cost_usd", &Quote::cost_usd, "Exact; null when unpriced."),
        json::field("provider", &Quote::provider, "Of the catalogue, or of a private model."),
        json::field("model", &Quote::model, "Of the catalogue, or a private one."),
        json::field("price_version_id", &Quote::price_version_id, ""),
        json::field("price_version", &Quote::price_version, "Counts up per model of the catalogue; null of overrides."),
        json::field("price_source", &Quote::price_source,
                    "catalogue, or whose override it is: the organisation's or the team's."),
        json::field("effective_from", &Quote::effective_from, "Since when the version holds; null: since ever."),
        json::field("at", &Quote::at, ""), json::field("lines", &Quote::lines, "How the cost comes about."));
  }
};

struct VersionQuery {
  std::string model;
  std::optional<std::string> provider;
  std::optional<std::string> team;
  std::optional<Timestamp> at;

  static constexpr auto fields() {
    return json::fields(
        json::field("model", &VersionQuery::model, "Name of the model, as a call would report it.",
                    {.min_length = 1, .max_length = 256}),
        json::field("provider", &VersionQuery::provider, "Name of the provider, as a call would report it.",
                    {.max_length = 128}),
        json::field("team", &VersionQuery::team,
                    "Name of the team whose calls are meant; absent: that of the key, or none.", {.max_length = 128}),
        json::field("at", &VersionQuery::at, "Time of the call; now when absent."));
  }
};

struct ListedVersion {
  Uuid price_version_id;
  std::optional<std::int64_t> price_version;
  PriceSource source = PriceSource::catalogue;
  std::string provider;
  std::string model;
  std::optional<Timestamp> effective_from;
  bool ends = false;
  bool holds = false;
  json::Object rates;
  std::vector<OverrideWindow> windows;

  static constexpr std::string_view schema_name = "PriceVersion";
  static constexpr auto fields() {
    return json::fields(
        json::field("price_version_id", &ListedVersion::price_version_id, ""),
        json::field("price_version", &ListedVersion::price_version,
                    "Counts up per model of the catalogue; null of overrides."),
        json::field("source", &ListedVersion::source, "Whose it is."),
        json::field("provider", &ListedVersion::provider, ""), json::field("model", &ListedVersion::model, ""),
        json::field("effective_from", &ListedVersion::effective_from, "Null: since ever."),
        json::field("ends", &ListedVersion::ends, "Whether an override ends here."),
        json::field("holds", &ListedVersion::holds, "Whether it is what a call at that time is charged by."),
        json::field("rates", &ListedVersion::rates, "USD by unit."),
        json::field("windows", &ListedVersion::windows, "Parts of the day with rates of their own."));
  }
};

struct VersionAnswer {
  std::optional<std::string> provider;
  std::optional<std::string> model;
  Timestamp at;
  std::vector<ListedVersion> items;

  static constexpr std::string_view schema_name = "PriceVersions";
  static constexpr auto fields() {
    return json::fields(
        json::field("provider", &VersionAnswer::provider, "What the names mean in the catalogue; null: nothing."),
        json::field("model", &VersionAnswer::model, ""), json::field("at", &VersionAnswer::at, ""),
        json::field("items", &VersionAnswer::items,
                    "The team's, the organisation's, then the catalogue's; of each the newest first."));
  }
};

class Prices {
 public:
  // `lifetime`: after which the catalogue is read again although there is no newer edition: somebody may have mended a
  // price in the database.
  Prices(pg::Cluster& database, audit::Trail trail, CurrentCatalogue& current,
         std::chrono::seconds lifetime = std::chrono::hours{1})
      : database_(database), trail_(trail), current_(current), lifetime_(lifetime) {}

  // Adds what is new in `data` and puts the result into force in this process; other processes follow within seconds.
  // One transaction.
  Async<ImportReport> import(const Call& call, DataSet data);
  // The same for a data set that nobody has chosen: only if it is newer than every one that was imported. What was
  // imported deliberately must not give way to what a binary happens to ship.
  Async<ImportReport> import_if_newer(const Call& call, DataSet data);
  // What the same import would do; nothing is changed.
  Async<ImportReport> diff(const Call& call, DataSet data);

  // Sets or ends an override; a repeat with the same id is no error. Code::conflict when there is another one with this
  // id, Code::forbidden for the key of an agent.
  Async<Result<SetAnswer>> set(const Call& call, OverrideSet request);
  // Those of the organisation and of the teams that the caller may see.
  Async<Result<json::Page<PriceOverride>>> overrides(const Call& call, OverrideList query);
  // All versions that a name has, whether they hold or not.
  Async<Result<VersionAnswer>> versions(const Call& call, VersionQuery query);

  // Reads the catalogue again when an import or an override has changed it since the last time.
  Async<> refresh(Deadline deadline);
  // Whether a catalogue is what the database holds now, as the transaction sees it.
  static Async<bool> is_current(pg::Transaction& transaction, const Catalogue& catalogue);

  // Not stored, not charged.
  Async<Result<Quote>> quote(const Call& call, QuoteQuery query);

 private:
  // Whose prices are asked for. Code::unprocessable when there is no such team.
  Async<Result<std::optional<Uuid>>> team_of(const Call& call, const std::optional<std::string>& name);

  pg::Cluster& database_;
  audit::Trail trail_;
  CurrentCatalogue& current_;
  std::chrono::seconds lifetime_;
  std::chrono::steady_clock::time_point until_{};  // by which the catalogue has to be read again
};

void add_routes(http::Router& router, Prices& prices);

}  // namespace cognive::prices
