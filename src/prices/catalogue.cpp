#include "prices/catalogue.hpp"

#include "base/text.hpp"

namespace cognive::prices {
namespace {

// Proxies that route to many providers write the real one before the model's name.
constexpr std::string_view proxy = "litellm";

const Model* model_named(const Provider& provider, std::string_view name) {
  for (const auto& model : provider.models) {
    if (model.match && model.match->matches(name)) return &model;
  }
  return nullptr;
}

}  // namespace

const PriceVersion* Model::at(Timestamp time) const {
  const PriceVersion* found = nullptr;
  for (const auto& version : versions) {
    if (version.effective_from <= time) found = &version;
  }
  return found;
}

const Provider* Catalogue::provider_named(std::string_view id) const {
  for (const auto& provider : providers_) {
    if (provider.id == id) return &provider;
  }
  for (const auto& provider : providers_) {
    if (provider.provider_match && provider.provider_match->matches(id)) return &provider;
  }
  return nullptr;
}

Meaning::Held Meaning::at(Timestamp time) const {
  Held held;
  for (const auto* one : overrides) {
    const auto* version = one->at(time);
    if (version == nullptr || version->ends) continue;
    if (held.version == nullptr) held = {one, version};
    if (!is_guess) break;
    if (one->provider != held.model->provider) return {};  // either may be meant
  }
  if (!model) return held;
  if (held.version == nullptr) held.version = (*model)->at(time);
  held.model = *model;
  return held;
}

Catalogue::Catalogue(std::vector<Provider> providers, std::vector<Override> overrides, std::optional<Edition> edition)
    : providers_(std::move(providers)), edition_(edition) {
  for (auto& one : overrides) {
    differs_by_team_ = differs_by_team_ || one.team_id.has_value();
    OverrideKey key{one.team_id, one.model.provider, one.model.id};
    overrides_.emplace(std::move(key), std::move(one.model));
  }
}

Catalogue::Place Catalogue::locate(std::string_view provider_name, std::string_view model_name) const {
  Place out{.provider_id = lower(trim(provider_name)),
            .name = lower(trim(model_name)),
            .provider = nullptr,
            .model = std::unexpected(Miss::unknown_model)};
  if (out.provider_id == proxy) {
    const auto slash = out.name.find('/');
    if (slash != std::string::npos && slash > 0) {
      out.provider_id = out.name.substr(0, slash);
      out.name = out.name.substr(slash + 1);
    }
  }

  if (!out.provider_id.empty()) {
    out.provider = provider_named(out.provider_id);
    if (out.provider == nullptr && out.provider_id != proxy) {
      out.model = std::unexpected(Miss::unknown_provider);
      return out;
    }
  }
  if (out.provider == nullptr) {
    const auto found = std::ranges::find_if(providers_, [&](const Provider& candidate) {
      return candidate.model_match && candidate.model_match->matches(out.name);
    });
    if (found == providers_.end()) return out;
    out.provider = &*found;
  }
  out.provider_id = out.provider->id;

  if (const auto* model = model_named(*out.provider, out.name)) {
    out.model = model;
    return out;
  }
  for (const auto& fallback : out.provider->fallback_providers) {
    const auto other = std::ranges::find(providers_, fallback, &Provider::id);
    if (other == providers_.end()) continue;
    if (const auto* model = model_named(*other, out.name)) {
      out.model = model;
      return out;
    }
  }
  return out;
}

// The private models of this name, whosever they are, the team's first.
void Catalogue::add_private(Meaning& meaning, const std::optional<Uuid>& team_id, const std::string& model) const {
  meaning.is_guess = true;
  for (const bool of_team : {true, false}) {
    for (const auto& [key, one] : overrides_) {
      const auto& [owner, provider, name] = key;
      if (name == model && owner.has_value() == of_team && (!owner || owner == team_id))
        meaning.overrides.push_back(&one);
    }
  }
}

Meaning Catalogue::find(const std::optional<Uuid>& team_id, std::string_view provider, std::string_view model) const {
  auto place = locate(provider, model);
  Meaning out;
  out.model = place.model;
  if (overrides_.empty()) return out;
  if (!place.model && trim(provider).empty()) {
    add_private(out, team_id, place.name);
    return out;
  }

  // Exactly what was said wins over what it means, and the provider that was called over the one whose rates it takes.
  std::vector<std::pair<std::string, std::string>> names{{place.provider_id, place.name}};
  if (place.model) {
    const auto id = lower((*place.model)->id);
    names.emplace_back(place.provider_id, id);
    names.emplace_back((*place.model)->provider, id);
  }
  std::vector<std::optional<Uuid>> owners;
  if (team_id) owners.push_back(team_id);
  owners.emplace_back();
  for (const auto& owner : owners) {
    for (const auto& [provider_id, name] : names) {
      const auto found = overrides_.find({owner, provider_id, name});
      if (found == overrides_.end()) continue;
      const auto* model_found = &found->second;
      if (std::ranges::find(out.overrides, model_found) == out.overrides.end()) out.overrides.push_back(model_found);
    }
  }
  return out;
}

const PriceVersion* Catalogue::version(const Uuid& team_id, const Uuid& id) const {
  const auto search = [&id](const Model& model) -> const PriceVersion* {
    const auto found = std::ranges::find(model.versions, id, &PriceVersion::id);
    return found == model.versions.end() ? nullptr : &*found;
  };
  for (const auto& [key, model] : overrides_) {
    const auto& owner = std::get<0>(key);
    if (owner && *owner != team_id) continue;
    if (const auto* found = search(model)) return found;
  }
  for (const auto& provider : providers_) {
    for (const auto& model : provider.models) {
      if (const auto* found = search(model)) return found;
    }
  }
  return nullptr;
}

std::string Catalogue::provider_id(std::string_view name) const {
  auto id = lower(trim(name));
  const auto* provider = provider_named(id);
  return provider != nullptr ? provider->id : id;
}

std::shared_ptr<const Catalogue> CurrentCatalogue::loaded() const {
  auto catalogue = get();
  if (!catalogue->edition()) throw Unavailable("the prices have not been loaded yet");
  return catalogue;
}

}  // namespace cognive::prices
