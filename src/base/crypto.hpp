// Randomness, hashes and comparisons that must not leak (OpenSSL).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace cognive {

using Digest = std::array<std::uint8_t, 32>;

// Cryptographically secure; throws std::runtime_error when the kernel has none to give.
void random_bytes(std::span<std::uint8_t> out);

// `length` characters of [0-9A-Za-z], each with the same probability (5.95 bits of entropy).
std::string random_token(std::size_t length);

Digest sha256(std::string_view data);
Digest hmac_sha256(std::span<const std::uint8_t> key, std::string_view data);

// Takes the same time wherever the difference lies.
bool equal_constant_time(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b);

std::string to_hex(std::span<const std::uint8_t> bytes);

}  // namespace cognive
