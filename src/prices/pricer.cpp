#include "prices/pricer.hpp"

namespace cognive::prices {
namespace {

PricedCall price_model(std::expected<const Model*, Catalogue::Miss> found, Timestamp time, const Usage& usage) {
  PricedCall out;
  if (!found) {
    out.status =
        found.error() == Catalogue::Miss::unknown_provider ? PriceStatus::unknown_provider : PriceStatus::unknown_model;
    return out;
  }
  out.model = *found;
  out.version = out.model->at(time);
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

PricedCall price_call(const Catalogue& catalogue, std::string_view provider, std::string_view model, Timestamp time,
                      const Usage& usage) {
  return price_model(catalogue.find(provider, model), time, usage);
}

PricedCall Pricer::price(std::string_view provider, std::string_view model, Timestamp time, const Usage& usage) {
  std::string key(provider);
  key.push_back('\0');
  key += model;
  auto place = remembered_.find(key);
  if (place == remembered_.end()) {
    if (remembered_.size() >= remembered_max) remembered_.clear();
    place = remembered_.emplace(std::move(key), catalogue_->find(provider, model)).first;
  }
  return price_model(place->second, time, usage);
}

}  // namespace cognive::prices
