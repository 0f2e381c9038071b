// What all matchers read: the text, and where the last mask ended. Nothing before that may be looked at, as if the mask
// already stood there; that is why redacting twice finds what redacting once found.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace cognive::privacy {

enum class Mask { email, phone, card, iban, key, jwt };

struct Span {
  std::size_t begin;
  std::size_t end;
  Mask mask;
};

using Match = std::optional<Span>;

namespace characters {

enum : std::uint8_t { digit = 1, upper = 2, lower = 4, underscore = 8, dash = 16, high = 32, dot = 64, base64 = 128 };

consteval std::array<std::uint8_t, 256> table() {
  std::array<std::uint8_t, 256> out{};
  for (unsigned c = '0'; c <= '9'; ++c) out[c] = digit;
  for (unsigned c = 'A'; c <= 'Z'; ++c) out[c] = upper;
  for (unsigned c = 'a'; c <= 'z'; ++c) out[c] = lower;
  for (unsigned c = 0x80; c <= 0xFF; ++c) out[c] = high;
  out['_'] = underscore;
  out['-'] = dash;
  out['.'] = dot;
  for (const char c : {'+', '/', '=', '~'}) out[static_cast<unsigned char>(c)] = base64;
  return out;
}

inline constexpr auto classes = table();

constexpr bool is(char c, unsigned wanted) {
  return (classes[static_cast<unsigned char>(c)] & wanted) != 0;
}
constexpr bool is_digit(char c) {
  return is(c, digit);
}
constexpr bool is_letter(char c) {
  return is(c, upper | lower);
}
constexpr bool is_alphanumeric(char c) {
  return is(c, digit | upper | lower);
}
constexpr bool is_word(char c) {
  return is(c, digit | upper | lower | underscore);
}
// Of base64 for URLs, which identifiers with dashes are made of as well.
constexpr bool is_base64url(char c) {
  return is(c, digit | upper | lower | underscore | dash);
}
// Of what travels as a bearer token.
constexpr bool is_token(char c) {
  return is(c, digit | upper | lower | underscore | dash | dot | base64);
}
constexpr char lower_of(char c) {
  return is(c, upper) ? static_cast<char>(c - 'A' + 'a') : c;
}
constexpr bool is_quote(char c) {
  return c == '"' || c == '\'' || c == '`';
}

}  // namespace characters

class View {
 public:
  explicit View(std::string_view text) : text_(text) {}

  [[nodiscard]] std::string_view text() const { return text_; }
  [[nodiscard]] std::size_t size() const { return text_.size(); }
  [[nodiscard]] std::size_t floor() const { return floor_; }
  // The bytes up to here have been masked or stand for a mask.
  void raise_floor(std::size_t end) { floor_ = end; }

  // NUL beyond the end.
  [[nodiscard]] char at(std::size_t index) const { return index < text_.size() ? text_[index] : '\0'; }
  // The byte before `index`: of the mask, when it has just ended there; NUL at the start.
  [[nodiscard]] char before(std::size_t index) const {
    if (index > floor_) return text_[index - 1];
    return floor_ > 0 ? ']' : '\0';
  }
  // Whether `expected` (lower case) stands at `index`, in any case.
  [[nodiscard]] bool has(std::size_t index, std::string_view expected) const;
  [[nodiscard]] std::string_view slice(std::size_t begin, std::size_t end) const {
    return text_.substr(begin, end - begin);
  }

  // Whether a word may start at `index`: after something that is not of words, or after an escape such as \n in source
  // text or JSON inside a text.
  [[nodiscard]] bool starts_word(std::size_t index) const;
  [[nodiscard]] bool after_escape(std::size_t index) const;

  // The end of the characters from `index` on that satisfy `of`.
  template <typename Predicate>
  [[nodiscard]] std::size_t run(std::size_t index, Predicate of) const {
    while (index < text_.size() && of(text_[index])) ++index;
    return index;
  }

 private:
  std::string_view text_;
  std::size_t floor_ = 0;
};

}  // namespace cognive::privacy
