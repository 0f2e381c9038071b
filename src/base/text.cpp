#include "base/text.hpp"

#include <algorithm>

namespace cognive {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

}  // namespace

std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](char c) { return lower(c); });
  return out;
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view space = " \t\r\n\f\v";
  const auto first = text.find_first_not_of(space);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(space) - first + 1);
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) { return lower(x) == lower(y); });
}

std::string shortened(std::string_view text, std::size_t length) {
  if (text.size() <= length) return std::string(text);
  std::size_t end = length;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "…";
}

bool looks_like_mail_address(std::string_view text) {
  constexpr std::size_t length_max = 254;  // RFC 5321 section 4.5.3.1.3, less the brackets
  const auto at = text.find('@');
  if (at == std::string_view::npos || at == 0 || at != text.rfind('@') || text.size() > length_max) return false;
  const auto domain = text.substr(at + 1);
  if (domain.empty() || domain.starts_with('.') || domain.ends_with('.')) return false;
  // What would end the address, or begin another one.
  return std::ranges::none_of(text, [](char c) {
    return c <= ' ' || c >= '\x7F' || std::string_view("<>(),;:\\\"[]").find(c) != std::string_view::npos;
  });
}

std::string grouped(long long number) {
  std::string out = std::to_string(number);
  const std::size_t first = out[0] == '-' ? 1 : 0;
  for (std::size_t at = out.size(); at > first + 3;) {
    at -= 3;
    out.insert(at, ",");
  }
  return out;
}

}  // namespace cognive
