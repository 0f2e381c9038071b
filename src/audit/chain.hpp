// How entries are sealed, apart from where they are kept: archives are verified without a database.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/crypto.hpp"
#include "base/time.hpp"
#include "base/uuid.hpp"
#include "json/fields.hpp"
#include "keyring/root_key.hpp"

namespace cognive::audit {

// An entry as it is stored, but for its seal.
struct StoredEntry {
  std::int64_t sequence = 0;  // 1, 2, 3, … without a gap
  Uuid id;
  Timestamp occurred_at;
  std::string actor_kind;
  std::optional<Uuid> actor_id;
  std::string action;
  std::string resource_kind;
  std::string resource_id;
  std::optional<Uuid> team_id;
  std::optional<std::string> request_id;
  std::string details;  // JSON, to the byte as it was written

  static constexpr auto fields() {
    return json::fields(
        json::field("sequence", &StoredEntry::sequence, ""), json::field("id", &StoredEntry::id, ""),
        json::field("occurred_at", &StoredEntry::occurred_at, ""),
        json::field("actor_kind", &StoredEntry::actor_kind, ""), json::field("actor_id", &StoredEntry::actor_id, ""),
        json::field("action", &StoredEntry::action, ""), json::field("resource_kind", &StoredEntry::resource_kind, ""),
        json::field("resource_id", &StoredEntry::resource_id, ""), json::field("team_id", &StoredEntry::team_id, ""),
        json::field("request_id", &StoredEntry::request_id, ""), json::field("details", &StoredEntry::details, ""));
  }
};

// The first place at which a trail is not what was recorded.
struct Break {
  std::int64_t sequence = 0;  // of the entry; 0: what was recorded before the chain
  std::string what;           // a sentence for people
};

// Under which entries are sealed. Throws Unavailable while the root key is not known.
Digest chain_key(const keyring::RootKey& root);

// Tells one such key from another, and nothing about it.
Digest id_of(const Digest& key);

// HMAC-SHA-256 over the seal of the entry before and every field of this one. Before the first entry stands a digest of
// what was recorded before there was a chain.
Digest seal_of(const Digest& key, const Digest& previous, const StoredEntry& entry);

// How far the chain went at a time.
struct Checkpoint {
  std::int64_t sequence = 0;
  Digest seal{};
};

// Proves entries one after the other.
class Prover {
 public:
  // `before`: the digest in front of the first entry.
  Prover(const Digest& key, const Digest& before) : key_(key), seal_(before) {}
  // Goes on behind an entry that has been proved before.
  Prover(const Digest& key, const Checkpoint& from) : key_(key), seal_(from.seal), proved_(from.sequence) {}

  // The next entry, with the seal that it is said to have. What is wrong with it.
  std::optional<Break> take(const StoredEntry& entry, const Digest& seal);

  [[nodiscard]] std::int64_t proved() const { return proved_; }
  // Of the last one that was proved.
  [[nodiscard]] const Digest& seal() const { return seal_; }

 private:
  Digest key_;
  Digest seal_;
  std::int64_t proved_ = 0;
};

// Entries that are not there.
Break missing(std::int64_t first, std::int64_t last);

}  // namespace cognive::audit
