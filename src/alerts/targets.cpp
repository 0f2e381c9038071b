#include "alerts/targets.hpp"

#include "keyring/purposes.hpp"

namespace cognive::alerts {

Targets::Targets(const keyring::RootKey& root) : key_(root, std::string(keyring::purpose::alert_targets)) {}

std::string Targets::seal(const Uuid& channel_id, std::string_view target) const {
  return encrypt(key_.get(), target, channel_id.text());
}

std::optional<std::string> Targets::open(const Uuid& channel_id, std::string_view sealed) const {
  return decrypt(key_.get(), sealed, channel_id.text());
}

}  // namespace cognive::alerts
