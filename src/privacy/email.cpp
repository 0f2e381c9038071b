#include <algorithm>
#include <array>

#include "privacy/matchers.hpp"

namespace cognive::privacy {
namespace {

using namespace characters;

// What is written user@something.ending and is a file, a unit of systemd or an image of double resolution.
constexpr std::array<std::string_view, 18> file_endings = {"service", "socket", "timer", "target", "mount", "slice",
                                                           "scope",   "png",    "jpg",   "jpeg",   "gif",   "svg",
                                                           "webp",    "js",     "json",  "css",    "html",  "txt"};

// The bytes of the multi-byte character that ends before `end`; nothing when they are no UTF-8.
std::string_view character_before(const View& view, std::size_t end) {
  for (std::size_t length = 2; length <= 4 && end >= view.floor() + length; ++length) {
    const auto lead = static_cast<unsigned char>(view.at(end - length));
    if (lead < 0x80) return {};
    if (lead < 0xC0) continue;
    const std::size_t announced = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    return announced == length ? view.slice(end - length, end) : std::string_view();
  }
  return {};
}

// The bytes of the multi-byte character at `begin`; nothing when they are no UTF-8.
std::string_view character_at(const View& view, std::size_t begin) {
  const auto lead = static_cast<unsigned char>(view.at(begin));
  if (lead < 0xC0) return {};
  const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (view.size() - begin < length) return {};
  for (std::size_t i = 1; i < length; ++i)
    if ((static_cast<unsigned char>(view.at(begin + i)) & 0xC0) != 0x80) return {};
  return view.slice(begin, begin + length);
}

// Latin with accents, Greek, Cyrillic and their neighbours: written with spaces around words, like ASCII.
bool is_spaced_letter(std::string_view character) {
  return character.size() == 2 && static_cast<unsigned char>(character[0]) >= 0xC3;
}

// Chinese, Japanese, Korean: words follow each other without a space, so an address in ASCII ends where these start.
bool is_dense_letter(std::string_view character) {
  if (character.size() != 3) return false;
  const auto lead = static_cast<unsigned char>(character[0]);
  const auto second = static_cast<unsigned char>(character[1]);
  const bool punctuation = lead == 0xE3 && second == 0x80;
  return lead >= 0xE3 && lead <= 0xED && !punctuation;
}

bool is_hexadecimal(char c) {
  return is_digit(c) || (lower_of(c) >= 'a' && lower_of(c) <= 'f');
}

bool is_local(char c) {
  return is_base64url(c) || c == '.' || c == '+' || c == '\'' || c == '~';
}

// Where the part before the @ at `end` starts.
std::size_t local_begin(const View& view, std::size_t end) {
  std::size_t begin = end;
  while (begin > view.floor()) {
    const char c = view.at(begin - 1);
    if (is_local(c)) {
      --begin;
    } else if (c == '%' && end - begin >= 2 && is_hexadecimal(view.at(begin)) && is_hexadecimal(view.at(begin + 1))) {
      // In a URL: an escaped plus belongs to the address, an escaped separator ends it.
      if (!view.has(begin, "2b")) return begin + 2;
      --begin;
    } else if (const auto character = character_before(view, begin); is_spaced_letter(character)) {
      begin -= character.size();
    } else {
      break;
    }
  }
  if (begin < end) return begin;
  for (auto character = character_before(view, begin); is_dense_letter(character);
       character = character_before(view, begin))
    begin -= character.size();
  return begin;
}

// Leaves out what precedes an address without belonging to it: punctuation, and the letter of an escape such as \n.
std::size_t trimmed(const View& view, std::size_t begin, std::size_t end) {
  if (view.before(begin) == '\\' && begin < end) {
    if (view.at(begin) == 'u' && end - begin > 5) {
      begin += 5;
    } else if (is(view.at(begin), lower)) {
      ++begin;
    }
  }
  while (begin < end && (view.at(begin) == '.' || view.at(begin) == '-' || view.at(begin) == '\'')) ++begin;
  return begin;
}

// A local part in quotes may hold anything: "ann example"@example.com.
std::size_t quoted_local_begin(const View& view, std::size_t end) {
  constexpr std::size_t length_max = 64;
  if (view.before(end) != '"') return end;
  for (std::size_t at = end - 1; at > view.floor() && end - at < length_max; --at) {
    const char c = view.at(at - 1);
    if (c == '"') return at < end - 1 ? at - 1 : end;
    if (!is_local(c) && c != ' ') return end;
  }
  return end;
}

struct DomainLabel {
  std::size_t end;
  std::size_t top_level_end;  // of the part that could end a domain; the start when there is none
};

DomainLabel read_label(const View& view, std::size_t begin) {
  std::size_t end = begin;
  if (is_dense_letter(character_at(view, begin))) {
    for (auto character = character_at(view, end); is_dense_letter(character); character = character_at(view, end))
      end += character.size();
    return {end, end};
  }
  std::size_t letters = 0;
  std::size_t letters_end = begin;
  while (end < view.size()) {
    std::size_t length = is_alphanumeric(view.at(end)) || view.at(end) == '-' ? 1 : 0;
    const auto character = length == 0 ? character_at(view, end) : std::string_view();
    if (is_spaced_letter(character)) length = character.size();
    if (length == 0) break;
    const bool letter = length > 1 || is_letter(view.at(end));
    if (letter && letters_end == end) {
      ++letters;
      letters_end = end + length;
    }
    end += length;
  }
  if (view.has(begin, "xn--") && end - begin > 4) return {end, end};
  const bool ends = letters >= 2 && (letters_end == end || view.at(letters_end) == '-');
  return {end, ends ? letters_end : begin};
}

bool all_digits(std::string_view text) {
  return std::ranges::all_of(text, is_digit);
}

// The end of the domain at `begin`: at least two labels, the last of letters. `begin` when there is none. `last` is
// where its last label starts.
std::size_t domain_end(const View& view, std::size_t begin, std::size_t& last) {
  std::size_t good = begin;
  std::size_t at = begin;
  bool first_is_number = false;
  for (int number = 0;; ++number) {
    const auto label = read_label(view, at);
    if (label.end == at) break;
    const auto text = view.slice(at, label.end);
    if (number == 0 && text.size() == 2 && is_digit(text[0]) && text[1] == 'x') return begin;  // logo@2x.png
    if (number == 1 && first_is_number && all_digits(text)) return begin;  // a version, an IP address
    first_is_number = number == 0 && all_digits(text);
    if (number > 0 && label.top_level_end > at) {
      good = label.top_level_end;
      last = at;
    }
    if (view.at(label.end) != '.') break;
    at = label.end + 1;
  }
  return good;
}

bool is_file_ending(std::string_view label) {
  return std::ranges::find(file_endings, label) != file_endings.end();
}

}  // namespace

Match match_email(const View& view, std::size_t at) {
  std::size_t begin = trimmed(view, local_begin(view, at), at);
  if (begin == at) begin = quoted_local_begin(view, at);
  if (begin == at) return {};
  const auto local = view.slice(begin, at);
  if (local == "git") return {};  // git@host:path names no person
  const std::size_t domain = at + (view.at(at) == '@' ? 1 : 3);
  std::size_t last = domain;
  const std::size_t end = domain_end(view, domain, last);
  if (end == domain || view.at(end) == '(' || is_file_ending(view.slice(last, end))) return {};
  return Span{.begin = begin, .end = end, .mask = Mask::email};
}

}  // namespace cognive::privacy
