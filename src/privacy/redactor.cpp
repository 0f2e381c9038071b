#include "privacy/redactor.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "privacy/matchers.hpp"
#include "privacy/scanner.hpp"

namespace cognive::privacy {
namespace {

using namespace characters;

// What the character at hand may be part of; most are part of nothing and skipped by one look into a table.
enum class Trigger : std::uint8_t { nothing, number, at_sign, percent, separator, key, dash, jwt, authorization };

consteval std::array<Trigger, 256> trigger_table() {
  std::array<Trigger, 256> out{};
  for (unsigned c = '0'; c <= '9'; ++c) out[c] = Trigger::number;
  out['+'] = out['('] = Trigger::number;
  out['@'] = Trigger::at_sign;
  out['%'] = Trigger::percent;
  out[':'] = out['='] = Trigger::separator;
  out['_'] = out['.'] = out['I'] = Trigger::key;
  out['-'] = Trigger::dash;
  out['y'] = out['w'] = out['W'] = Trigger::jwt;
  out['B'] = out['b'] = Trigger::authorization;
  return out;
}

constexpr auto triggers = trigger_table();

constexpr std::string_view text_of(Mask mask) {
  constexpr std::array<std::string_view, 6> texts = {"[email]", "[phone]", "[card]", "[iban]", "[key]", "[jwt]"};
  return texts[static_cast<std::size_t>(mask)];
}

void count(Counts& counts, Mask mask) {
  switch (mask) {
    case Mask::email:
      ++counts.email;
      break;
    case Mask::phone:
      ++counts.phone;
      break;
    case Mask::card:
      ++counts.card;
      break;
    case Mask::iban:
      ++counts.iban;
      break;
    case Mask::key:
      ++counts.key;
      break;
    case Mask::jwt:
      ++counts.jwt;
      break;
  }
}

class Scanner {
 public:
  Scanner(std::string_view text, bool phone_named) : view_(text), phone_named_(phone_named) {}

  std::optional<std::string> run(Counts& counts) {
    constexpr std::size_t growth_expected = 64;  // masks may be longer than what they hide
    const std::string_view text = view_.text();
    std::size_t at = 0;
    while (at < text.size()) {
      const Trigger trigger = triggers[static_cast<unsigned char>(text[at])];
      if (trigger == Trigger::nothing) {
        ++at;
        continue;
      }
      const auto match = find(trigger, at);
      if (!match) {
        at = next_after(trigger, at);
        continue;
      }
      if (out_.empty()) out_.reserve(text.size() + growth_expected);
      out_ += text.substr(view_.floor(), match->begin - view_.floor());
      out_ += text_of(match->mask);
      count(counts, match->mask);
      at = match->end;
      view_.raise_floor(at);
    }
    if (out_.empty()) return std::nullopt;
    out_ += text.substr(view_.floor());
    return std::move(out_);
  }

 private:
  Match find(Trigger trigger, std::size_t at) {
    switch (trigger) {
      case Trigger::nothing:
        return {};
      case Trigger::number:
        return find_number(at);
      case Trigger::at_sign:
        return match_email(view_, at);
      case Trigger::percent:
        return view_.has(at, "%40") ? match_email(view_, at) : Match{};
      case Trigger::separator:
        return find_value(at);
      case Trigger::key:
        return match_key(view_, at);
      case Trigger::dash:
        return view_.at(at + 1) == '-' && view_.has(at, "-----begin ") ? find_private_key(at) : match_key(view_, at);
      case Trigger::jwt:
        if (view_.before(at) == 'e') return match_jwt(view_, at);
        return match_told_password(view_, at);
      case Trigger::authorization:
        return match_authorization(view_, at);
    }
    return {};
  }

  Match find_number(std::size_t at) {
    if (!is_digit(view_.at(at))) {
      const char next = view_.at(at + 1);
      if (!is_digit(next) && next != '+') return {};
      return match_phone(view_, at, phone_named_);
    }
    if (auto match = match_iban(view_, at)) return match;
    return match_number(view_, at, phone_named_);
  }

  // A run of digits is looked at once, from its start.
  [[nodiscard]] std::size_t next_after(Trigger trigger, std::size_t at) const {
    if (trigger != Trigger::number) return at + 1;
    return std::max(at + 1, view_.run(at, is_digit));
  }

  Match find_value(std::size_t at) {
    if (at == password_colon_) {
      password_colon_ = std::string_view::npos;
      if (view_.at(at + 1) != '[') return Span{.begin = at + 1, .end = password_end_, .mask = Mask::key};
    }
    if (view_.at(at) == ':' && view_.at(at + 1) == '/' && view_.at(at + 2) == '/') {
      note_password(at + 3);
      return {};
    }
    return match_labelled(view_, at);
  }

  // In scheme://user:password@host the password waits until the scan has passed the user, which may be an address.
  void note_password(std::size_t begin) {
    const std::size_t end = view_.run(begin, [](char c) {
      return static_cast<unsigned char>(c) > ' ' && !is_quote(c) && !std::string_view("/?#<>\\[](){}").contains(c);
    });
    const auto authority = view_.slice(begin, end);
    const auto at_sign = authority.rfind('@');
    const auto colon = authority.find(':');
    if (at_sign == std::string_view::npos || colon == std::string_view::npos || colon + 1 >= at_sign) return;
    password_colon_ = begin + colon;
    password_end_ = begin + at_sign;
  }

  Match find_private_key(std::size_t at) {
    constexpr std::size_t title_max = 64;
    constexpr std::size_t block_max = 1 << 14;  // 16384 bits of RSA take 13 kB
    constexpr std::string_view dashes = "-----";
    const auto title = view_.text().substr(at + 11, title_max);
    const auto title_end = title.find(dashes);
    if (title_end == std::string_view::npos || !title.substr(0, title_end).contains("PRIVATE KEY")) return {};
    const std::size_t body = at + 11 + title_end + dashes.size();
    // Looked for once per end, however many beginnings there are.
    if (next_end_ < body) next_end_ = std::min(view_.text().find("-----END ", body), view_.size());
    if (next_end_ < view_.size() && next_end_ - body < block_max) {
      const auto last = view_.text().substr(next_end_ + dashes.size(), title_max).find(dashes);
      if (last != std::string_view::npos)
        return Span{.begin = at, .end = next_end_ + 2 * dashes.size() + last, .mask = Mask::key};
    }
    // Cut off: as far as it looks like base64.
    const std::size_t end = view_.run(
        body, [](char c) { return (is_token(c) && c != '-' && c != '.') || c == '\n' || c == '\r' || c == '\\'; });
    return Span{.begin = at, .end = end, .mask = Mask::key};
  }

  View view_;
  bool phone_named_;
  std::string out_;
  std::size_t password_colon_ = std::string_view::npos;
  std::size_t password_end_ = 0;
  std::size_t next_end_ = 0;  // of "-----END ", the text's size when none is left
};

}  // namespace

Counts& Counts::operator+=(const Counts& other) {
  email += other.email;
  phone += other.phone;
  card += other.card;
  iban += other.iban;
  key += other.key;
  jwt += other.jwt;
  return *this;
}

// What is masked behind a place may have held what kept a value there from being one: a quote in an address, the lines
// of a private key. So the text is looked at until nothing more is found.
std::optional<std::string> scan(std::string_view text, bool phone_named, Counts& counts) {
  constexpr int passes_max = 8;  // two is rare already
  auto redacted = Scanner(text, phone_named).run(counts);
  for (int pass = 1; redacted && pass < passes_max; ++pass) {
    auto again = Scanner(*redacted, phone_named).run(counts);
    if (!again) break;
    redacted = std::move(again);
  }
  return redacted;
}

std::string redact(std::string_view text, Counts* counts) {
  Counts ignored;
  if (auto redacted = scan(text, false, counts != nullptr ? *counts : ignored)) return *std::move(redacted);
  return std::string(text);
}

}  // namespace cognive::privacy
