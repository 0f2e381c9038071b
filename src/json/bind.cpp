#include "json/bind.hpp"

#include <charconv>

#include "base/text.hpp"

namespace cognive::json {
namespace {

std::size_t code_points(std::string_view text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

}  // namespace

void Faults::Scope::append_to(std::string& pointer) const {
  if (outer_ != nullptr) outer_->append_to(pointer);
  pointer.push_back('/');
  if (index_) {
    pointer += std::to_string(*index_);
    return;
  }
  // RFC 6901, section 3: `~` and `/` are escaped.
  for (const char c : shortened(name_, 128)) {
    if (c == '~') {
      pointer += "~0";
    } else if (c == '/') {
      pointer += "~1";
    } else {
      pointer.push_back(c);
    }
  }
}

std::string Faults::pointer() const {
  std::string out;
  if (innermost_ != nullptr) innermost_->append_to(out);
  return out;
}

std::string Faults::pointer_to(std::string_view name) const {
  return pointer() + "/" + std::string(name);
}

bool Faults::has_at(std::string_view name) const {
  return !list_.empty() && std::ranges::find(list_, pointer_to(name), &FieldError::pointer) != list_.end();
}

bool Faults::has_below(std::string_view name) const {
  if (list_.empty()) return false;
  const auto pointer = pointer_to(name);
  return std::ranges::any_of(
      list_, [&](const auto& fault) { return fault.pointer == pointer || fault.pointer.starts_with(pointer + "/"); });
}

void Faults::add(std::string message, std::string rejected) {
  ++count_;
  if (list_.size() < kept_max) list_.push_back({pointer(), std::move(message), std::move(rejected)});
}

void Faults::add_at(std::string_view name, std::string message, std::string rejected) {
  const Scope scope(*this, name);
  add(std::move(message), std::move(rejected));
}

void Faults::conceal_since(std::size_t count) {
  for (std::size_t i = count; i < list_.size(); ++i) list_[i].rejected.clear();
}

std::vector<FieldError> Faults::take() {
  if (count_ > list_.size()) {
    list_.push_back({"", "There are " + std::to_string(count_ - list_.size()) + " more faults.", ""});
  }
  count_ = 0;
  return std::exchange(list_, {});
}

namespace detail {

void wrong_type(Cursor& in, std::string_view expected, Faults& faults) {
  faults.add("It must be " + std::string(expected) + ".", in.excerpt());
}

void check_length(std::size_t length, std::string_view what, Faults& faults, const Rules& rules) {
  if (length < rules.min_length) {
    faults.add(fmt::format("It must have at least {} {}.", rules.min_length, what));
  } else if (length > rules.max_length) {
    faults.add(fmt::format("It must have at most {} {}.", rules.max_length, what));
  }
}

void unknown_field(std::string_view, Cursor& value, Faults& faults) {
  faults.add("There is no such field.", value.excerpt());
}

void repeated_field(std::string_view, Cursor& value, Faults& faults) {
  faults.add("The field appears more than once.", value.excerpt());
}

void missing_field(std::string_view key, Faults& faults) {
  faults.add_at(key, "It is required.");
}

void bad_enum(const std::string& value, std::string_view allowed, Faults& faults) {
  faults.add("It must be one of: " + std::string(allowed) + ".", quoted(shortened(value, 64)));
}

}  // namespace detail

void read(Cursor& in, std::string& out, Faults& faults, const Rules& rules) {
  if (in.kind() != Kind::string) return detail::wrong_type(in, "a string", faults);
  const auto text = in.string();
  const auto length = code_points(text);
  if (length < rules.min_length) {
    faults.add(rules.min_length == 1 ? "It must not be empty."
                                     : fmt::format("It must have at least {} characters.", rules.min_length),
               quoted(shortened(text, 64)));
  } else if (length > rules.max_length) {
    faults.add(fmt::format("It must have at most {} characters; it has {}.", rules.max_length, length),
               quoted(shortened(text, 64)));
  } else if (text.find('\0') != std::string_view::npos) {
    faults.add("It must not contain the character U+0000.", quoted(shortened(text, 64)));
  } else {
    out.assign(text);
  }
}

void read(Cursor& in, bool& out, Faults& faults, const Rules&) {
  if (in.kind() != Kind::boolean) return detail::wrong_type(in, "true or false", faults);
  out = in.boolean();
}

void read(Cursor& in, std::int64_t& out, Faults& faults, const Rules& rules) {
  if (in.kind() != Kind::number) return detail::wrong_type(in, "an integer", faults);
  const std::string token(in.number());
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), value);
  if (error != std::errc{} || end != token.data() + token.size()) {
    // 12.0 and 1.2e1 are integers too (JSON Schema, section 4.2.3 "integers"); Decimal knows which are.
    const auto exact = Decimal::parse(token);
    if (!exact || exact->scale != 0) {
      const bool fraction = exact && exact->scale != 0;
      return faults.add(fraction ? "It must be an integer." : "It is too large.", shortened(token, 64));
    }
    value = exact->mantissa;
  }
  if (value < rules.min) {
    faults.add(fmt::format("It must be at least {}.", rules.min), token);
  } else if (value > rules.max) {
    faults.add(fmt::format("It must be at most {}.", rules.max), token);
  } else {
    out = value;
  }
}

void read(Cursor& in, Uuid& out, Faults& faults, const Rules&) {
  if (in.kind() != Kind::string) return detail::wrong_type(in, "a UUID in its 36-character form", faults);
  const auto text = in.string();
  if (const auto id = Uuid::parse(text)) {
    out = *id;
  } else {
    faults.add("It must be a UUID in its 36-character form.", quoted(shortened(text, 64)));
  }
}

void read(Cursor& in, Timestamp& out, Faults& faults, const Rules&) {
  constexpr std::string_view expected = "a time as RFC 3339 writes it, for instance 2026-11-23T06:02:00.123456Z";
  if (in.kind() != Kind::string) return detail::wrong_type(in, expected, faults);
  const auto text = in.string();
  if (const auto time = Timestamp::parse(text)) {
    out = *time;
  } else {
    faults.add("It must be " + std::string(expected) + ".", quoted(shortened(text, 64)));
  }
}

void read(Cursor& in, Decimal& out, Faults& faults, const Rules&) {
  if (in.kind() != Kind::number) return detail::wrong_type(in, "a number", faults);
  const auto token = in.number();
  if (const auto value = Decimal::parse(token)) {
    out = *value;
  } else {
    faults.add("It must have at most 18 significant digits, 18 of them after the point.", shortened(token, 64));
  }
}

void read(Cursor& in, NanoUsd& out, Faults& faults, const Rules& rules) {
  const auto before = faults.count();
  Decimal dollars;
  read(in, dollars, faults, rules);
  if (faults.count() != before) return;
  if (const auto amount = NanoUsd::exactly(dollars)) {
    out = *amount;
  } else {
    faults.add("It must have at most nine digits after the point.", dollars.text());
  }
}

void read(Cursor& in, PagePosition& out, Faults& faults, const Rules&) {
  constexpr std::string_view expected = "It must be a next_cursor of an earlier answer.";
  if (in.kind() != Kind::string) return faults.add(std::string(expected), in.excerpt());
  const auto text = in.string();
  if (const auto position = PagePosition::parse(text)) {
    out = *position;
  } else {
    faults.add(std::string(expected), quoted(shortened(text, 64)));
  }
}

namespace {

void read_text(Cursor& in, std::string& out, Faults& faults, const Rules& rules) {
  Writer text;
  if (const auto unstorable = in.copy_to(text); !unstorable.empty()) return faults.add(std::string(unstorable));
  if (text.text().size() > rules.max_length) {
    return faults.add(fmt::format("It must have at most {} bytes; it has {}.", rules.max_length, text.text().size()));
  }
  out = std::move(text).text();
}

}  // namespace

void read(Cursor& in, Object& out, Faults& faults, const Rules& rules) {
  if (in.kind() != Kind::object) return detail::wrong_type(in, "an object", faults);
  read_text(in, out.text, faults, rules);
}

void read(Cursor& in, Array& out, Faults& faults, const Rules& rules) {
  if (in.kind() != Kind::array) return detail::wrong_type(in, "an array", faults);
  read_text(in, out.text, faults, rules);
}

}  // namespace cognive::json
