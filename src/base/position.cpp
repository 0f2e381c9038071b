#include "base/position.hpp"

#include <fmt/format.h>

#include <charconv>

namespace cognive {
namespace {

template <typename T>
bool parse_hex(std::string_view text, T& out) {
  // Only what token() writes: no signs, no capitals, no leading zeros.
  if (text.empty() || text.front() == '0' || text.find_first_not_of("0123456789abcdef") != std::string_view::npos)
    return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, 16);
  return error == std::errc{} && end == text.data() + text.size();
}

}  // namespace

std::string Position::token() const {
  return fmt::format("{:x}-{:x}", timeline, lsn);
}

std::optional<Position> Position::parse_token(std::string_view token) {
  const auto dash = token.find('-');
  Position out;
  if (dash == std::string_view::npos || !parse_hex(token.substr(0, dash), out.timeline) ||
      !parse_hex(token.substr(dash + 1), out.lsn) || out.lsn > static_cast<std::uint64_t>(INT64_MAX))
    return std::nullopt;
  return out;
}

std::string lsn_text(std::uint64_t lsn) {
  return fmt::format("{:X}/{:X}", lsn >> 32U, lsn & 0xFFFFFFFFU);
}

}  // namespace cognive
