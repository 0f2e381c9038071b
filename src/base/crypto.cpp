#include "base/crypto.hpp"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include <charconv>
#include <memory>
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

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  if (context_ == nullptr || EVP_DigestInit_ex(context_, EVP_sha256(), nullptr) != 1)
    throw std::runtime_error("SHA-256 is not available");
}

Sha256::~Sha256() {
  EVP_MD_CTX_free(context_);
}

void Sha256::update(std::string_view data) {
  if (EVP_DigestUpdate(context_, data.data(), data.size()) != 1) throw std::runtime_error("SHA-256 has failed");
}

Digest Sha256::finish() {
  Digest out;
  unsigned int size = 0;
  if (EVP_DigestFinal_ex(context_, out.data(), &size) != 1 || size != out.size())
    throw std::runtime_error("SHA-256 has failed");
  return out;
}

std::array<std::uint8_t, 16> md5(std::string_view data) {
  std::array<std::uint8_t, 16> out;
  unsigned int size = 0;
  if (EVP_Digest(data.data(), data.size(), out.data(), &size, EVP_md5(), nullptr) != 1 || size != out.size())
    throw std::runtime_error("MD5 is not available");
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

namespace {

constexpr std::size_t nonce_size = 12;
constexpr std::size_t tag_size = 16;

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

unsigned char* bytes_of(std::string& text) {
  return reinterpret_cast<unsigned char*>(text.data());
}

using Cipher = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

}  // namespace

std::string encrypt(const Digest& key, std::string_view text, std::string_view context) {
  std::string out(nonce_size + text.size() + tag_size, '\0');
  random_bytes({bytes_of(out), nonce_size});
  auto* const body = bytes_of(out) + nonce_size;
  const Cipher cipher(EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
  int size = 0;
  const bool done =
      cipher != nullptr &&
      EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key.data(), bytes_of(out)) == 1 &&
      EVP_EncryptUpdate(cipher.get(), nullptr, &size, bytes_of(context), static_cast<int>(context.size())) == 1 &&
      EVP_EncryptUpdate(cipher.get(), body, &size, bytes_of(text), static_cast<int>(text.size())) == 1 &&
      EVP_EncryptFinal_ex(cipher.get(), body + text.size(), &size) == 1 &&
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, tag_size, body + text.size()) == 1;
  if (!done) throw std::runtime_error("AES-256-GCM is not available");
  return out;
}

std::optional<std::string> decrypt(const Digest& key, std::string_view sealed, std::string_view context) {
  if (sealed.size() < nonce_size + tag_size) return std::nullopt;
  const auto body = sealed.substr(nonce_size, sealed.size() - nonce_size - tag_size);
  std::string tag(sealed.substr(sealed.size() - tag_size));
  std::string out(body.size(), '\0');
  const Cipher cipher(EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
  if (cipher == nullptr) throw std::runtime_error("AES-256-GCM is not available");
  int size = 0;
  const bool is_genuine =
      EVP_DecryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key.data(), bytes_of(sealed)) == 1 &&
      EVP_DecryptUpdate(cipher.get(), nullptr, &size, bytes_of(context), static_cast<int>(context.size())) == 1 &&
      EVP_DecryptUpdate(cipher.get(), bytes_of(out), &size, bytes_of(body), static_cast<int>(body.size())) == 1 &&
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, tag_size, tag.data()) == 1 &&
      EVP_DecryptFinal_ex(cipher.get(), bytes_of(out) + body.size(), &size) == 1;
  if (!is_genuine) return std::nullopt;
  return out;
}

SigningKey::SigningKey(const Digest& secret)
    : key_(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, secret.data(), secret.size())) {
  if (key_ == nullptr) throw std::runtime_error("Ed25519 is not available");
}

SigningKey::~SigningKey() {
  EVP_PKEY_free(key_);
}

Signature SigningKey::sign(std::string_view message) const {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  Signature out;
  std::size_t size = out.size();
  const bool done = context != nullptr && EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key_) == 1 &&
                    EVP_DigestSign(context.get(), out.data(), &size,
                                   reinterpret_cast<const unsigned char*>(message.data()), message.size()) == 1;
  if (!done || size != out.size()) throw std::runtime_error("an Ed25519 signature could not be made");
  return out;
}

Digest SigningKey::public_key() const {
  Digest out;
  std::size_t size = out.size();
  if (EVP_PKEY_get_raw_public_key(key_, out.data(), &size) != 1 || size != out.size())
    throw std::runtime_error("Ed25519 is not available");
  return out;
}

bool is_signed(const Digest& public_key, std::string_view message, std::span<const std::uint8_t> signature) {
  const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(
      EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, public_key.data(), public_key.size()), &EVP_PKEY_free);
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  return key != nullptr && context != nullptr &&
         EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key.get()) == 1 &&
         EVP_DigestVerify(context.get(), signature.data(), signature.size(),
                          reinterpret_cast<const unsigned char*>(message.data()), message.size()) == 1;
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

std::optional<std::vector<std::uint8_t>> from_hex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::vector<std::uint8_t> out(text.size() / 2);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const auto* first = text.data() + 2 * i;
    const auto read = std::from_chars(first, first + 2, out[i], 16);
    if (read.ec != std::errc{} || read.ptr != first + 2) return std::nullopt;
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
