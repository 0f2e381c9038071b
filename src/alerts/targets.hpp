// Where alerts go, as it is stored: encrypted, since addresses of webhooks carry secrets of the other side.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/uuid.hpp"
#include "keyring/root_key.hpp"

namespace cognive::alerts {

class Targets {
 public:
  explicit Targets(const keyring::RootKey& root);

  // Bytes that only open for this channel. Throws Unavailable while the root key is not known.
  [[nodiscard]] std::string seal(const Uuid& channel_id, std::string_view target) const;
  // Nothing when it was not sealed for this channel, or has been changed. Throws as above.
  [[nodiscard]] std::optional<std::string> open(const Uuid& channel_id, std::string_view sealed) const;

 private:
  keyring::DerivedKey key_;
};

}  // namespace cognive::alerts
