#include "audit/audit.hpp"
#include "base/text.hpp"
#include "json/bind.hpp"
#include "pg/transact.hpp"
#include "prices/prices.hpp"
#include "prices/store.hpp"
#include "teams/teams.hpp"

namespace cognive::prices {

namespace {

// For the audit trail: how much, not what.
std::string counts_json(const ImportReport& report) {
  ImportReport counts = report;
  counts.added.clear();
  counts.changes.clear();
  return json::encode(counts);
}

const PriceVersion* version_before(const std::vector<PriceVersion>& versions, Timestamp time) {
  const PriceVersion* found = nullptr;
  for (const auto& version : versions) {
    if (version.effective_from < time) found = &version;
  }
  return found;
}

Async<Result<ImportReport>> import_in(pg::Transaction& transaction, const audit::Trail& trail, const Call& call,
                                      const DataSet& data) {
  ImportReport report;
  report.providers = static_cast<std::int64_t>(data.providers.size());
  const auto held = co_await store::lock(transaction);
  std::map<std::pair<std::string_view, std::string_view>, const store::Held::ModelRow*> known;
  for (const auto& model : held.models) known[{model.provider, model.id}] = &model;

  // PostgreSQL's clock and ours need not agree; an import holds from when we say it does.
  const auto now = Timestamp::now();
  std::vector<store::NewVersion> versions;
  std::size_t seen = 0;
  for (const auto& provider : data.providers) {
    for (const auto& model : provider.models) {
      ++report.models;
      const auto found = known.find({provider.id, model.id});
      const std::vector<PriceVersion> none;
      const auto& existing = found == known.end() ? none : found->second->versions;
      if (found == known.end()) {
        ++report.models_added;
        report.added.push_back(provider.id + "/" + model.id);
      } else {
        ++seen;
      }
      std::int64_t number = 0;
      for (const auto& version : existing) number = std::max(number, version.version);
      auto added = additions(existing, timeline(model.prices), now);
      const auto* before = existing.empty() ? nullptr : version_before(existing, now);
      std::optional<json::Object> rates_before;
      if (before != nullptr) rates_before = json::Object{rates_json(before->card.rates)};
      for (auto& dated : added.versions) {
        if (found != known.end()) {
          const json::Object after{rates_json(dated.card.rates)};
          report.changes.push_back({provider.id, model.id, dated.from, rates_before, after});
          rates_before = after;
        }
        versions.push_back({provider.id, model.id, ++number, dated.from, std::move(dated.card)});
      }
      for (const auto& reason : added.refused) report.refused.push_back(provider.id + "/" + model.id + ": " + reason);
    }
  }
  report.models_kept = static_cast<std::int64_t>(held.models.size() - seen);
  report.versions_added = static_cast<std::int64_t>(versions.size());

  const auto providers = co_await store::put_providers(transaction, data);
  const auto models = co_await store::put_models(transaction, data);
  report.providers_changed = providers.changed;
  report.models_changed = models.changed;
  if (providers.written + models.written + report.versions_added > 0) {
    co_await store::insert_versions(transaction, versions, data);
    co_await store::insert_import(transaction, data, report);
    audit::Entry entry{.action = "prices_import",
                       .resource_kind = "prices",
                       .resource_id = data.source,
                       .team_id = {},
                       .details = counts_json(report)};
    trail.record(transaction, call, std::move(entry));
  }
  co_return report;
}

}  // namespace

Async<ImportReport> Prices::import(const Call& call, DataSet data) {
  const auto body = [&](pg::Transaction& transaction) { return import_in(transaction, trail_, call, data); };
  auto report = co_await pg::transact(database_, "prices_import", call, body);
  co_await refresh(call.deadline);
  co_return std::move(*report);  // an import refuses models, never as a whole
}

Async<ImportReport> Prices::import_if_newer(const Call& call, DataSet data) {
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<ImportReport>> {
    const auto newest = co_await store::newest_retrieved(transaction);
    if (newest && (!data.retrieved || *data.retrieved <= *newest)) co_return ImportReport{};
    co_return co_await import_in(transaction, trail_, call, data);
  };
  auto report = co_await pg::transact(database_, "prices_import", call, body);
  co_await refresh(call.deadline);
  co_return std::move(*report);
}

Async<ImportReport> Prices::diff(const Call& call, DataSet data) {
  auto transaction = co_await database_.begin(call.deadline);
  auto report = co_await import_in(transaction, trail_, call, data);
  co_return std::move(*report);  // never committed
}

Async<> Prices::refresh(Deadline deadline) {
  for (;;) {
    const auto known = current_.get();
    const auto now = std::chrono::steady_clock::now();
    const bool is_current = known->edition() == co_await store::edition(database_.primary(), deadline);
    if (is_current && now < until_) co_return;
    auto transaction = co_await database_.begin(deadline);
    auto catalogue = co_await store::load(transaction);
    co_await transaction.commit();
    until_ = now + lifetime_;
    // Somebody on another thread may have read a newer one meanwhile.
    if (current_.replace(known, std::make_shared<const Catalogue>(std::move(catalogue)))) co_return;
  }
}

Async<bool> Prices::is_current(pg::Transaction& transaction, const Catalogue& catalogue) {
  co_return catalogue.edition() == co_await store::edition(transaction);
}

Async<Result<std::optional<Uuid>>> Prices::team_of(const Call& call, const std::optional<std::string>& name) {
  if (!name) co_return call.principal.team_id;
  const auto id = co_await teams::find_by_name(database_, *name, call);
  if (!id) co_return unprocessable("?team", "There is no such team.", json::quoted(shortened(*name, 64)));
  co_return id;
}

Async<Result<VersionAnswer>> Prices::versions(const Call& call, VersionQuery query) {
  const auto team_id = co_await team_of(call, query.team);
  if (!team_id) co_return std::unexpected(team_id.error());
  const auto catalogue = current_.loaded();
  VersionAnswer out;
  out.at = query.at.value_or(Timestamp::now());
  const auto meaning = catalogue->find(*team_id, query.provider.value_or(""), query.model);
  if (meaning.model) {
    out.provider = (*meaning.model)->provider;
    out.model = (*meaning.model)->id;
  }
  const auto* holding = meaning.at(out.at).version;
  auto models = meaning.overrides;
  if (meaning.model) models.push_back(*meaning.model);
  for (const auto* model : models) {
    for (auto version = model->versions.rbegin(); version != model->versions.rend(); ++version) {
      ListedVersion listed{.price_version_id = version->id,
                           .price_version = {},
                           .source = version->source,
                           .provider = model->provider,
                           .model = model->id,
                           .effective_from = {},
                           .ends = version->ends,
                           .holds = &*version == holding,
                           .rates = {rates_json(version->card.rates)},
                           .windows = OverrideWindow::of(version->card.windows)};
      if (version->source == PriceSource::catalogue) listed.price_version = version->version;
      if (version->effective_from > Timestamp::min()) listed.effective_from = version->effective_from;
      out.items.push_back(std::move(listed));
    }
  }
  co_return out;
}

Async<Result<Quote>> Prices::quote(const Call& call, QuoteQuery query) {
  auto usage = Usage::of(query.usage, "");
  if (!usage) {
    auto error = usage.error();
    for (auto& field : error.fields) field.pointer.front() = '?';
    co_return fail(std::move(error));
  }
  const auto team_id = co_await team_of(call, query.team);
  if (!team_id) co_return std::unexpected(team_id.error());
  Quote out;
  out.at = query.at.value_or(Timestamp::now());
  const auto catalogue = current_.loaded();
  const auto priced = price_call(*catalogue, *team_id, query.provider.value_or(""), query.model, out.at, *usage);
  out.status = priced.status;
  if (priced.has_cost()) out.cost_usd = priced.cost;
  if (priced.model != nullptr) {
    out.provider = priced.model->provider;
    out.model = priced.model->id;
  }
  if (priced.version != nullptr) {
    out.price_version_id = priced.version->id;
    if (priced.version->source == PriceSource::catalogue) out.price_version = priced.version->version;
    out.price_source = priced.version->source;
    if (priced.version->effective_from > Timestamp::min()) out.effective_from = priced.version->effective_from;
  }
  for (const auto& line : priced.lines) {
    const auto& unit = Units::shipped()[line.unit];
    out.lines.push_back({unit.name, line.quantity, line.rate, unit.per});
  }
  co_return out;
}

}  // namespace cognive::prices
