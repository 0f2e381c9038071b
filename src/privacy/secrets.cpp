#include <algorithm>
#include <array>
#include <span>
#include <string>

#include "base/text.hpp"
#include "privacy/labels.hpp"
#include "privacy/matchers.hpp"

namespace cognive::privacy {
namespace {

using namespace characters;

Span key_span(std::size_t begin, std::size_t end) {
  return {.begin = begin, .end = end, .mask = Mask::key};
}

// What makers of keys put in front of them, so that scanners like this one recognise them.
struct Prefix {
  std::string_view text;
  std::size_t length_min;  // of what follows
  bool dashes;             // base64url follows, otherwise letters and digits

  // Of the character that makes us look: the first - _ or .
  [[nodiscard]] constexpr std::size_t trigger() const { return text.find_first_of("-_."); }
};

constexpr Prefix dash_prefixes[] = {
    {"sk-", 16, true},   {"glpat-", 16, true}, {"pypi-AgE", 16, true}, {"xoxa-", 10, true}, {"xoxb-", 10, true},
    {"xoxe-", 10, true}, {"xoxp-", 10, true},  {"xoxr-", 10, true},    {"xoxs-", 10, true}, {"xapp-", 16, true}};
constexpr Prefix underscore_prefixes[] = {
    {"ghp_", 20, false},     {"gho_", 20, false},       {"ghu_", 20, false},     {"ghs_", 20, false},
    {"ghr_", 20, false},     {"github_pat_", 20, true}, {"hf_", 20, false},      {"npm_", 30, false},
    {"cgv_", 16, true},      {"sk_live_", 10, false},   {"sk_test_", 10, false}, {"pk_live_", 10, false},
    {"pk_test_", 10, false}, {"rk_live_", 10, false},   {"rk_test_", 10, false}, {"whsec_", 16, false}};
constexpr Prefix dot_prefixes[] = {{"ya29.", 20, true}, {"SG.", 16, true}};

std::span<const Prefix> prefixes_with(char trigger) {
  switch (trigger) {
    case '-':
      return dash_prefixes;
    case '_':
      return underscore_prefixes;
    default:
      return dot_prefixes;
  }
}

// Placeholders are words: sk-your-key-here, ghp_xxxxxxxxxxxxxxxxxxxx.
bool looks_random(std::string_view text) {
  if (std::ranges::any_of(text, is_digit)) return true;
  const bool mixed = std::ranges::any_of(text, [](char c) { return is(c, upper); }) &&
                     std::ranges::any_of(text, [](char c) { return is(c, lower); });
  return mixed && text.find_first_of("-_") == std::string_view::npos;
}

std::size_t body_end(const View& view, std::size_t begin, const Prefix& prefix) {
  std::size_t end = view.run(begin, prefix.dashes ? is_base64url : is_alphanumeric);
  if (prefix.text == "SG." && view.at(end) == '.') end = view.run(end + 1, is_base64url);
  return end;
}

// AKIA and ASIA before an id, AIza before a key; `at` is the I.
Match match_amazon_or_google(const View& view, std::size_t at) {
  const bool google = view.before(at) == 'A';
  const std::size_t offset = google ? 1 : 2;
  if (at < view.floor() + offset) return {};
  const std::size_t begin = at - offset;
  const auto start = view.text().substr(begin, 4);
  if (!view.starts_word(begin)) return {};
  if (start == "AKIA" || start == "ASIA") {
    constexpr std::size_t length = 20;
    const std::size_t end = view.run(begin, [](char c) { return is(c, upper | digit); });
    if (end - begin == length && !is_word(view.at(end))) return key_span(begin, end);
  }
  if (start == "AIza") {
    constexpr std::size_t length_min = 30;
    const std::size_t end = view.run(begin, is_base64url);
    if (end - begin >= length_min) return key_span(begin, end);
  }
  return {};
}

// The bytes that base64 (either alphabet) stands for, as far as it is valid; at most `length_max`.
std::string decoded(std::string_view base64, std::size_t length_max) {
  std::string out;
  unsigned bits = 0;
  unsigned count = 0;
  for (const char c : base64) {
    unsigned value = 0;
    if (is(c, upper)) {
      value = static_cast<unsigned>(c - 'A');
    } else if (is(c, lower)) {
      value = static_cast<unsigned>(c - 'a') + 26;
    } else if (is_digit(c)) {
      value = static_cast<unsigned>(c - '0') + 52;
    } else if (c == '-' || c == '+') {
      value = 62;
    } else if (c == '_' || c == '/') {
      value = 63;
    } else {
      break;
    }
    bits = (bits << 6 | value) & 0xFFFFF;
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out.push_back(static_cast<char>(bits >> count & 0xFF));
    if (out.size() == length_max) break;
  }
  return out;
}

// The end of the token that starts at `begin`; `begin` when there is none.
std::size_t jwt_end(const View& view, std::size_t begin) {
  constexpr std::size_t header_max = 2048;
  const std::size_t header = view.run(begin, is_base64url);
  if (view.at(header) != '.') return begin;
  const std::string object = decoded(view.slice(begin, header), header_max);
  if (!object.starts_with('{') || !object.contains("\"alg\"")) return begin;
  const std::size_t payload = view.run(header + 1, is_base64url);
  if (view.at(payload) != '.') return begin;
  std::size_t end = view.run(payload + 1, is_base64url);
  if (!object.contains("\"enc\"")) return end;
  // An encrypted one has five parts.
  for (int part = 0; part < 2 && view.at(end) == '.'; ++part) end = view.run(end + 1, is_base64url);
  return end;
}

std::size_t skip_spaces(const View& view, std::size_t at) {
  constexpr std::size_t spaces_max = 8;
  const std::size_t first = at;
  while (at - first < spaces_max && (view.at(at) == ' ' || view.at(at) == '\t')) ++at;
  return at;
}

// ------------------------------------------------------------------------------------------------ labelled values

constexpr std::array<std::string_view, 33> no_values = {
    "none",    "null",    "nil",     "true",    "false",    "undefined", "string", "str",   "int",
    "integer", "number",  "bool",    "any",     "optional", "required",  "char",   "bytes", "byte",
    "text",    "varchar", "object",  "boolean", "await",    "new",       "self",   "this",  "redacted",
    "hidden",  "unknown", "default", "invalid", "missing",  "void"};

bool mentions_secret(std::string_view value) {
  const std::string text = cognive::lower(value);
  return std::ranges::any_of(
      std::array<std::string_view, 7>{"passw", "passwd", "pwd", "secret", "token", "kennwort", "key"},
      [&](std::string_view word) { return text.contains(word); });
}

// Code and prose that follow "password:" without being one: a type, a variable, a member.
bool is_word_of_code(std::string_view value) {
  if (std::ranges::any_of(value, is_digit)) return false;
  if (std::ranges::find(no_values, cognive::lower(value)) != no_values.end() || mentions_secret(value)) return true;
  return value.contains('.') && std::ranges::all_of(value, [](char c) { return is_word(c) || c == '.'; });
}

bool ends_value(char c) {
  return static_cast<unsigned char>(c) <= ' ' || std::string_view(",;&<>\"'`()[]{}\\|").contains(c);
}

// Other kinds are called by their own name even when they are the value of something called a secret.
bool is_of_another_kind(const View& view, std::size_t begin) {
  if (jwt_end(view, begin) > begin) return true;
  if (is_digit(view.at(begin)) && match_card(view, begin)) return true;
  const bool number = is_digit(view.at(begin)) || view.at(begin) == '+' || view.at(begin) == '(';
  if (number && match_phone(view, begin, false)) return true;
  return is_letter(view.at(begin)) && is_digit(view.at(begin + 2)) && match_iban(view, begin + 2).has_value();
}

struct Labelled {
  Label label;
  bool directory;  // PWD, which is a directory as often as a password
  bool loose;      // a colon or spaces: may be a sentence
};

Match match_unquoted(const View& view, std::size_t begin, const Labelled& labelled) {
  // Up to here the rules below look; what is longer is masked or not by its start, so that nothing is read twice.
  constexpr std::size_t judged_max = 128;
  const auto is_value = [](char c) { return !ends_value(c); };
  const auto judged = view.text().substr(begin, judged_max);
  std::size_t end = begin + static_cast<std::size_t>(std::ranges::find_if(judged, ends_value) - judged.begin());
  if (end - begin == judged_max) {
    if (!is_secret(labelled.label, judged)) return {};
    return key_span(begin, view.run(end, is_value));
  }
  const char next = view.at(end);
  if (next == '(' || next == '[' || next == '{') return {};
  while (end > begin && view.at(end - 1) == '.') --end;
  const auto value = view.slice(begin, end);
  if (!is_secret(labelled.label, value) || value.starts_with("//")) return {};
  if (labelled.label == Label::strong) {
    if (value.size() < 3 || is_word_of_code(value)) return {};
    const bool path = value.starts_with('/') || value.starts_with('~') || value.starts_with("./");
    if (path && labelled.directory) return {};
    const bool digits = std::ranges::any_of(value, is_digit);
    // "Password: please choose …" goes on, "Password: swordfish" does not.
    if (labelled.loose && !digits) {
      const char after = view.at(skip_spaces(view, end));
      if (after != '\0' && !std::string_view("\r\n,;&)]}\"'`|\\.").contains(after)) return {};
    }
  }
  return key_span(begin, end);
}

// `begin` is behind the opening quote; `escaped` when that was \" of JSON inside a text.
Match match_quoted(const View& view, std::size_t begin, char quote, bool escaped, Label label) {
  std::size_t end = begin;
  for (; end < view.size() && view.at(end) != quote && view.at(end) != '\n'; ++end) {
    if (view.at(end) != '\\') continue;
    if (escaped && view.at(end + 1) == quote) break;
    ++end;
  }
  const bool closed = escaped ? view.at(end) == '\\' : view.at(end) == quote;
  if (!closed || end >= view.size()) return {};
  const auto value = view.slice(begin, end);
  // What opened was the end of a quotation: input("Password: ")
  if (value.starts_with(')') || value.starts_with(',') || value.starts_with(';') || value.starts_with("\\n")) return {};
  if (!is_secret(label, value)) return {};
  return key_span(begin, end);
}

// The name before a separator at `at`: password=, "password":, password =, \"password\":
std::string_view name_before(const View& view, std::size_t at) {
  constexpr std::size_t length_max = 24;
  constexpr std::size_t spaces_max = 8;
  const std::size_t first = at;
  while (at > view.floor() && first - at < spaces_max && view.at(at - 1) == ' ') --at;
  if (is_quote(view.before(at))) {
    --at;
    if (view.before(at) == '\\') --at;
  }
  return view.slice(std::max(view.floor(), at - std::min(at, length_max)), at);
}

}  // namespace

Match match_key(const View& view, std::size_t at) {
  if (view.at(at) == 'I') return match_amazon_or_google(view, at);
  for (const auto& prefix : prefixes_with(view.at(at))) {
    if (prefix.text[prefix.trigger() - 1] != view.before(at) || at < view.floor() + prefix.trigger()) continue;
    const std::size_t begin = at - prefix.trigger();
    if (!view.text().substr(begin).starts_with(prefix.text)) continue;
    if (!view.starts_word(begin) || view.before(begin) == '-') continue;
    const std::size_t body = begin + prefix.text.size();
    const std::size_t end = body_end(view, body, prefix);
    if (end - body >= prefix.length_min && looks_random(view.slice(body, end))) return key_span(begin, end);
  }
  return {};
}

Match match_jwt(const View& view, std::size_t at) {
  if (at == view.floor() || view.at(at - 1) != 'e' || !view.starts_word(at - 1) || view.before(at - 1) == '-')
    return {};
  const std::size_t begin = at - 1;
  const std::size_t end = jwt_end(view, begin);
  if (end == begin) return {};
  return Span{.begin = begin, .end = end, .mask = Mask::jwt};
}

Match match_authorization(const View& view, std::size_t at) {
  if (!view.starts_word(at)) return {};
  const bool bearer = view.has(at, "bearer ");
  if (!bearer && !view.has(at, "basic ")) return {};
  const std::size_t begin = skip_spaces(view, at + (bearer ? 7 : 6));
  std::size_t end = view.run(begin, is_token);
  while (end > begin && view.at(end - 1) == '.') --end;
  const auto token = view.slice(begin, end);
  if (bearer) {
    if (!looks_like_token(token) || jwt_end(view, begin) > begin) return {};
  } else {
    // name:password in base64; anything else is a sentence about something basic.
    constexpr std::size_t length_max = 256;
    if (token.size() < 4 || !decoded(token, length_max).contains(':')) return {};
  }
  return key_span(begin, end);
}

Match match_labelled(const View& view, std::size_t at) {
  const auto name = name_before(view, at);
  if (name.empty() || !(is_letter(name.back()))) return {};
  const Label label = label_of(name);
  if (label == Label::none) return {};
  const char separator = view.at(at);
  std::size_t begin = at + 1;
  if (view.at(begin) == separator) return {};  // a comparison, a scope
  if (view.at(begin) == '=' || (separator == '=' && view.at(begin) == '>')) ++begin;
  const std::size_t spaced = begin;
  begin = skip_spaces(view, begin);
  if (is_of_another_kind(view, begin)) return {};
  const bool escaped = view.at(begin) == '\\' && is_quote(view.at(begin + 1));
  const std::size_t quote = escaped ? begin + 1 : begin;
  if (is_quote(view.at(quote))) return match_quoted(view, quote + 1, view.at(quote), escaped, label);
  const bool directory = cognive::lower(name).ends_with("pwd");
  const Labelled labelled{.label = label, .directory = directory, .loose = separator == ':' || begin > spaced};
  return match_unquoted(view, begin, labelled);
}

Match match_told_password(const View& view, std::size_t at) {
  if (!view.has(at, "word ") && !view.has(at, "wort ")) return {};
  if (at < view.floor() + 4 || (!view.has(at - 4, "pass") && !view.has(at - 4, "kenn"))) return {};
  std::size_t begin = at + 5;
  for (const std::string_view verb : {"is ", "ist ", "lautet ", "was "})
    if (view.has(begin, verb)) {
      begin = skip_spaces(view, begin + verb.size());
      std::size_t end = view.run(begin, [](char c) { return !ends_value(c); });
      while (end > begin && view.at(end - 1) == '.') --end;
      const auto value = view.slice(begin, end);
      // Without a digit it is a sentence: "the password is wrong".
      if (value.size() < 4 || !std::ranges::any_of(value, is_digit) || !is_secret(Label::strong, value)) return {};
      if (is_of_another_kind(view, begin)) return {};
      return key_span(begin, end);
    }
  return {};
}

}  // namespace cognive::privacy
