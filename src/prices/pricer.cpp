#include "prices/pricer.hpp"

namespace cognive::prices {
namespace {

PricedCall price_meaning(const Meaning& meaning, Timestamp time, const Usage& usage) {
  PricedCall out;
  const auto held = meaning.at(time);
  out.model = held.model;
  out.version = held.version;
  // A private model outside of its time is as unknown as it was before it had rates.
  if (!meaning.model && out.version == nullptr) {
    out.status = meaning.model.error() == Catalogue::Miss::unknown_provider ? PriceStatus::unknown_provider
                                                                            : PriceStatus::unknown_model;
    return out;
  }
  if (usage.reported_units() == 0) {
    out.status = PriceStatus::unknown_usage;
    return out;
  }
  if (out.version == nullptr) {
    out.status = PriceStatus::no_rates;
    return out;
  }
  auto charge = price(out.version->card.at(time), usage);
  switch (charge.outcome) {
    case Charge::Outcome::priced:
      out.status = PriceStatus::priced;
      break;
    case Charge::Outcome::partial:
      out.status = PriceStatus::partial;
      break;
    case Charge::Outcome::no_rates:
      out.status = PriceStatus::no_rates;
      break;
    case Charge::Outcome::inconsistent_usage:
      out.status = PriceStatus::inconsistent_usage;
      break;
  }
  out.cost = charge.cost;
  out.lines = std::move(charge.lines);
  return out;
}

}  // namespace

PricedCall price_call(const Catalogue& catalogue, const std::optional<Uuid>& team_id, std::string_view provider,
                      std::string_view model, Timestamp time, const Usage& usage) {
  return price_meaning(catalogue.find(team_id, provider, model), time, usage);
}

PricedCall Pricer::price(const Uuid& team_id, std::string_view provider, std::string_view model, Timestamp time,
                         const Usage& usage) {
  auto& key = names_;
  key = provider;
  key.push_back('\0');
  key += model;
  if (catalogue_->differs_by_team()) {
    key.push_back('\0');
    key.append(reinterpret_cast<const char*>(team_id.bytes.data()), team_id.bytes.size());
  }
  auto place = remembered_.find(key);
  if (place == remembered_.end()) {
    if (remembered_.size() >= remembered_max) remembered_.clear();
    place = remembered_.emplace(key, catalogue_->find(team_id, provider, model)).first;
  }
  return price_meaning(place->second, time, usage);
}

}  // namespace cognive::prices
