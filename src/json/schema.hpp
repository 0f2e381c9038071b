// JSON Schema (draft 2020-12, the dialect of OpenAPI 3.1) of described structs. Named structs become components.
#pragma once

#include <map>

#include "json/bind.hpp"

namespace cognive::json {

// Schemas under #/components/schemas, by name, and what is being described: a request names the members that it needs
// and nothing else may be in it; an answer has all of its members, and later versions may add some.
struct Components {
  std::map<std::string, std::string> schemas;
  bool answers = false;
};

template <typename T>
concept NamedSchema = Described<T> && requires { T::schema_name; };

namespace detail {
void bounds(Writer& out, const Rules& rules);
void lengths(Writer& out, std::string_view min, std::string_view max, const Rules& rules);

template <typename T>
inline constexpr bool is_vector = false;
template <typename T>
inline constexpr bool is_vector<std::vector<T>> = true;
template <typename T>
inline constexpr bool is_change = false;
template <typename T>
inline constexpr bool is_change<Change<T>> = true;
template <typename T>
inline constexpr bool is_map = false;
template <typename T>
inline constexpr bool is_map<std::map<std::string, T>> = true;
}  // namespace detail

// Writes the members of a schema object (without braces), so that descriptions can stand beside them.
template <typename T>
void schema_members(Writer& out, const Rules& rules, Components& components);

template <typename T>
void schema_object(Writer& out, const Rules& rules, Components& components) {
  out.begin_object();
  schema_members<T>(out, rules, components);
  out.end_object();
}

template <Described T>
void struct_members(Writer& out, Components& components) {
  out.field("type", "object");
  out.key("properties");
  out.begin_object();
  std::apply(
      [&](const auto&... field) {
        const auto one = [&](const auto& f) {
          using Member = std::remove_cvref_t<decltype(std::declval<T>().*(f.member))>;
          out.key(f.name);
          out.begin_object();
          schema_members<Member>(out, f.rules, components);
          if (!f.description.empty()) out.field("description", f.description);
          if (!f.rules.example.empty()) {
            out.key("examples");
            out.begin_array();
            out.raw(f.rules.example);
            out.end_array();
          }
          out.end_object();
        };
        (one(field), ...);
      },
      T::fields());
  out.end_object();
  bool any_required = false;
  std::apply(
      [&](const auto&... field) {
        const auto one = [&](const auto& f) {
          using Member = std::remove_cvref_t<decltype(std::declval<T>().*(f.member))>;
          if (!components.answers && (detail::is_optional<Member> || f.rules.optional)) return;
          if (!any_required) {
            out.key("required");
            out.begin_array();
            any_required = true;
          }
          out.string(f.name);
        };
        (one(field), ...);
      },
      T::fields());
  if (any_required) out.end_array();
  if (!components.answers) {
    out.key("additionalProperties");
    out.boolean(false);
  }
}

template <typename T>
void schema_members(Writer& out, const Rules& rules, Components& components) {
  if constexpr (detail::is_optional<T>) {
    // `null` means the same as absent in requests, and is written for absent values in answers.
    if constexpr (!std::is_same_v<typename T::value_type, Any>) {
      out.key("anyOf");
      out.begin_array();
      schema_object<typename T::value_type>(out, rules, components);
      out.begin_object();
      out.field("type", "null");
      out.end_object();
      out.end_array();
    }
  } else if constexpr (detail::is_change<T>) {
    schema_members<decltype(T::value)>(out, rules, components);
  } else if constexpr (std::is_same_v<T, PagePosition>) {
    out.field("type", "string");
  } else if constexpr (std::is_same_v<T, std::string>) {
    out.field("type", "string");
    detail::lengths(out, "minLength", "maxLength", rules);
  } else if constexpr (std::is_same_v<T, bool>) {
    out.field("type", "boolean");
  } else if constexpr (std::is_same_v<T, std::int64_t>) {
    out.field("type", "integer");
    detail::bounds(out, rules);
  } else if constexpr (std::is_same_v<T, double> || std::is_same_v<T, Decimal> || std::is_same_v<T, NanoUsd>) {
    out.field("type", "number");
  } else if constexpr (std::is_same_v<T, Uuid>) {
    out.field("type", "string");
    out.field("format", "uuid");
  } else if constexpr (std::is_same_v<T, Timestamp>) {
    out.field("type", "string");
    out.field("format", "date-time");
  } else if constexpr (std::is_same_v<T, Object>) {
    out.field("type", "object");
  } else if constexpr (std::is_same_v<T, Array>) {
    out.field("type", "array");
    out.key("items");
    out.raw("{}");
  } else if constexpr (std::is_same_v<T, Any>) {
    // No keyword: every value is valid.
  } else if constexpr (NamedEnum<T>) {
    out.field("type", "string");
    out.key("enum");
    out.begin_array();
    for (const auto& [value, text] : enum_names(T{})) out.string(text);
    out.end_array();
  } else if constexpr (detail::is_vector<T>) {
    out.field("type", "array");
    out.key("items");
    schema_object<typename T::value_type>(out, {}, components);
    detail::lengths(out, "minItems", "maxItems", rules);
  } else if constexpr (detail::is_map<T>) {
    out.field("type", "object");
    out.key("additionalProperties");
    schema_object<typename T::mapped_type>(out, {.min = rules.min, .max = rules.max}, components);
    detail::lengths(out, "minProperties", "maxProperties", rules);
  } else if constexpr (NamedSchema<T>) {
    const std::string name(T::schema_name);
    if (!components.schemas.contains(name)) {
      components.schemas[name];  // a placeholder: a struct that contains itself ends here
      Writer own;
      own.begin_object();
      struct_members<T>(own, components);
      own.end_object();
      components.schemas[name] = std::move(own).text();
    }
    out.field("$ref", "#/components/schemas/" + name);
  } else {
    static_assert(Described<T>, "no JSON schema for this type");
    struct_members<T>(out, components);
  }
}

}  // namespace cognive::json
