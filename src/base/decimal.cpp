#include "base/decimal.hpp"

#include <fmt/format.h>

#include <iterator>

namespace cognive {

std::optional<Decimal> Decimal::parse(std::string_view text) {
  constexpr int digits_max = 18;
  std::size_t at = 0;
  const bool negative = at < text.size() && text[at] == '-';
  if (negative) ++at;

  const auto is_digit = [&] { return at < text.size() && text[at] >= '0' && text[at] <= '9'; };
  const std::size_t integer_begin = at;
  std::int64_t mantissa = 0;
  int significant = 0;
  int scale = 0;
  int pending_zeros = 0;  // zeros that count only if another digit follows
  const auto take = [&](char c, bool fraction) {
    if (c == '0' && significant == 0) {
      if (fraction) ++scale;
      return true;
    }
    if (c == '0') {
      ++pending_zeros;
      if (fraction) ++scale;
      return true;
    }
    for (; pending_zeros > 0; --pending_zeros) {
      if (++significant > digits_max) return false;
      mantissa *= 10;
    }
    if (++significant > digits_max) return false;
    mantissa = mantissa * 10 + (c - '0');
    if (fraction) ++scale;
    return true;
  };

  for (; is_digit(); ++at) {
    if (!take(text[at], false)) return std::nullopt;
  }
  if (at == integer_begin || (text[integer_begin] == '0' && at > integer_begin + 1)) return std::nullopt;
  if (at < text.size() && text[at] == '.') {
    ++at;
    const std::size_t fraction_begin = at;
    for (; is_digit(); ++at) {
      if (!take(text[at], true)) return std::nullopt;
    }
    if (at == fraction_begin) return std::nullopt;
  }
  int exponent = 0;
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    const bool minus = at < text.size() && text[at] == '-';
    if (at < text.size() && (text[at] == '-' || text[at] == '+')) ++at;
    const std::size_t exponent_begin = at;
    for (; is_digit(); ++at) {
      if (exponent < 10000) exponent = exponent * 10 + (text[at] - '0');
    }
    if (at == exponent_begin) return std::nullopt;
    if (minus) exponent = -exponent;
  }
  if (at != text.size()) return std::nullopt;
  if (mantissa == 0) return Decimal{};

  // `scale` counts every digit after the point, the pending zeros are not in the mantissa yet.
  scale -= exponent + pending_zeros;
  for (; scale < 0; ++scale) {
    if (++significant > digits_max) return std::nullopt;
    mantissa *= 10;
  }
  if (scale > digits_max) return std::nullopt;
  return Decimal{negative ? -mantissa : mantissa, scale};
}

std::string Decimal::text() const {
  if (scale == 0) return std::to_string(mantissa);
  const std::uint64_t magnitude =
      mantissa < 0 ? 0 - static_cast<std::uint64_t>(mantissa) : static_cast<std::uint64_t>(mantissa);
  std::string digits = std::to_string(magnitude);
  if (digits.size() <= static_cast<std::size_t>(scale)) {
    digits.insert(0, static_cast<std::size_t>(scale) + 1 - digits.size(), '0');
  }
  digits.insert(digits.size() - static_cast<std::size_t>(scale), ".");
  return mantissa < 0 ? "-" + digits : digits;
}

void NanoUsd::append_to(std::string& out) const {
  const std::uint64_t magnitude = nanos < 0 ? 0 - static_cast<std::uint64_t>(nanos) : static_cast<std::uint64_t>(nanos);
  fmt::format_to(std::back_inserter(out), "{}{}.{:09}", nanos < 0 ? "-" : "", magnitude / 1000000000,
                 magnitude % 1000000000);
}

std::optional<NanoUsd> NanoUsd::exactly(const Decimal& dollars) {
  constexpr int digits = 9;
  if (dollars.scale > digits) return std::nullopt;
  NanoUsd out{dollars.mantissa};
  for (int i = dollars.scale; i < digits; ++i) {
    if (__builtin_mul_overflow(out.nanos, std::int64_t{10}, &out.nanos)) return std::nullopt;
  }
  return out;
}

std::optional<NanoUsd> NanoUsd::at_least(const Decimal& dollars) {
  constexpr int digits = 9;
  auto shorter = dollars;
  bool is_more = false;
  for (; shorter.scale > digits; --shorter.scale) {
    is_more = is_more || shorter.mantissa % 10 > 0;
    shorter.mantissa /= 10;
  }
  auto out = exactly(shorter);
  if (out && is_more) ++out->nanos;  // a mantissa that has been shortened is far from its range
  return out;
}

std::string NanoUsd::text() const {
  std::string out;
  append_to(out);
  return out;
}

}  // namespace cognive
