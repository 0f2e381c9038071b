// Walks JSON byte by byte instead of parsing and writing it: what is not masked keeps its exact text, numbers of any
// length and escapes included, and no depth is too deep.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "json/writer.hpp"
#include "privacy/labels.hpp"
#include "privacy/matchers.hpp"
#include "privacy/redactor.hpp"
#include "privacy/scanner.hpp"

namespace cognive::privacy {
namespace {

using namespace characters;

// JSON in a string in JSON …: tool arguments are one level; what lies deeper than this is redacted as text.
constexpr int nesting_max = 4;

unsigned hexadecimal(std::string_view digits) {
  unsigned value = 0;
  for (const char c : digits.substr(0, 4))
    value = value << 4 | static_cast<unsigned>(is_digit(c) ? c - '0' : lower_of(c) - 'a' + 10);
  return value & 0xFFFF;
}

void append_utf8(std::string& out, unsigned code) {
  const auto push = [&](unsigned byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    push(code);
  } else if (code < 0x800) {
    push(0xC0 | code >> 6);
    push(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    push(0xE0 | code >> 12);
    push(0x80 | (code >> 6 & 0x3F));
    push(0x80 | (code & 0x3F));
  } else {
    push(0xF0 | code >> 18);
    push(0x80 | (code >> 12 & 0x3F));
    push(0x80 | (code >> 6 & 0x3F));
    push(0x80 | (code & 0x3F));
  }
}

char unescaped(char c) {
  switch (c) {
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    default:
      return c;
  }
}

// Half a surrogate pair, which JSON may hold and UTF-8 may not, becomes three bytes that `append_escaped` turns back.
std::string decoded(std::string_view raw) {
  std::string out;
  for (std::size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] != '\\') {
      out.push_back(raw[i]);
      continue;
    }
    ++i;
    if (raw[i] != 'u') {
      out.push_back(unescaped(raw[i]));
      continue;
    }
    unsigned code = hexadecimal(raw.substr(i + 1));
    i += 4;
    if (code >= 0xD800 && code < 0xDC00 && raw.substr(i + 1).starts_with("\\u")) {
      const unsigned second = hexadecimal(raw.substr(i + 3));
      if (second >= 0xDC00 && second < 0xE000) {
        code = 0x10000 + ((code - 0xD800) << 10) + (second - 0xDC00);
        i += 6;
      }
    }
    append_utf8(out, code);
  }
  return out;
}

void append_escaped(std::string& out, std::string_view text) {
  const auto append_plain = [&](std::string_view part) {
    const std::string quoted = json::quoted(part);
    out.append(quoted, 1, quoted.size() - 2);
  };
  std::size_t from = 0;
  for (std::size_t i = 0; i + 2 < text.size(); ++i) {
    const auto second = static_cast<unsigned char>(text[i + 1]);
    if (text[i] != '\xED' || second < 0xA0) continue;
    append_plain(text.substr(from, i - from));
    constexpr std::string_view digits = "0123456789abcdef";
    const unsigned code = 0xD000U | (second & 0x3FU) << 6 | (static_cast<unsigned char>(text[i + 2]) & 0x3FU);
    out += "\\u";
    for (int shift = 12; shift >= 0; shift -= 4) out.push_back(digits[code >> shift & 0xF]);
    from = i + 3;
    i += 2;
  }
  append_plain(text.substr(from));
}

// Whether `text` is a string's inside as JSON writes it.
bool is_well_escaped(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (static_cast<unsigned char>(text[i]) < 0x20) return false;
    if (text[i] != '\\') continue;
    ++i;
    if (i == text.size() || !std::string_view("\"\\/bfnrtu").contains(text[i])) return false;
    if (text[i] != 'u') continue;
    if (text.size() - i < 5) return false;
    for (int digit = 0; digit < 4; ++digit, ++i)
      if (!is_digit(text[i + 1]) && (lower_of(text[i + 1]) < 'a' || lower_of(text[i + 1]) > 'f')) return false;
  }
  return true;
}

bool is_number(std::string_view text) {
  const auto digits = [&] {
    const std::size_t count = std::min(text.find_first_not_of("0123456789"), text.size());
    text.remove_prefix(count);
    return count > 0;
  };
  if (text.starts_with('-')) text.remove_prefix(1);
  const bool zero = text.starts_with('0');
  const std::size_t before = text.size();
  if (!digits() || (zero && before - text.size() > 1)) return false;
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    if (!digits()) return false;
  }
  if (text.starts_with('e') || text.starts_with('E')) {
    text.remove_prefix(1);
    if (text.starts_with('+') || text.starts_with('-')) text.remove_prefix(1);
    if (!digits()) return false;
  }
  return text.empty();
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view space = " \t\r\n";
  const auto first = text.find_first_not_of(space);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(space) - first + 1);
}

bool is_mask(std::string_view text) {
  for (const std::string_view mask : {"[email]", "[phone]", "[card]", "[iban]", "[key]", "[jwt]"})
    if (text == mask) return true;
  return false;
}

// What the name of a field says about its value.
struct Named {
  Label secret = Label::none;
  bool phone = false;
};

class JsonScanner {
 public:
  JsonScanner(std::string_view json, int nesting, Counts& counts) : json_(json), nesting_(nesting), counts_(counts) {}

  // The redacted text; nothing when it is not JSON, and then nothing has been counted.
  std::optional<std::string> run() {
    out_.reserve(json_.size());
    while (at_ < json_.size()) {
      const char c = json_[at_];
      const bool space = c == ' ' || c == '\t' || c == '\n' || c == '\r';
      if (space) {
        out_.push_back(c);
        ++at_;
      } else if (!step(c)) {
        return std::nullopt;
      }
    }
    if (expected_ != Expected::end) return std::nullopt;
    counts_ += own_;
    return std::move(out_);
  }

 private:
  enum class Expected { value, item_or_end, name, name_or_end, colon, more, end };

  bool step(char c) {
    switch (c) {
      case '"':
        return string();
      case '{':
      case '[':
        return open(c);
      case '}':
        return close('{', Expected::name_or_end);
      case ']':
        return close('[', Expected::item_or_end);
      case ':':
        if (expected_ != Expected::colon) return false;
        expected_ = Expected::value;
        return punctuation(c);
      case ',':
        if (expected_ != Expected::more) return false;
        expected_ = open_.back() == '{' ? Expected::name : Expected::value;
        return punctuation(c);
      default:
        return scalar();
    }
  }

  bool punctuation(char c) {
    out_.push_back(c);
    ++at_;
    return true;
  }

  [[nodiscard]] bool value_expected() const {
    return expected_ == Expected::value || expected_ == Expected::item_or_end;
  }

  void value_done() { expected_ = open_.empty() ? Expected::end : Expected::more; }

  bool open(char c) {
    if (!value_expected()) return false;
    open_.push_back(c);
    outer_.push_back(named_);
    // {"phones": ["…", "…"]} says it of each. An object called password says nothing of its fields, schemas have such.
    if (c == '{') named_.secret = Label::none;
    expected_ = c == '{' ? Expected::name_or_end : Expected::item_or_end;
    return punctuation(c);
  }

  bool close(char opening, Expected when_empty) {
    if (open_.empty() || open_.back() != opening) return false;
    if (expected_ != Expected::more && expected_ != when_empty) return false;
    open_.pop_back();
    named_ = outer_.back();
    outer_.pop_back();
    value_done();
    return punctuation(json_[at_]);
  }

  bool scalar() {
    if (!value_expected()) return false;
    const std::size_t end = std::min(json_.find_first_of(" \t\r\n,]}:\"{[", at_), json_.size());
    const auto token = json_.substr(at_, end - at_);
    at_ = end;
    value_done();
    if (token == "true" || token == "false" || token == "null") {
      out_ += token;
      return true;
    }
    if (!is_number(token)) return false;
    append_number(token);
    return true;
  }

  void append_number(std::string_view token) {
    const bool whole = std::ranges::all_of(token, is_digit);
    if (whole && is_card_number(token)) {
      ++own_.card;
      out_ += "\"[card]\"";
    } else if (whole && named_.secret == Label::strong && token.size() >= 4) {
      ++own_.key;
      out_ += "\"[key]\"";
    } else if (whole && named_.phone && token.size() >= 9 && token.size() <= 15) {
      ++own_.phone;
      out_ += "\"[phone]\"";
    } else {
      out_ += token;
    }
  }

  bool string() {
    const bool name = expected_ == Expected::name || expected_ == Expected::name_or_end;
    if (!name && !value_expected()) return false;
    const std::size_t begin = at_ + 1;
    std::size_t end = begin;
    while (end < json_.size() && json_[end] != '"') end += json_[end] == '\\' ? 2 : 1;
    if (end >= json_.size()) return false;
    const auto raw = json_.substr(begin, end - begin);
    if (!is_well_escaped(raw)) return false;
    at_ = end + 1;
    const std::string unescaped = raw.contains('\\') ? decoded(raw) : std::string();
    const std::string_view text = unescaped.empty() ? raw : std::string_view(unescaped);
    const auto redacted = name ? scan(text, false, own_) : redacted_value(text);
    out_.push_back('"');
    if (redacted) {
      append_escaped(out_, *redacted);
    } else {
      out_ += raw;
    }
    out_.push_back('"');
    if (name) {
      take_name(redacted ? std::string_view(*redacted) : text);
      expected_ = Expected::colon;
    } else {
      value_done();
    }
    return true;
  }

  // Of the redacted name, so that the second time tells the same; a mask itself tells nothing.
  void take_name(std::string_view name) {
    named_ = {};
    if (name.contains("[phone]") || name.contains("[key]")) return;
    named_ = {.secret = label_of(name), .phone = is_phone_name(name)};
  }

  // Nothing when there is nothing to mask.
  std::optional<std::string> redacted_value(std::string_view text) {
    if (is_secret(named_.secret, text)) {
      Counts found;
      auto other = scan(text, false, found);
      if (other && is_mask(*other)) {
        own_ += found;
        return other;
      }
      ++own_.key;
      return "[key]";
    }
    const auto inner = trimmed(text);
    if (nesting_ < nesting_max && (inner.starts_with('{') || inner.starts_with('['))) {
      const auto before = own_.total();
      if (auto nested = JsonScanner(text, nesting_ + 1, own_).run())
        return own_.total() > before ? std::move(nested) : std::nullopt;
    }
    return scan(text, named_.phone, own_);
  }

  std::string_view json_;
  int nesting_;
  Counts& counts_;
  Counts own_;
  std::string out_;
  std::string open_;          // brackets, outermost first
  std::vector<Named> outer_;  // for each of them, what holds again behind it
  Named named_;
  Expected expected_ = Expected::value;
  std::size_t at_ = 0;
};

}  // namespace

std::string redact_json(std::string_view json, Counts* counts) {
  Counts ignored;
  Counts& total = counts != nullptr ? *counts : ignored;
  if (auto redacted = JsonScanner(json, 0, total).run()) return *std::move(redacted);
  return redact(json, &total);
}

}  // namespace cognive::privacy
