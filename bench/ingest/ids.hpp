// Version-7 ids of the load and of the COPY limit: monotonic within a thread, made for speed.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>

namespace cognive::bench {

using Id = std::array<std::uint8_t, 16>;
using IdText = std::array<char, 36>;

inline std::uint64_t next_random() {
  thread_local std::uint64_t state =
      0x9E3779B97F4A7C15ULL ^ static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

inline std::int64_t unix_ms() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

// An id of `ms`, or of the id before when the clock stood still: then a counter in the 26 bits behind the time goes on
// (RFC 9562, section 6.2, method 1).
inline Id next_id(std::int64_t ms) {
  constexpr std::uint32_t counter_bits = 26;
  thread_local std::int64_t last_ms = 0;
  thread_local std::uint32_t counter = 0;
  if (ms > last_ms) {
    last_ms = ms;
    counter = static_cast<std::uint32_t>(next_random() & 0xFFFF);
  } else if (++counter >> counter_bits != 0) {
    ++last_ms;
    counter = 0;
  }
  const std::uint64_t high =
      static_cast<std::uint64_t>(last_ms) << 16 | 0x7000 | static_cast<std::uint64_t>(counter >> 14);
  const std::uint64_t low = std::uint64_t{2} << 62 | static_cast<std::uint64_t>(counter & 0x3FFF) << 48 |
                            (next_random() & 0xFFFF'FFFF'FFFFULL);
  const std::uint64_t words[2] = {__builtin_bswap64(high), __builtin_bswap64(low)};
  Id id;
  std::memcpy(id.data(), words, sizeof words);
  return id;
}

inline Id random_id() {
  const std::uint64_t words[2] = {next_random(), next_random()};
  Id id;
  std::memcpy(id.data(), words, sizeof words);
  id[6] = static_cast<std::uint8_t>((id[6] & 0x0F) | 0x40);
  id[8] = static_cast<std::uint8_t>((id[8] & 0x3F) | 0x80);
  return id;
}

inline IdText text_of(const Id& id) {
  static constexpr auto pairs = [] {
    std::array<std::array<char, 2>, 256> out{};
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = {"0123456789abcdef"[i >> 4], "0123456789abcdef"[i & 15]};
    return out;
  }();
  IdText text;
  char* to = text.data();
  for (std::size_t i = 0; i < id.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) *to++ = '-';
    std::memcpy(to, pairs[id[i]].data(), 2);
    to += 2;
  }
  return text;
}

}  // namespace cognive::bench
