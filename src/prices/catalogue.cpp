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

std::expected<const Model*, Catalogue::Miss> Catalogue::find(std::string_view provider_name,
                                                             std::string_view model_name) const {
  std::string provider_id = lower(trim(provider_name));
  std::string name = lower(trim(model_name));
  if (provider_id == proxy) {
    const auto slash = name.find('/');
    if (slash != std::string::npos && slash > 0) {
      provider_id = name.substr(0, slash);
      name = name.substr(slash + 1);
    }
  }

  const Provider* provider = nullptr;
  if (!provider_id.empty()) {
    provider = provider_named(provider_id);
    if (provider == nullptr && provider_id != proxy) return std::unexpected(Miss::unknown_provider);
  }
  if (provider == nullptr) {
    const auto found = std::ranges::find_if(providers_, [&](const Provider& candidate) {
      return candidate.model_match && candidate.model_match->matches(name);
    });
    if (found == providers_.end()) return std::unexpected(Miss::unknown_model);
    provider = &*found;
  }

  if (const auto* model = model_named(*provider, name)) return model;
  for (const auto& fallback : provider->fallback_providers) {
    const auto other = std::ranges::find(providers_, fallback, &Provider::id);
    if (other == providers_.end()) continue;
    if (const auto* model = model_named(*other, name)) return model;
  }
  return std::unexpected(Miss::unknown_model);
}

}  // namespace cognive::prices
