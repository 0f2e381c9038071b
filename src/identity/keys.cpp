#include <argon2.h>

#include <stdexcept>

#include "identity/identity.hpp"

namespace cognive::identity {
namespace {

constexpr std::string_view prefix = "cgv_";
constexpr std::size_t id_length = 32;
constexpr std::size_t secret_length = 43;  // 256 bits of base 62

std::string without_dashes(const Uuid& id) {
  return to_hex(id.bytes);
}

}  // namespace

KeyText KeyText::make() {
  return {Uuid::make(), random_token(secret_length)};
}

std::string KeyText::text() const {
  return std::string(prefix) + without_dashes(id) + "_" + secret;
}

std::optional<KeyText> KeyText::parse(std::string_view text) {
  if (!text.starts_with(prefix)) return std::nullopt;
  text.remove_prefix(prefix.size());
  if (text.size() != id_length + 1 + secret_length || text[id_length] != '_') return std::nullopt;
  std::string dashed(text.substr(0, id_length));
  for (const std::size_t at : {20U, 16U, 12U, 8U}) dashed.insert(at, "-");
  const auto id = Uuid::parse(dashed);
  if (!id) return std::nullopt;
  return KeyText{*id, std::string(text.substr(id_length + 1))};
}

SecretHasher::SecretHasher(std::string_view master_key) {
  if (master_key.empty()) throw std::logic_error("secrets cannot be hashed without a master key");
  const std::span bytes(reinterpret_cast<const std::uint8_t*>(master_key.data()), master_key.size());
  derived_ = hmac_sha256(bytes, "cognive/api-key-secrets/1");
}

std::string hash_password(std::string_view password) {
  // RFC 9106, section 4: 64 MiB, three passes, four lanes.
  constexpr std::uint32_t passes = 3;
  constexpr std::uint32_t kibibytes = 64 * 1024;
  constexpr std::uint32_t lanes = 4;
  constexpr std::size_t salt_bytes = 16;
  constexpr std::size_t hash_bytes = 32;
  std::array<std::uint8_t, salt_bytes> salt;
  random_bytes(salt);
  std::string encoded(argon2_encodedlen(passes, kibibytes, lanes, salt_bytes, hash_bytes, Argon2_id), '\0');
  const int result = argon2id_hash_encoded(passes, kibibytes, lanes, password.data(), password.size(), salt.data(),
                                           salt.size(), hash_bytes, encoded.data(), encoded.size());
  if (result != ARGON2_OK) throw std::runtime_error(argon2_error_message(result));
  encoded.resize(encoded.find('\0'));
  return encoded;
}

}  // namespace cognive::identity
