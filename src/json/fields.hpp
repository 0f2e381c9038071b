// How a struct describes itself as JSON: once, for reading (json/bind.hpp), writing, and the OpenAPI schema.
//
//   struct RunEnd {
//     RunStatus status;
//     std::optional<std::string> error;
//
//     static constexpr std::string_view schema_name = "RunEnd";
//     static constexpr auto fields() {
//       return json::fields(
//           json::field("status", &RunEnd::status, "How the run ended."),
//           json::field("error", &RunEnd::error, "What went wrong.", {.max_length = 4096}));
//     }
//   };
//
// A struct may also have `void check(json::Faults&) const` for rules over several fields; it is called whatever faults
// single fields had (see Faults::has_at).
//
// A field is required unless its type is std::optional or its rules say `.optional` (then the member's initialiser
// holds). Enumerations describe themselves by a function that argument-dependent lookup finds:
//
//   constexpr auto enum_names(RunStatus) { return std::array{json::name(RunStatus::queued, "queued"), …}; }
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

namespace cognive::json {

// Constraints of one field. Numbers are inclusive bounds; lengths count code points of strings, items of arrays,
// members of maps.
struct Rules {
  std::int64_t min = std::numeric_limits<std::int64_t>::min();
  std::int64_t max = std::numeric_limits<std::int64_t>::max();
  std::size_t min_length = 0;
  std::size_t max_length = std::numeric_limits<std::size_t>::max();
  bool optional = false;
  bool secret = false;            // a fault does not repeat what was sent
  std::string_view example = {};  // JSON text
};

template <typename Struct, typename Member>
struct Field {
  std::string_view name;
  Member Struct::* member;
  std::string_view description;
  Rules rules;
};

template <typename Struct, typename Member>
constexpr Field<Struct, Member> field(std::string_view name, Member Struct::* member, std::string_view description,
                                      Rules rules = {}) {
  return {name, member, description, rules};
}

template <typename... Fields>
constexpr std::tuple<Fields...> fields(Fields... all) {
  return {all...};
}

template <typename E>
constexpr std::pair<E, std::string_view> name(E value, std::string_view text) {
  return {value, text};
}

// A JSON object kept as text, compact, exactly as received otherwise (metadata, labels of foreign make).
struct Object {
  std::string text = "{}";

  bool operator==(const Object&) const = default;
};

// The same of a JSON array, whatever its items.
struct Array {
  std::string text = "[]";

  bool operator==(const Array&) const = default;
};

// Any JSON value of foreign make, in answers.
struct Any {
  std::string text = "null";
};

// For requests that change something: a field that is absent, null or a value, where null does not mean the same as
// absent. Its rules say `.optional`.
template <typename T>
struct Change {
  bool is_said = false;
  std::optional<T> value;  // nothing: null was said
};

template <typename T>
concept Described = requires { T::fields(); };

template <typename T>
concept NamedEnum = requires(T value) { enum_names(value); };

template <NamedEnum E>
constexpr std::string_view enum_text(E value) {
  for (const auto& [candidate, text] : enum_names(E{})) {
    if (candidate == value) return text;
  }
  return {};
}

template <NamedEnum E>
constexpr bool enum_parse(std::string_view text, E& out) {
  for (const auto& [candidate, name] : enum_names(E{})) {
    if (name == text) {
      out = candidate;
      return true;
    }
  }
  return false;
}

}  // namespace cognive::json
