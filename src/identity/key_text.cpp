#include "identity/keys.hpp"
#include "keyring/purposes.hpp"

namespace cognive::identity {
namespace {

constexpr std::size_t id_length = 32;
constexpr std::size_t secret_length = 43;  // 256 bits of base 62

}  // namespace

KeyText KeyText::make(Uuid id) {
  return {id, random_token(secret_length)};
}

std::string KeyText::text() const {
  return std::string(prefix) + to_hex(id.bytes) + "_" + secret;
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

SecretHasher::SecretHasher(const keyring::RootKey& root) : key_(root, std::string(keyring::purpose::api_key_secrets)) {}

}  // namespace cognive::identity
