#include "base/uuid.hpp"

#include <algorithm>
#include <mutex>

#include "base/crypto.hpp"

namespace cognive {
namespace {

constexpr std::string_view hex_digits = "0123456789abcdef";

// By character; negative for what is no hexadecimal digit.
constexpr auto hex_values = [] {
  std::array<std::int8_t, 256> values{};
  values.fill(-1);
  for (std::uint8_t i = 0; i < 16; ++i) {
    const auto digit = static_cast<unsigned char>(hex_digits[i]);
    values[digit] = static_cast<std::int8_t>(i);
    if (i >= 10) values[static_cast<unsigned char>(digit - 'a' + 'A')] = static_cast<std::int8_t>(i);
  }
  return values;
}();

// Where the two digits of each byte stand in the text.
constexpr std::array<std::uint8_t, 16> digit_positions{0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34};

void put_millis(Uuid& id, std::uint64_t millis) {
  for (std::size_t i = 0; i < 6; ++i) id.bytes[i] = static_cast<std::uint8_t>(millis >> (8 * (5 - i)));
}

void stamp_version_7(Uuid& id) {
  id.bytes[6] = static_cast<std::uint8_t>((id.bytes[6] & 0x0F) | 0x70);
  id.bytes[8] = static_cast<std::uint8_t>((id.bytes[8] & 0x3F) | 0x80);
}

}  // namespace

void Uuid::append_to(std::string& out) const {
  for (std::size_t i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out.push_back('-');
    out.push_back(hex_digits[bytes[i] >> 4]);
    out.push_back(hex_digits[bytes[i] & 0x0F]);
  }
}

std::string Uuid::text() const {
  std::string out;
  out.reserve(36);
  append_to(out);
  return out;
}

std::optional<Uuid> Uuid::parse(std::string_view text) {
  if (text.size() != 36) return std::nullopt;
  if (text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-') return std::nullopt;
  Uuid id;
  int signs = 0;
  for (std::size_t i = 0; i < id.bytes.size(); ++i) {
    const int high = hex_values[static_cast<unsigned char>(text[digit_positions[i]])];
    const int low = hex_values[static_cast<unsigned char>(text[digit_positions[i] + 1])];
    signs |= high | low;
    id.bytes[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  if (signs < 0) return std::nullopt;
  return id;
}

Uuid Uuid::make() {
  thread_local std::uint64_t last_tick = 0;
  Uuid id;
  random_bytes(id.bytes);
  // Milliseconds and, in the 12 bits after the version, their fraction; never the same tick twice on one thread.
  const auto micros = static_cast<std::uint64_t>(Timestamp::now().micros);
  std::uint64_t tick = (micros / 1000) << 12 | ((micros % 1000) << 12) / 1000;
  tick = std::max(tick, last_tick + 1);
  last_tick = tick;
  put_millis(id, tick >> 12);
  id.bytes[6] = static_cast<std::uint8_t>((tick >> 8) & 0x0F);
  id.bytes[7] = static_cast<std::uint8_t>(tick & 0xFF);
  stamp_version_7(id);
  return id;
}

Uuid Uuid::derived(Timestamp time, std::span<const std::uint8_t, 16> seed) {
  Uuid id;
  std::ranges::copy(seed, id.bytes.begin());
  put_millis(id, static_cast<std::uint64_t>(std::max<std::int64_t>(time.micros, 0) / 1000));
  stamp_version_7(id);
  return id;
}

std::optional<Timestamp> Uuid::time() const {
  if (bytes[6] >> 4 != 7) return std::nullopt;
  std::int64_t millis = 0;
  for (std::size_t i = 0; i < 6; ++i) millis = millis << 8 | bytes[i];
  return Timestamp{millis * 1000};
}

std::chrono::sys_days bucket_of(const Uuid& id) {
  using namespace std::chrono;
  constexpr sys_days first{2020y / January / 1};
  constexpr sys_days end{2100y / January / 1};
  const auto time = id.time();
  if (!time || *time >= Timestamp::of(end) || *time < Timestamp::of(first)) return undated_bucket;
  return floor<days>(time->point());
}

}  // namespace cognive
