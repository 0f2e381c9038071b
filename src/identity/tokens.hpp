// What signed-in people show: a short-lived access token (JWT, RFC 7519) for requests, and a refresh token for the next
// one. Neither is stored.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "base/crypto.hpp"
#include "base/uuid.hpp"
#include "keyring/root_key.hpp"

namespace cognive::identity {

inline constexpr std::chrono::minutes access_token_lifetime{15};

struct AccessClaims {
  Uuid user_id;
  Uuid session_id;
};

// HMAC-SHA-256 and nothing else, whatever a token says of itself. The key changes every week by itself: its id is the
// week, and it follows from that and the root key. Rights are in no token: they are looked up. Everything throws
// Unavailable while the root key is not known.
class AccessTokens {
 public:
  explicit AccessTokens(const keyring::RootKey& root);

  [[nodiscard]] std::string issue(const AccessClaims& claims, Timestamp now) const;
  // Nothing for everything but a genuine token in force. Clocks may differ by half a minute.
  [[nodiscard]] std::optional<AccessClaims> verify(std::string_view token, Timestamp now) const;

 private:
  [[nodiscard]] std::string key_id(std::int64_t week) const;
  [[nodiscard]] Digest key(std::string_view key_id) const;

  keyring::DerivedKey derived_;
};

// cgr_<session>_<generation>_<code>: the code proves that we gave it out, so that nobody ends the session of another by
// guessing, and an old generation proves that somebody uses a token for the second time.
struct RefreshClaims {
  Uuid session_id;
  std::int64_t generation = 0;
};

class RefreshTokens {
 public:
  explicit RefreshTokens(const keyring::RootKey& root);

  [[nodiscard]] std::string issue(const RefreshClaims& claims) const;
  [[nodiscard]] std::optional<RefreshClaims> verify(std::string_view token) const;

 private:
  keyring::DerivedKey derived_;
};

}  // namespace cognive::identity
