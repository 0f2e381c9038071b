#include "base/crypto.hpp"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include <stdexcept>

namespace cognive {

void random_bytes(std::span<std::uint8_t> out) {
  // A pool per thread: one system call's worth of randomness serves many ids.
  thread_local std::array<std::uint8_t, 512> pool;
  thread_local std::size_t used = pool.size();
  if (out.size() > pool.size() / 2) {
    if (RAND_bytes(out.data(), static_cast<int>(out.size())) != 1) throw std::runtime_error("no randomness available");
    return;
  }
  if (used + out.size() > pool.size()) {
    if (RAND_bytes(pool.data(), static_cast<int>(pool.size())) != 1)
      throw std::runtime_error("no randomness available");
    used = 0;
  }
  for (auto& byte : out) {
    byte = pool[used];
    pool[used] = 0;
    ++used;
  }
}

std::string random_token(std::size_t length) {
  constexpr std::string_view alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::string out;
  out.reserve(length);
  while (out.size() < length) {
    std::array<std::uint8_t, 32> bytes;
    random_bytes(bytes);
    for (const auto byte : bytes) {
      // 248 = 4 × 62: bytes above it would favour the first characters.
      if (byte < 248 && out.size() < length) out.push_back(alphabet[byte % 62]);
    }
  }
  return out;
}

Digest sha256(std::string_view data) {
  Digest out;
  unsigned int size = 0;
  if (EVP_Digest(data.data(), data.size(), out.data(), &size, EVP_sha256(), nullptr) != 1 || size != out.size()) {
    throw std::runtime_error("SHA-256 is not available");
  }
  return out;
}

Digest hmac_sha256(std::span<const std::uint8_t> key, std::string_view data) {
  Digest out;
  unsigned int size = 0;
  const auto* bytes = reinterpret_cast<const unsigned char*>(data.data());
  if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes, data.size(), out.data(), &size) == nullptr) {
    throw std::runtime_error("HMAC-SHA-256 is not available");
  }
  return out;
}

KeyedHash::KeyedHash(const Digest& key) : key_(key), context_(nullptr) {
  auto* algorithm = EVP_MAC_fetch(nullptr, "SIPHASH", nullptr);
  if (algorithm != nullptr) context_ = EVP_MAC_CTX_new(algorithm);
  EVP_MAC_free(algorithm);
  std::size_t size = sizeof(std::int64_t);
  const std::array parameters{OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size), OSSL_PARAM_construct_end()};
  if (context_ == nullptr || EVP_MAC_CTX_set_params(context_, parameters.data()) != 1) {
    EVP_MAC_CTX_free(context_);
    throw std::runtime_error("SipHash is not available");
  }
}

KeyedHash::~KeyedHash() {
  EVP_MAC_CTX_free(context_);
}

std::int64_t KeyedHash::of(std::string_view text) {
  constexpr std::size_t key_length = 16;
  std::array<unsigned char, sizeof(std::int64_t)> bytes{};
  std::size_t size = 0;
  const auto* data = reinterpret_cast<const unsigned char*>(text.data());
  if (EVP_MAC_init(context_, key_.data(), key_length, nullptr) != 1 ||
      EVP_MAC_update(context_, data, text.size()) != 1 ||
      EVP_MAC_final(context_, bytes.data(), &size, bytes.size()) != 1 || size != bytes.size()) {
    throw std::runtime_error("SipHash is not available");
  }
  std::int64_t out = 0;
  __builtin_memcpy(&out, bytes.data(), sizeof(out));
  return out;
}

bool equal_constant_time(std::span<const std::uint8_t> a, std::span<const std::uint8_t> b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string to_hex(std::span<const std::uint8_t> bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const auto byte : bytes) {
    out.push_back(digits[byte >> 4]);
    out.push_back(digits[byte & 0x0F]);
  }
  return out;
}

std::string to_base64(std::span<const std::uint8_t> bytes) {
  // The function ends the text with a zero.
  std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int length =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), bytes.data(), static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(length));
  return out;
}

}  // namespace cognive
