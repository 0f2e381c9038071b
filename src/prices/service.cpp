#include "audit/audit.hpp"
#include "json/bind.hpp"
#include "pg/transact.hpp"
#include "prices/prices.hpp"
#include "prices/store.hpp"

namespace cognive::prices {

namespace {

Async<Result<ImportReport>> import_in(pg::Transaction& transaction, const Call& call, const DataSet& data) {
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
      } else {
        ++seen;
      }
      std::int64_t number = 0;
      for (const auto& version : existing) number = std::max(number, version.version);
      auto added = additions(existing, timeline(model.prices), now);
      for (auto& dated : added.versions) {
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
                       .details = json::encode(report)};
    co_await audit::record(transaction, call, std::move(entry));
  }
  co_return report;
}

}  // namespace

Async<ImportReport> Prices::import(const Call& call, DataSet data) {
  const auto body = [&](pg::Transaction& transaction) { return import_in(transaction, call, data); };
  auto report = co_await pg::transact(database_, "prices_import", call, body);
  co_await refresh(call.deadline);
  co_return std::move(*report);  // an import refuses models, never as a whole
}

Async<> Prices::refresh(Deadline deadline) {
  const auto newest = co_await store::last_import(database_.primary(), deadline);
  if (newest == loaded_) co_return;
  auto transaction = co_await database_.begin(deadline);
  auto catalogue = co_await store::load(transaction);
  co_await transaction.commit();
  current_.set(std::make_shared<const Catalogue>(std::move(catalogue)));
  loaded_ = newest;
}

Async<Result<Quote>> Prices::quote(const Call&, QuoteQuery query) {
  auto usage = Usage::of(query.usage, "");
  if (!usage) {
    auto error = usage.error();
    for (auto& field : error.fields) field.pointer.front() = '?';
    co_return fail(std::move(error));
  }
  Quote out;
  out.at = query.at.value_or(Timestamp::now());
  const auto catalogue = current_.get();
  const auto call = price_call(*catalogue, query.provider.value_or(""), query.model, out.at, *usage);
  out.status = call.status;
  if (call.has_cost()) out.cost_usd = call.cost;
  if (call.model != nullptr) {
    out.provider = call.model->provider;
    out.model = call.model->id;
  }
  if (call.version != nullptr) {
    out.price_version_id = call.version->id;
    out.price_version = call.version->version;
    if (call.version->effective_from > Timestamp::min()) out.effective_from = call.version->effective_from;
  }
  for (const auto& line : call.lines) {
    const auto& unit = Units::shipped()[line.unit];
    out.lines.push_back({unit.name, line.quantity, line.rate, unit.per});
  }
  co_return out;
}

}  // namespace cognive::prices
