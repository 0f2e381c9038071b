// The catalogue: which provider and model a name means, and which price version of it holds when, with the overrides
// that operators have set. Immutable once built, so that all threads share one; an import or an override makes a new
// one.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "base/uuid.hpp"
#include "json/fields.hpp"
#include "prices/matcher.hpp"
#include "prices/rate_card.hpp"

namespace cognive::prices {

// Whose rates a price version holds; later ones win over earlier ones.
enum class PriceSource { catalogue, organisation, team };

constexpr auto enum_names(PriceSource) {
  return std::array{json::name(PriceSource::catalogue, "catalogue"),
                    json::name(PriceSource::organisation, "organisation"), json::name(PriceSource::team, "team")};
}

struct PriceVersion {
  Uuid id;
  std::int64_t version = 0;  // counts up per model of the catalogue; 0 for overrides
  Timestamp effective_from;  // Timestamp::min(): since ever
  RateCard card;
  PriceSource source = PriceSource::catalogue;
  bool ends = false;  // an override that gives way to what it covers
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

// The overrides of one name, for a team or for the organisation; in place of Model::match stands the exact name.
struct Override {
  std::optional<Uuid> team_id;  // of nobody: the organisation's
  Model model;                  // names in lower case
};

// What a name means to a team.
struct Meaning {
  enum class Miss { unknown_provider, unknown_model };

  std::vector<const Model*> overrides;                                             // those that win stand first
  std::expected<const Model*, Miss> model = std::unexpected(Miss::unknown_model);  // of the catalogue
  // The provider was not said: `overrides` are private models of this name, and only one provider's can be meant.
  bool is_guess = false;

  struct Held {
    const Model* model = nullptr;           // the catalogue's, else the private one whose version holds
    const PriceVersion* version = nullptr;  // null when none holds
  };
  [[nodiscard]] Held at(Timestamp time) const;
};

// What a catalogue is as of: how many imports and overrides there are, and the newest of each. Rows are only added.
struct Edition {
  std::int64_t imports = 0;
  std::optional<Uuid> import_id;
  std::int64_t overrides = 0;
  std::optional<Uuid> override_id;

  bool operator==(const Edition&) const = default;
};

class Catalogue {
 public:
  using Miss = Meaning::Miss;

  Catalogue() = default;
  explicit Catalogue(std::vector<Provider> providers, std::vector<Override> overrides = {},
                     std::optional<Edition> edition = {});

  // Nothing when it has not been read from a database.
  [[nodiscard]] const std::optional<Edition>& edition() const { return edition_; }

  // What `provider` (empty: unsaid) and `model` mean to a team (nobody: to the organisation), by the rules of
  // docs/prices.md.
  [[nodiscard]] Meaning find(const std::optional<Uuid>& team_id, std::string_view provider,
                             std::string_view model) const;

  // The version with this id, if it is the catalogue's, the organisation's or the team's; null otherwise.
  [[nodiscard]] const PriceVersion* version(const Uuid& team_id, const Uuid& id) const;

  // The id of the provider that is meant, or the name itself in lower case.
  [[nodiscard]] std::string provider_id(std::string_view name) const;

  [[nodiscard]] const std::vector<Provider>& providers() const { return providers_; }
  [[nodiscard]] bool empty() const { return providers_.empty() && overrides_.empty(); }
  // Whether a name may mean something else to another team.
  [[nodiscard]] bool differs_by_team() const { return differs_by_team_; }

 private:
  using OverrideKey = std::tuple<std::optional<Uuid>, std::string, std::string>;  // team, provider, model

  struct Place {
    std::string provider_id;  // as said, or of the one that was found; empty when neither
    std::string name;
    const Provider* provider = nullptr;
    std::expected<const Model*, Miss> model;
  };
  [[nodiscard]] Place locate(std::string_view provider, std::string_view model) const;
  [[nodiscard]] const Provider* provider_named(std::string_view id) const;
  void add_private(Meaning& meaning, const std::optional<Uuid>& team_id, const std::string& model) const;

  std::vector<Provider> providers_;
  std::map<OverrideKey, Model> overrides_;
  std::optional<Edition> edition_;
  bool differs_by_team_ = false;
};

// The catalogue in force, shared by all threads.
class CurrentCatalogue {
 public:
  CurrentCatalogue() : current_(std::make_shared<const Catalogue>()) {}
  [[nodiscard]] std::shared_ptr<const Catalogue> get() const { return current_.load(); }
  // For whom prices decide something. Throws Unavailable until they have been read for the first time: a process may
  // start while the database is away.
  [[nodiscard]] std::shared_ptr<const Catalogue> loaded() const;
  // Puts `next` in the place of `known`; false when another one has taken its place meanwhile, which may be newer.
  bool replace(std::shared_ptr<const Catalogue> known, std::shared_ptr<const Catalogue> next) {
    return current_.compare_exchange_strong(known, std::move(next));
  }

 private:
  std::atomic<std::shared_ptr<const Catalogue>> current_;
};

}  // namespace cognive::prices
