// Exact decimal numbers: rates, and money as an integer count of nano-USD. No value here ever passes through a double.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cognive {

// __int128 is a compiler extension, but one that every compiler that we accept has.
__extension__ using Int128 = __int128;

// mantissa × 10^-scale, normalised: no trailing zeros in the mantissa beyond the point, scale ≥ 0.
struct Decimal {
  std::int64_t mantissa = 0;
  int scale = 0;

  bool operator==(const Decimal&) const = default;

  // A JSON number as written (RFC 8259, section 6), exponents included. Nothing when it is not one, when the mantissa
  // has more than 18 significant digits, or when more than 18 digits follow the point.
  static std::optional<Decimal> parse(std::string_view text);

  // Shortest plain form: "2.5", "0.08333333333333334", "10".
  [[nodiscard]] std::string text() const;
  [[nodiscard]] bool is_negative() const { return mantissa < 0; }
};

// An amount of money: 1e-9 US dollars. The range of int64 is ± 9.2 billion dollars.
struct NanoUsd {
  std::int64_t nanos = 0;

  auto operator<=>(const NanoUsd&) const = default;

  // Nothing when dollars have more than nine digits after the point, or are more than the range holds.
  static std::optional<NanoUsd> exactly(const Decimal& dollars);

  // The least that is not less. Nothing when that is more than the range holds.
  static std::optional<NanoUsd> at_least(const Decimal& dollars);

  // Dollars as an exact JSON number with nine digits of fraction: 0.000374500.
  [[nodiscard]] std::string text() const;
  void append_to(std::string& out) const;
};

}  // namespace cognive
