#include "agents/policy.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "base/text.hpp"

namespace cognive::agents {
namespace {

constexpr char forbids = '!';

// `names`: what the thing is known by; a pattern that matches one of them decides.
bool allowed(std::span<const std::string> patterns, std::span<const std::string> names) {
  bool has_allowing = false;
  bool is_allowed = false;
  for (const auto& pattern : patterns) {
    const bool forbidding = pattern.starts_with(forbids);
    const auto glob = std::string_view(pattern).substr(forbidding ? 1 : 0);
    const bool matching = std::ranges::any_of(names, [&](const std::string& name) { return matches(glob, name); });
    if (forbidding && matching) return false;
    has_allowing = has_allowing || !forbidding;
    is_allowed = is_allowed || (!forbidding && matching);
  }
  return is_allowed || !has_allowing;
}

std::optional<Violation> check(std::span<const std::string> patterns, std::string_view subject, std::string_view what,
                               std::string_view name) {
  const std::string names[] = {std::string(name)};
  if (allowed(patterns, names)) return std::nullopt;
  return Violation{subject, fmt::format("The agent may not use the {} {}.", what, shortened(name, 256))};
}

}  // namespace

bool matches(std::string_view pattern, std::string_view name) {
  const auto same = [](char a, char b) {
    return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
  };
  // Back to the last star, which then stands for one character more.
  std::size_t p = 0;
  std::size_t n = 0;
  std::size_t star = std::string_view::npos;
  std::size_t star_name = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_name = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || same(pattern[p], name[n]))) {
      const bool any = pattern[p] == '?';
      ++p;
      ++n;
      // A character, not a byte of one.
      while (any && n < name.size() && (static_cast<unsigned char>(name[n]) & 0xC0) == 0x80) ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++star_name;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool is_pattern(std::string_view text) {
  return !text.empty() && text != std::string_view(&forbids, 1);
}

std::optional<Violation> check_provider(const Policy& policy, std::string_view provider) {
  return check(policy.providers, "provider", "provider", provider);
}

std::optional<Violation> check_model(const Policy& policy, std::string_view provider, std::string_view model) {
  const std::string unknown[] = {std::string()};
  if (provider.empty()) {
    if (!allowed(policy.providers, unknown))
      return Violation{"provider", "The agent may use some providers only, and nobody knows whose model this is."};
  } else if (auto violation = check_provider(policy, provider)) {
    return violation;
  }
  std::vector<std::string> names{std::string(model)};
  if (!provider.empty()) names.push_back(fmt::format("{}/{}", provider, model));
  if (allowed(policy.models, names)) return std::nullopt;
  return Violation{"model", fmt::format("The agent may not use the model {}.", shortened(model, 256))};
}

std::optional<Violation> check_tool(const Policy& policy, std::string_view tool) {
  return check(policy.tools, "tool", "tool", tool);
}

std::optional<Violation> check_data_source(const Policy& policy, std::string_view data_source) {
  return check(policy.data_sources, "data_source", "data source", data_source);
}

}  // namespace cognive::agents
