// What an agent may use, what follows when it uses something else, and what is kept of what it says.
//
// Patterns are globs over the whole name, whatever the case: `*` stands for any text, `?` for one character. A pattern
// that begins with `!` forbids. Nothing is allowed unless a pattern allows it; a list without allowing patterns allows
// all that it does not forbid. A model is looked for by its name alone and as provider/name.
#pragma once

#include <array>
#include <optional>
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

struct Policy {
  std::vector<std::string> providers;
  std::vector<std::string> models;
  std::vector<std::string> tools;
  std::vector<std::string> data_sources;
  OnViolation on_violation = OnViolation::record;
  Store store = Store::none;
};

// What is not allowed: the kind of thing, and a sentence for people.
struct Violation {
  std::string_view subject;  // provider, model, tool or data_source
  std::string detail;
};

// Whether a glob matches the whole name. Linear in the product of the lengths at worst.
bool matches(std::string_view pattern, std::string_view name);

// Whether a pattern is one: not empty, and not `!` alone.
bool is_pattern(std::string_view text);

// Nothing when it is allowed. `provider` is empty when nobody knows it: then a restriction of providers is not kept.
std::optional<Violation> check_model(const Policy& policy, std::string_view provider, std::string_view model);
std::optional<Violation> check_provider(const Policy& policy, std::string_view provider);
std::optional<Violation> check_tool(const Policy& policy, std::string_view tool);
std::optional<Violation> check_data_source(const Policy& policy, std::string_view data_source);

}  // namespace cognive::agents
