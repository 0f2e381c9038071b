#include "agents/policy.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstdint>

#include "base/text.hpp"

namespace cognive::agents {
namespace {

constexpr char forbids = '!';

bool continues_character(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

// One name, to be compared with many globs. Instead of trying places one after the other, which takes exponential time
// for some patterns, it follows all places up to which a glob can match at once: a bit for each.
class Name {
 public:
  explicit Name(std::string_view said)
      : text_(lower(trim(said))), words_(text_.size() / bits + 1), bytes_(256 * words_), begins_(words_), at_(words_) {
    for (std::size_t i = 0; i < text_.size(); ++i) {
      set(places_of(text_[i]), i);
      if (!continues_character(text_[i])) set(begins_.data(), i);
    }
    set(begins_.data(), text_.size());
  }

  [[nodiscard]] std::size_t length() const { return text_.size(); }

  bool matches(std::string_view glob) {
    std::ranges::fill(at_, 0);
    at_[0] = 1;
    for (const char c : glob) {
      if (c == '*') {
        go_anywhere();
      } else if (c == '?') {
        if (!pass_character()) return false;
      } else if (!step(places_of(c))) {
        return false;
      }
    }
    return (at_[text_.size() / bits] >> text_.size() % bits & 1) != 0;
  }

 private:
  static constexpr std::size_t bits = 64;

  [[nodiscard]] std::uint64_t* places_of(char c) { return &bytes_[static_cast<unsigned char>(c) * words_]; }
  static void set(std::uint64_t* places, std::size_t i) { places[i / bits] |= std::uint64_t{1} << i % bits; }

  // From each place that has the byte to the next one. Whether there was any.
  bool step(const std::uint64_t* places) {
    auto* at = at_.data();
    std::uint64_t carry = 0;
    std::uint64_t any = 0;
    for (std::size_t i = 0; i < words_; ++i) {
      const auto from = at[i] & places[i];
      at[i] = from << 1 | carry;
      carry = from >> (bits - 1);
      any |= at[i];
    }
    return any != 0;
  }

  // To the beginnings of all characters behind the first place, and to the end.
  void go_anywhere() {
    auto* at = at_.data();
    const auto* begins = begins_.data();
    std::size_t first = 0;
    while (at[first] == 0) ++first;
    at[first] = ~std::uint64_t{0} << std::countr_zero(at[first]);
    for (std::size_t i = first; i < words_; ++i) at[i] = (i == first ? at[i] : ~std::uint64_t{0}) & begins[i];
  }

  bool pass_character() {
    auto* at = at_.data();
    const auto* begins = begins_.data();
    at[words_ - 1] &= ~(std::uint64_t{1} << text_.size() % bits);  // nothing follows the end
    std::uint64_t any = 0;
    for (std::size_t i = words_; i-- > 0;) {
      at[i] = at[i] << 1 | (i > 0 ? at[i - 1] >> (bits - 1) : 0);
      any |= at[i];
    }
    // The rest of its bytes, of which there are three at most.
    for (bool inside = true; inside;) {
      inside = false;
      std::uint64_t carry = 0;
      for (std::size_t i = 0; i < words_; ++i) {
        const auto within = at[i] & ~begins[i];
        at[i] = (at[i] & begins[i]) | within << 1 | carry;
        carry = within >> (bits - 1);
        inside = inside || (at[i] & ~begins[i]) != 0;
      }
    }
    return any != 0;
  }

  std::string text_;
  std::size_t words_;
  std::vector<std::uint64_t> bytes_;   // for each byte, where it stands
  std::vector<std::uint64_t> begins_;  // of characters, and the end
  std::vector<std::uint64_t> at_;      // up to where the glob has matched so far
};

std::string compiled(std::string_view glob) {
  std::string out;
  for (const char c : lower(trim(glob))) {
    if (c != '*' || !out.ends_with('*')) out.push_back(c);
  }
  return out;
}

std::optional<Violation> check(const Patterns& patterns, std::string_view subject, std::string_view what,
                               std::string_view name) {
  if (patterns.empty()) return std::nullopt;
  const std::string names[] = {std::string(name)};
  if (patterns.allow(names)) return std::nullopt;
  return Violation{subject, fmt::format("The agent may not use the {} {}.", what, name)};
}

}  // namespace

Patterns::Patterns(std::span<const std::string> texts) {
  patterns_.reserve(texts.size());
  for (const auto& text : texts) {
    auto glob = trim(text);
    const bool forbidding = glob.starts_with(forbids);
    if (forbidding) glob.remove_prefix(1);
    Pattern pattern{.glob = compiled(glob), .length_min = 0, .forbids = forbidding};
    pattern.length_min = pattern.glob.size() - static_cast<std::size_t>(std::ranges::count(pattern.glob, '*'));
    patterns_.push_back(std::move(pattern));
  }
}

bool Patterns::allow(std::span<const std::string> names) const {
  std::vector<Name> known;
  known.reserve(names.size());
  for (const auto& name : names) known.emplace_back(name);
  bool has_allowing = false;
  bool is_allowed = false;
  for (const auto& [glob, length_min, forbidding] : patterns_) {
    has_allowing = has_allowing || !forbidding;
    if (is_allowed && !forbidding) continue;
    const bool matching =
        std::ranges::any_of(known, [&](Name& name) { return name.length() >= length_min && name.matches(glob); });
    if (forbidding && matching) return false;
    is_allowed = is_allowed || matching;
  }
  return is_allowed || !has_allowing;
}

bool is_pattern(std::string_view text) {
  text = trim(text);
  if (text.starts_with(forbids)) text = trim(text.substr(1));
  return !text.empty();
}

std::optional<Violation> check_call(const Policy& policy, const CallNames& names) {
  if (!policy.providers.empty()) {
    const std::string unknown[] = {std::string()};
    const bool is_known = !names.providers.empty();
    if (!policy.providers.allow(is_known ? std::span(names.providers) : std::span<const std::string>(unknown))) {
      if (is_known)
        return Violation{"provider", fmt::format("The agent may not use the provider {}.", names.providers[0])};
      return Violation{"provider", "The agent may use some providers only, and nobody knows whose model this is."};
    }
  }
  if (policy.models.empty() || names.models.empty()) return std::nullopt;
  auto models = names.models;
  for (const auto& provider : names.providers) {
    for (const auto& model : names.models) models.push_back(fmt::format("{}/{}", trim(provider), trim(model)));
  }
  if (policy.models.allow(models)) return std::nullopt;
  return Violation{"model", fmt::format("The agent may not use the model {}.", names.models[0])};
}

std::optional<Violation> check_tool(const Policy& policy, std::string_view tool) {
  return check(policy.tools, "tool", "tool", tool);
}

std::optional<Violation> check_data_source(const Policy& policy, std::string_view data_source) {
  return check(policy.data_sources, "data_source", "data source", data_source);
}

}  // namespace cognive::agents
