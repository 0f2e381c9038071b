// What an agent may use, what follows when it uses something else, and what is kept of what it says.
//
// Patterns are globs over the whole name: `*` stands for any text, `?` for one character. A pattern that begins with
// `!` forbids. Nothing is allowed unless a pattern allows it; a list without allowing patterns allows all that it does
// not forbid. Names and patterns are compared without the blanks around them and whatever the case of the letters A to
// Z, as prices do. A thing may have several names: what forbids one of them forbids it, what allows one of them allows
// it.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "json/fields.hpp"

namespace cognive::agents {

// What is kept of inputs, outputs, prompts, arguments and results.
enum class Store { none, metadata, hashed, redacted, full };

constexpr auto enum_names(Store) {
  return std::array{json::name(Store::none, "none"), json::name(Store::metadata, "metadata"),
                    json::name(Store::hashed, "hashed"), json::name(Store::redacted, "redacted"),
                    json::name(Store::full, "full")};
}

// What follows when an event tells of something that is not allowed: it has happened, so it is recorded in any case.
enum class OnViolation { record, terminate };

constexpr auto enum_names(OnViolation) {
  return std::array{json::name(OnViolation::record, "record"), json::name(OnViolation::terminate, "terminate")};
}

// One list of patterns, ready to be compared.
class Patterns {
 public:
  Patterns() = default;
  explicit Patterns(std::span<const std::string> texts);

  [[nodiscard]] bool empty() const { return patterns_.empty(); }
  // `names`: all that the thing is known by. The work grows with the length of the list times the length of the names,
  // whatever they contain.
  [[nodiscard]] bool allow(std::span<const std::string> names) const;

 private:
  struct Pattern {
    std::string glob;        // in lower case, without one `*` beside another
    std::size_t length_min;  // bytes that a name needs to match
    bool forbids;
  };
  std::vector<Pattern> patterns_;
};

struct Policy {
  Patterns providers;
  Patterns models;
  Patterns tools;
  Patterns data_sources;
  OnViolation on_violation = OnViolation::record;
  Store store = Store::none;
};

// What is not allowed: the kind of thing, and a sentence for people, which has the name as somebody said it.
inline constexpr std::array<std::string_view, 4> violation_subjects{"provider", "model", "tool", "data_source"};
struct Violation {
  std::string_view subject;  // one of those
  std::string detail;
};

// What a call of a model is known by: first as it was said, then as it is understood.
struct CallNames {
  std::vector<std::string> providers;  // none: nobody knows whose model it is
  std::vector<std::string> models;     // none: only the provider is in question
};

// Whether a pattern is one: not empty, and not `!` alone.
bool is_pattern(std::string_view text);

// Nothing when it is allowed. A model is looked for by its names alone and as provider/name. While nobody knows the
// provider, a restriction of providers is not kept.
std::optional<Violation> check_call(const Policy& policy, const CallNames& names);
std::optional<Violation> check_tool(const Policy& policy, std::string_view tool);
std::optional<Violation> check_data_source(const Policy& policy, std::string_view data_source);

}  // namespace cognive::agents
