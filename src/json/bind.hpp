// From JSON to described structs and back. Reading collects every fault with its JSON pointer instead of stopping at
// the first.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "base/decimal.hpp"
#include "base/time.hpp"
#include "base/uuid.hpp"
#include "json/cursor.hpp"
#include "json/fields.hpp"
#include "json/page.hpp"

namespace cognive::json {

// The faults of one body, and where in it the reader is. Bounded: a hostile body cannot make an unbounded answer.
class Faults {
 public:
  static constexpr std::size_t kept_max = 100;

  void add(std::string message, std::string rejected = {});
  // A fault of the member `name` of the place where the reader is.
  void add_at(std::string_view name, std::string message, std::string rejected = {});
  // Whether that member has a fault already; then what was read of it means nothing.
  [[nodiscard]] bool has_at(std::string_view name) const;
  // The same, or whether something inside of it has.
  [[nodiscard]] bool has_below(std::string_view name) const;

  // Leaves out what was rejected in all faults but the first `count`.
  void conceal_since(std::size_t count);

  [[nodiscard]] bool empty() const { return count_ == 0; }
  [[nodiscard]] std::size_t count() const { return count_; }
  [[nodiscard]] std::vector<FieldError> take();

  // Steps into a member or item for the time of a scope. Its pointer is written only when there is a fault to point at.
  class Scope {
   public:
    // `name` has to outlive this.
    Scope(Faults& faults, std::string_view name) : faults_(faults), outer_(faults.innermost_), name_(name) {
      faults.innermost_ = this;
    }
    Scope(Faults& faults, std::size_t index) : Scope(faults, std::string_view{}) { index_ = index; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope() { faults_.innermost_ = outer_; }

   private:
    friend class Faults;
    void append_to(std::string& pointer) const;

    Faults& faults_;
    const Scope* outer_;
    std::string_view name_;
    std::optional<std::size_t> index_;  // instead of the name
  };

 private:
  [[nodiscard]] std::string pointer() const;
  [[nodiscard]] std::string pointer_to(std::string_view name) const;

  const Scope* innermost_ = nullptr;
  std::vector<FieldError> list_;
  std::size_t count_ = 0;
};

// One overload per type that a field may have. Each consumes the value; on a fault the target keeps what it had.
void read(Cursor& in, std::string& out, Faults& faults, const Rules& rules);
void read(Cursor& in, bool& out, Faults& faults, const Rules& rules);
void read(Cursor& in, std::int64_t& out, Faults& faults, const Rules& rules);
void read(Cursor& in, Uuid& out, Faults& faults, const Rules& rules);
void read(Cursor& in, Timestamp& out, Faults& faults, const Rules& rules);
void read(Cursor& in, Decimal& out, Faults& faults, const Rules& rules);
void read(Cursor& in, NanoUsd& out, Faults& faults, const Rules& rules);
void read(Cursor& in, PagePosition& out, Faults& faults, const Rules& rules);
// rules.max_length counts bytes of their text.
void read(Cursor& in, Object& out, Faults& faults, const Rules& rules);
void read(Cursor& in, Array& out, Faults& faults, const Rules& rules);

namespace detail {
void wrong_type(Cursor& in, std::string_view expected, Faults& faults);
void check_length(std::size_t length, std::string_view what, Faults& faults, const Rules& rules);
// Calls `assign(name)` for each member; reports duplicates by itself. `seen` has a bit per field of the struct.
void unknown_field(std::string_view key, Cursor& value, Faults& faults);
void repeated_field(std::string_view key, Cursor& value, Faults& faults);
void missing_field(std::string_view key, Faults& faults);
void bad_enum(const std::string& value, std::string_view allowed, Faults& faults);

template <typename... Fields>
constexpr bool has_secrets(const std::tuple<Fields...>& fields) {
  return std::apply([](const auto&... field) { return (field.rules.secret || ...); }, fields);
}

template <typename T>
inline constexpr bool is_optional = false;
template <typename T>
inline constexpr bool is_optional<std::optional<T>> = true;
}  // namespace detail

template <NamedEnum E>
void read(Cursor& in, E& out, Faults& faults, const Rules&) {
  if (in.kind() != Kind::string) return detail::wrong_type(in, "a string", faults);
  const std::string text(in.string());
  if (enum_parse(text, out)) return;
  std::string allowed;
  for (const auto& [value, name] : enum_names(E{})) {
    if (!allowed.empty()) allowed += ", ";
    allowed += name;
  }
  detail::bad_enum(text, allowed, faults);
}

template <typename T>
void read(Cursor& in, std::vector<T>& out, Faults& faults, const Rules& rules);
template <typename T>
void read(Cursor& in, std::map<std::string, T>& out, Faults& faults, const Rules& rules);
template <Described T>
void read(Cursor& in, T& out, Faults& faults, const Rules& rules = {});

template <typename T>
void read(Cursor& in, std::optional<T>& out, Faults& faults, const Rules& rules) {
  if (in.kind() == Kind::null) {
    in.skip();
    out.reset();
    return;
  }
  read(in, out.emplace(), faults, rules);
}

template <typename T>
void read(Cursor& in, Change<T>& out, Faults& faults, const Rules& rules) {
  out.is_said = true;
  read(in, out.value, faults, rules);
}

template <typename T>
void read(Cursor& in, std::vector<T>& out, Faults& faults, const Rules& rules) {
  if (in.kind() != Kind::array) return detail::wrong_type(in, "an array", faults);
  out.clear();
  const Rules item_rules = {.max_length = 256};
  std::size_t count = 0;
  in.each_item([&](std::size_t index, Cursor& item) {
    ++count;
    if (index >= rules.max_length) return;  // counted, validated, not kept
    const Faults::Scope scope(faults, index);
    read(item, out.emplace_back(), faults, item_rules);
  });
  detail::check_length(count, "items", faults, rules);
}

// Bounds on the numbers of a map come from `rules.min` and `rules.max`; `rules.max_length` bounds the number of
// members.
template <typename T>
void read(Cursor& in, std::map<std::string, T>& out, Faults& faults, const Rules& rules) {
  if (in.kind() != Kind::object) return detail::wrong_type(in, "an object", faults);
  out.clear();
  const Rules value_rules = {.min = rules.min, .max = rules.max, .max_length = 256};
  in.each_field([&](std::string_view key, Cursor& value) {
    const Faults::Scope scope(faults, key);
    if (key.empty() || key.size() > 128 || key.find('\0') != std::string_view::npos) {
      return faults.add("A member's name must have 1 to 128 bytes and no U+0000.", value.excerpt());
    }
    const auto [place, inserted] = out.try_emplace(std::string(key));
    if (!inserted) return detail::repeated_field(key, value, faults);
    const auto before = faults.count();
    read(value, place->second, faults, value_rules);
    if (faults.count() > before) out.erase(place);
  });
  detail::check_length(out.size(), "members", faults, rules);
}

template <Described T>
void read(Cursor& in, T& out, Faults& faults, const Rules&) {
  static constexpr auto fields = T::fields();
  if (in.kind() != Kind::object) {
    const auto before = faults.count();
    detail::wrong_type(in, "an object", faults);
    if (detail::has_secrets(fields)) faults.conceal_since(before);
    return;
  }
  constexpr std::size_t count = std::tuple_size_v<decltype(fields)>;
  static_assert(count <= 64);
  std::uint64_t seen = 0;

  in.each_field([&](std::string_view key, Cursor& value) {
    std::uint64_t bit = 1;
    const bool known = std::apply(
        [&](const auto&... field) {
          const auto try_one = [&](const auto& f) {
            if (f.name != key) {
              bit <<= 1;
              return false;
            }
            const Faults::Scope scope(faults, key);
            const auto before = faults.count();
            if ((seen & bit) != 0) {
              detail::repeated_field(key, value, faults);
            } else {
              seen |= bit;
              read(value, out.*(f.member), faults, f.rules);
            }
            if (f.rules.secret) faults.conceal_since(before);
            return true;
          };
          return (try_one(field) || ...);
        },
        fields);
    if (!known) {
      const Faults::Scope scope(faults, key);
      const auto before = faults.count();
      detail::unknown_field(key, value, faults);
      if (detail::has_secrets(fields)) faults.conceal_since(before);  // it may be one, misspelt
    }
  });

  std::uint64_t bit = 1;
  std::apply(
      [&](const auto&... field) {
        const auto check = [&](const auto& f) {
          using Member = std::remove_cvref_t<decltype(out.*(f.member))>;
          if (!detail::is_optional<Member> && !f.rules.optional && (seen & bit) == 0)
            detail::missing_field(f.name, faults);
          bit <<= 1;
        };
        (check(field), ...);
      },
      fields);
  if constexpr (requires { out.check(faults); }) out.check(faults);
}

// A whole body. Code::malformed when it is not JSON, Code::unprocessable with every fault otherwise.
template <typename T>
Result<T> decode(std::string text) {
  T out{};
  Faults faults;
  const auto walked = walk(text, [&](Cursor& root) { read(root, out, faults, Rules{}); });
  if (!walked) return std::unexpected(walked.error());
  if (!faults.empty()) return unprocessable(faults.take());
  return out;
}

inline void write(Writer& out, const std::string& value) {
  out.string(value);
}
inline void write(Writer& out, std::string_view value) {
  out.string(value);
}
inline void write(Writer& out, bool value) {
  out.boolean(value);
}
inline void write(Writer& out, std::int64_t value) {
  out.integer(value);
}
inline void write(Writer& out, double value) {
  out.real(value);
}
inline void write(Writer& out, const Uuid& value) {
  out.string(value.text());
}
inline void write(Writer& out, Timestamp value) {
  out.string(value.text());
}
inline void write(Writer& out, const Decimal& value) {
  out.raw(value.text());
}
inline void write(Writer& out, NanoUsd value) {
  out.raw(value.text());
}
inline void write(Writer& out, const Object& value) {
  out.raw(value.text);
}
inline void write(Writer& out, const Array& value) {
  out.raw(value.text);
}
inline void write(Writer& out, const Any& value) {
  out.raw(value.text);
}

template <NamedEnum E>
void write(Writer& out, E value) {
  out.string(enum_text(value));
}

template <typename T>
void write(Writer& out, const std::vector<T>& value);
template <typename T>
void write(Writer& out, const std::map<std::string, T>& value);
template <Described T>
void write(Writer& out, const T& value);

template <typename T>
void write(Writer& out, const std::optional<T>& value) {
  if (value) {
    write(out, *value);
  } else {
    out.null();
  }
}

template <typename T>
void write(Writer& out, const std::vector<T>& value) {
  out.begin_array();
  for (const auto& item : value) write(out, item);
  out.end_array();
}

template <typename T>
void write(Writer& out, const std::map<std::string, T>& value) {
  out.begin_object();
  for (const auto& [key, item] : value) {
    out.key(key);
    write(out, item);
  }
  out.end_object();
}

template <Described T>
void write(Writer& out, const T& value) {
  out.begin_object();
  std::apply(
      [&](const auto&... field) {
        const auto one = [&](const auto& f) {
          out.key(f.name);
          write(out, value.*(f.member));
        };
        (one(field), ...);
      },
      T::fields());
  out.end_object();
}

template <typename T>
std::string encode(const T& value) {
  Writer out;
  write(out, value);
  return std::move(out).text();
}

}  // namespace cognive::json
