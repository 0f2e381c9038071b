// API keys: what machines show to say who they are. A key belongs to one team, or to the organisation, and may be bound
// to one agent.
#pragma once

#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "audit/audit.hpp"
#include "base/crypto.hpp"
#include "base/error.hpp"
#include "base/rate_limiter.hpp"
#include "json/page.hpp"
#include "pg/cluster.hpp"
#include "runtime/call.hpp"

namespace cognive::identity {

// The text of a key: cgv_<id>_<secret>. The id finds its row; only a keyed hash of the secret is stored.
struct KeyText {
  static constexpr std::string_view prefix = "cgv_";

  Uuid id;
  std::string secret;

  // A new secret for the id.
  static KeyText make(Uuid id);
  static std::optional<KeyText> parse(std::string_view text);
  [[nodiscard]] std::string text() const;
};

// Hashes secrets under a key of their own, so that a copy of the database alone verifies nothing.
class SecretHasher {
 public:
  explicit SecretHasher(const keyring::RootKey& root);
  // Throws Unavailable while the root key is not known.
  [[nodiscard]] Digest hash(std::string_view secret) const { return hmac_sha256(key_.get(), secret); }

 private:
  keyring::DerivedKey key_;
};

struct ApiKey {
  Uuid id;
  std::string name;
  std::optional<Uuid> team_id;
  std::optional<std::string> team;
  std::optional<Uuid> agent_id;
  std::vector<std::string> permissions;
  Timestamp created_at;
  std::optional<Timestamp> expires_at;
  std::optional<Timestamp> last_used_at;
  std::optional<Timestamp> rotated_at;
  std::optional<Timestamp> previous_until;
  std::optional<Timestamp> revoked_at;

  static constexpr std::string_view schema_name = "ApiKey";
  template <typename T>
  static constexpr auto fields_of() {
    return json::fields(
        json::field("id", &T::id, ""), json::field("name", &T::name, "What it is for."),
        json::field("team_id", &T::team_id, "Whose it is; null: it holds in the whole organisation."),
        json::field("team", &T::team, "The name of that team."),
        json::field("agent_id", &T::agent_id, "It acts for this agent only; null: for every one of its team."),
        json::field("permissions", &T::permissions, "resource:verb; * is every one."),
        json::field("created_at", &T::created_at, ""),
        json::field("expires_at", &T::expires_at, "From then on it is refused; null: never."),
        json::field("last_used_at", &T::last_used_at, "To the minute; null: not yet."),
        json::field("rotated_at", &T::rotated_at, "When its secret was replaced."),
        json::field("previous_until", &T::previous_until, "Until then the secret before is accepted too."),
        json::field("revoked_at", &T::revoked_at, "Since then it is refused; null: it is not revoked."));
  }
  static constexpr auto fields() { return fields_of<ApiKey>(); }
};

// As its maker, and who rotates it, sees it.
struct ApiKeySecret : ApiKey {
  std::string key;

  static constexpr std::string_view schema_name = "ApiKeySecret";
  static constexpr auto fields() {
    return std::tuple_cat(
        fields_of<ApiKeySecret>(),
        json::fields(json::field("key", &ApiKeySecret::key, "For the header X-API-Key. It is not shown again.")));
  }
};

struct ApiKeyCreate {
  std::string name;
  std::optional<std::string> team;
  std::optional<Uuid> agent_id;
  std::vector<std::string> permissions;
  std::optional<Timestamp> expires_at;

  static constexpr std::string_view schema_name = "ApiKeyCreate";
  static constexpr auto fields() {
    return json::fields(
        json::field("name", &ApiKeyCreate::name, "What it is for.",
                    {.min_length = 1, .max_length = 128, .example = "\"invoice bot\""}),
        json::field("team", &ApiKeyCreate::team,
                    "It sees this team only; absent: the caller's own, or the whole organisation.",
                    {.min_length = 1, .max_length = 128}),
        json::field("agent_id", &ApiKeyCreate::agent_id, "It acts for this agent only, and is of the agent's team."),
        json::field("permissions", &ApiKeyCreate::permissions,
                    "What it may do: resource:verb, or * for everything. Nobody gives what they do not hold.",
                    {.min_length = 1, .max_length = 64, .example = "[\"events:write\",\"budgets:reserve\"]"}),
        json::field("expires_at", &ApiKeyCreate::expires_at, "From then on it is refused; absent: never."));
  }
};

struct ApiKeyRotate {
  std::int64_t overlap_s = 86'400;

  static constexpr std::string_view schema_name = "ApiKeyRotate";
  static constexpr auto fields() {
    return json::fields(json::field("overlap_s", &ApiKeyRotate::overlap_s,
                                    "For so long the secret before is accepted too, seconds.",
                                    {.min = 0, .max = 30LL * 86'400, .optional = true}));
  }
};

struct ApiKeyList {
  std::optional<std::string> team;
  std::optional<Uuid> agent_id;
  std::int64_t limit = 50;
  std::optional<json::PagePosition> cursor;

  static constexpr auto fields() {
    return json::fields(
        json::field("team", &ApiKeyList::team, "Only of the team of this name.", {.min_length = 1, .max_length = 128}),
        json::field("agent_id", &ApiKeyList::agent_id, "Only of this agent."),
        json::field("limit", &ApiKeyList::limit, "Items per page.", json::page_limit_rules),
        json::field("cursor", &ApiKeyList::cursor, "next_cursor of the page before."));
  }
};

// How many keys that are none an address may try. Of one process, for all of its threads. A key that was valid lately
// is looked up however many others fail: nobody is locked out by what others do.
class KeyLimits {
 public:
  RateLimiter failures{{.per_second = 50, .burst = 1'000}};

  // By the id of a key and the hash of its secret.
  using Proof = std::pair<Uuid, Digest>;
  void was_valid(const Proof& proof);
  // Revoked, rotated or expired.
  void is_valid_no_more(const Proof& proof);
  [[nodiscard]] bool was_valid_lately(const Proof& proof) const;

 private:
  static constexpr std::size_t kept_max = 100'000;

  mutable std::mutex mutex_;
  std::set<Proof> valid_;
};

// For one I/O thread.
class Keys {
 public:
  // Both must outlive it.
  Keys(pg::Cluster& database, audit::Trail trail, SecretHasher hasher, KeyLimits& limits)
      : database_(database), trail_(trail), hasher_(hasher), limits_(limits) {}

  // Who holds this key. Code::unauthenticated for everything but a valid one. A verdict is reused for at most one
  // second, so that a revocation is in force within that time; the primary is asked, never a replica. Code::too_many
  // when too many keys from `address` were none.
  Async<Result<Principal>> authenticate(std::string key_text, std::string_view address, Deadline deadline);

  // Code::forbidden when the key would hold what its maker does not.
  Async<Result<ApiKeySecret>> create(const Call& call, ApiKeyCreate request);
  // Gives the key a new secret. Code::conflict when it is revoked or has expired.
  Async<Result<ApiKeySecret>> rotate(const Call& call, Uuid id, ApiKeyRotate request);
  // Revoking twice is no error.
  Async<Result<ApiKey>> revoke(const Call& call, Uuid id);
  Async<Result<ApiKey>> get(const Call& call, Uuid id);
  Async<Result<json::Page<ApiKey>>> list(const Call& call, ApiKeyList query);

  // Stores when keys have been used since the last time.
  Async<> store_uses(Deadline deadline);

 private:
  struct Verdict {
    Result<Principal> principal;
    std::chrono::steady_clock::time_point until;
  };

  pg::Cluster& database_;
  audit::Trail trail_;
  SecretHasher hasher_;
  KeyLimits& limits_;
  std::unordered_map<std::string, Verdict> verdicts_;  // by key text; bounded
  std::unordered_map<Uuid, Timestamp> uses_;           // not stored yet; bounded by the keys that there are
};

}  // namespace cognive::identity
