// Randomness, hashes and comparisons that must not leak (OpenSSL).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct evp_mac_ctx_st;
struct evp_md_ctx_st;
struct evp_pkey_st;

namespace cognive {

using Digest = std::array<std::uint8_t, 32>;

// Cryptographically secure; throws std::runtime_error when the kernel has none to give.
void random_bytes(std::span<std::uint8_t> out);

// `length` characters of [0-9A-Za-z], each with the same probability (5.95 bits of entropy).
std::string random_token(std::size_t length);

Digest sha256(std::string_view data);
// Of what comes piece by piece.
class Sha256 {
 public:
  Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  ~Sha256();

  void update(std::string_view data);
  // Once.
  Digest finish();

 private:
  evp_md_ctx_st* context_;
};
// For protocols that ask for it; it keeps nobody from anything.
std::array<std::uint8_t, 16> md5(std::string_view data);
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

// AES-256-GCM under a key that is used for nothing else, with a random nonce in front: whoever has not got the key
// reads nothing of it and changes nothing in it, and it opens only with the context that it was made with. Of one key
// at most 2^32 texts (NIST SP 800-38D, section 8.3).
std::string encrypt(const Digest& key, std::string_view text, std::string_view context);
// Nothing when it was not made under this key and context, or is not what was made.
std::optional<std::string> decrypt(const Digest& key, std::string_view sealed, std::string_view context);

// Ed25519 (RFC 8032).
using Signature = std::array<std::uint8_t, 64>;

class SigningKey {
 public:
  // The private key as such; the public one follows from it.
  explicit SigningKey(const Digest& secret);
  SigningKey(const SigningKey&) = delete;
  SigningKey& operator=(const SigningKey&) = delete;
  ~SigningKey();

  [[nodiscard]] Signature sign(std::string_view message) const;
  [[nodiscard]] Digest public_key() const;

 private:
  evp_pkey_st* key_;
};

// Whether whoever has the private key of this public one has signed the message.
bool is_signed(const Digest& public_key, std::string_view message, std::span<const std::uint8_t> signature);

// Takes the same time wherever the difference lies.
bool equal_constant_time(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b);

std::string to_hex(std::span<const std::uint8_t> bytes);
// Nothing when it is not pairs of hexadecimal digits.
std::optional<std::vector<std::uint8_t>> from_hex(std::string_view text);
// RFC 4648 section 4, padded.
std::string to_base64(std::span<const std::uint8_t> bytes);

}  // namespace cognive
