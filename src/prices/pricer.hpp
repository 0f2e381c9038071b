// What one call costs: name → model → price version at that time → exact amount, or the reason why there is none.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "json/fields.hpp"
#include "prices/catalogue.hpp"

namespace cognive::prices {

enum class PriceStatus {
  priced,
  partial,
  no_rates,
  unknown_model,
  unknown_provider,
  inconsistent_usage,
  unknown_usage
};

constexpr auto enum_names(PriceStatus) {
  return std::array{json::name(PriceStatus::priced, "priced"),
                    json::name(PriceStatus::partial, "partial"),
                    json::name(PriceStatus::no_rates, "no_rates"),
                    json::name(PriceStatus::unknown_model, "unknown_model"),
                    json::name(PriceStatus::unknown_provider, "unknown_provider"),
                    json::name(PriceStatus::inconsistent_usage, "inconsistent_usage"),
                    json::name(PriceStatus::unknown_usage, "unknown_usage")};
}

// Borrows from the catalogue that it was made with.
struct PricedCall {
  PriceStatus status = PriceStatus::unknown_model;
  NanoUsd cost;                           // for priced and partial
  const Model* model = nullptr;           // of the catalogue, or a private one; null when the name means none
  const PriceVersion* version = nullptr;  // null when the model has no rates at that time
  std::vector<ChargeLine> lines;

  [[nodiscard]] bool has_cost() const { return status == PriceStatus::priced || status == PriceStatus::partial; }
};

// `team_id`: whose call it is, since teams may have prices of their own.
PricedCall price_call(const Catalogue& catalogue, const std::optional<Uuid>& team_id, std::string_view provider,
                      std::string_view model, Timestamp time, const Usage& usage);

// The same for many calls: remembers what names mean. One per thread; keeps the catalogue that it was made with alive.
class Pricer {
 public:
  explicit Pricer(std::shared_ptr<const Catalogue> catalogue) : catalogue_(std::move(catalogue)) {}

  PricedCall price(const Uuid& team_id, std::string_view provider, std::string_view model, Timestamp time,
                   const Usage& usage);

  [[nodiscard]] const std::shared_ptr<const Catalogue>& catalogue() const { return catalogue_; }

 private:
  static constexpr std::size_t remembered_max = 10'000;  // names come from clients

  std::shared_ptr<const Catalogue> catalogue_;
  std::unordered_map<std::string, Meaning> remembered_;
  std::string names_;  // of the call at hand
};

}  // namespace cognive::prices
