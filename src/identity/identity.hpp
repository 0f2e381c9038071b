// Identity: API keys of machines and users of people.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/crypto.hpp"
#include "base/error.hpp"
#include "pg/cluster.hpp"
#include "runtime/call.hpp"

namespace cognive::identity {

// The text of a key: cgv_<id>_<secret>. The id finds its row; only a keyed hash of the secret is stored.
struct KeyText {
  Uuid id;
  std::string secret;

  static KeyText make();
  static std::optional<KeyText> parse(std::string_view text);
  [[nodiscard]] std::string text() const;
};

// Hashes secrets under a key derived from the master key, so that a copy of the database alone verifies nothing.
class SecretHasher {
 public:
  // `master_key` must not be empty.
  explicit SecretHasher(std::string_view master_key);
  [[nodiscard]] Digest hash(std::string_view secret) const { return hmac_sha256(derived_, secret); }

 private:
  Digest derived_;
};

struct ApiKey {
  Uuid id;
  std::string name;
  std::optional<std::string> team;  // name; nothing: organisation-wide
  std::vector<std::string> permissions;
  Timestamp created_at;
  std::optional<Timestamp> expires_at;
  std::optional<Timestamp> revoked_at;
};

struct KeyCreate {
  std::string name;
  std::optional<std::string> team;       // name of an existing team
  std::vector<std::string> permissions;  // "*" is all
  std::optional<Timestamp> expires_at;
};

struct CreatedKey {
  ApiKey key;
  std::string text;  // shown once
};

class Identity {
 public:
  Identity(pg::Cluster& database, SecretHasher hasher) : database_(database), hasher_(hasher) {}

  // Who holds this key. Code::unauthenticated for everything but a valid one. A verdict is reused for at most one
  // second, so that a revocation is in force within that time; the primary is asked, never a replica.
  Async<Result<Principal>> authenticate(std::string key_text, Deadline deadline);

  Async<Result<CreatedKey>> key_create(const Call& call, KeyCreate request);
  Async<std::vector<ApiKey>> key_list(const Call& call);
  // Code::not_found when there is no such key. Revoking twice is no error.
  Async<Result<void>> key_revoke(const Call& call, Uuid id);

  // A person with the organisation-wide role. Code::conflict when the address is taken.
  Async<Result<Uuid>> user_create(const Call& call, std::string email, std::string password, std::string role);
  Async<bool> has_users(Deadline deadline);

 private:
  struct Verdict {
    Result<Principal> principal;
    std::chrono::steady_clock::time_point until;
  };

  pg::Cluster& database_;
  SecretHasher hasher_;
  std::unordered_map<std::string, Verdict> verdicts_;  // by key text; bounded
};

// Argon2id (RFC 9106) with the second recommended set of parameters, in the encoded form. Takes tens of milliseconds
// and 64 MiB.
std::string hash_password(std::string_view password);

}  // namespace cognive::identity
