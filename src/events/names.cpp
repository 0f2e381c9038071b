#include "events/names.hpp"

#include <algorithm>

#include "base/text.hpp"

namespace cognive::events {
namespace {

// As the catalogue reads names: proxies that route to many providers write the real one before the model's name.
constexpr std::string_view proxy = "litellm";

void add(std::vector<std::string>& names, std::string_view name) {
  name = trim(name);
  const auto same = [&](const std::string& other) { return equal_ignoring_case(other, name); };
  if (!name.empty() && std::ranges::none_of(names, same)) names.emplace_back(name);
}

}  // namespace

agents::CallNames names_of(const prices::Catalogue& catalogue, std::string_view provider, std::string_view model,
                           const prices::Model* found) {
  provider = trim(provider);
  model = trim(model);
  agents::CallNames out;
  add(out.providers, provider);
  add(out.models, model);
  bool is_said = !provider.empty();
  if (equal_ignoring_case(provider, proxy)) {
    const auto slash = model.find('/');
    is_said = slash != std::string_view::npos && slash > 0;
    if (is_said) {
      provider = model.substr(0, slash);
      add(out.models, model.substr(slash + 1));
    }
  }
  if (is_said) {
    add(out.providers, catalogue.provider_id(provider));
  } else if (found != nullptr) {
    add(out.providers, found->provider);
  }
  if (found != nullptr) add(out.models, found->id);
  return out;
}

}  // namespace cognive::events
