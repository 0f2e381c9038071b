// From a data set's conditional entries to price versions with effective ranges, and what an import may add to the
// versions that exist.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "prices/catalogue.hpp"

namespace cognive::prices {

// One entry of a model's price list as the data set writes it. Later entries win over earlier ones while their
// condition holds.
struct Entry {
  std::optional<Timestamp> starts;
  std::optional<std::chrono::microseconds> from_time;
  std::optional<std::chrono::microseconds> to_time;
  Rates rates;
};

// A card and the instant from which it holds.
struct Dated {
  Timestamp from;
  RateCard card;
};

// The cards of a list of entries, by time; the first holds since ever (Timestamp::min()). Empty for an empty list.
std::vector<Dated> timeline(const std::vector<Entry>& entries);

// What to add to `existing` so that from `now` on `wanted` holds. History is never changed: where `wanted` differs from
// `existing` before `now` although `wanted` dates the difference, `refused` says so.
struct Additions {
  std::vector<Dated> versions;
  std::vector<std::string> refused;
};
Additions additions(const std::vector<PriceVersion>& existing, const std::vector<Dated>& wanted, Timestamp now);

}  // namespace cognive::prices
