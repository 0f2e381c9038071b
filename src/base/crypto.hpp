// Randomness, hashes and comparisons that must not leak (OpenSSL).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

struct evp_mac_ctx_st;

namespace cognive {

using Digest = std::array<std::uint8_t, 32>;

// Cryptographically secure; throws std::runtime_error when the kernel has none to give.
void random_bytes(std::span<std::uint8_t> out);

// `length` characters of [0-9A-Za-z], each with the same probability (5.95 bits of entropy).
std::string random_token(std::size_t length);

Digest sha256(std::string_view data);
Digest hmac_sha256(std::span<const std::uint8_t> key, std::string_view data);

// A short keyed hash (SipHash-2-4): whoever has the key recognises equal texts, nobody else can try what a text may
// have been. Cheaper than a digest; 64 bits are too few where somebody may choose both texts and win by it. For one
// thread.
class KeyedHash {
 public:
  // Of the key the first 16 bytes count.
  explicit KeyedHash(const Digest& key);
  KeyedHash(const KeyedHash&) = delete;
  KeyedHash& operator=(const KeyedHash&) = delete;
  ~KeyedHash();

  std::int64_t of(std::string_view text);

 private:
  Digest key_;
  evp_mac_ctx_st* context_;
};

// Takes the same time wherever the difference lies.
bool equal_constant_time(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b);

std::string to_hex(std::span<const std::uint8_t> bytes);
// RFC 4648 section 4, padded.
std::string to_base64(std::span<const std::uint8_t> bytes);

}  // namespace cognive
