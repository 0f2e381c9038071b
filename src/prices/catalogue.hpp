// The catalogue: which provider and model a name means, and which price version of it holds when. Immutable once built,
// so that all threads share one; a new import makes a new one.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/uuid.hpp"
#include "prices/matcher.hpp"
#include "prices/rate_card.hpp"

namespace cognive::prices {

struct PriceVersion {
  Uuid id;
  std::int64_t version = 0;
  Timestamp effective_from;  // Timestamp::min(): since ever
  RateCard card;
};

struct Model {
  std::string provider;  // the owner of the rate card
  std::string id;
  std::optional<Matcher> match;
  std::vector<PriceVersion> versions;  // by effective_from, then version

  // The version that holds at `time`: the latest start, and among equal starts the latest version. Null when there is
  // none.
  [[nodiscard]] const PriceVersion* at(Timestamp time) const;
};

struct Provider {
  std::string id;
  std::optional<Matcher> provider_match;
  std::optional<Matcher> model_match;
  std::vector<std::string> fallback_providers;
  std::vector<Model> models;  // in the order of matching
};

class Catalogue {
 public:
  enum class Miss { unknown_provider, unknown_model };

  Catalogue() = default;
  explicit Catalogue(std::vector<Provider> providers) : providers_(std::move(providers)) {}

  // What `provider` (empty: unsaid) and `model` mean, by the rules of docs/prices.md.
  [[nodiscard]] std::expected<const Model*, Miss> find(std::string_view provider, std::string_view model) const;

  [[nodiscard]] const std::vector<Provider>& providers() const { return providers_; }
  [[nodiscard]] bool empty() const { return providers_.empty(); }

 private:
  [[nodiscard]] const Provider* provider_named(std::string_view id) const;

  std::vector<Provider> providers_;
};

// The catalogue in force, shared by all threads.
class CurrentCatalogue {
 public:
  CurrentCatalogue() : current_(std::make_shared<const Catalogue>()) {}
  [[nodiscard]] std::shared_ptr<const Catalogue> get() const { return current_.load(); }
  void set(std::shared_ptr<const Catalogue> next) { current_.store(std::move(next)); }

 private:
  std::atomic<std::shared_ptr<const Catalogue>> current_;
};

}  // namespace cognive::prices
