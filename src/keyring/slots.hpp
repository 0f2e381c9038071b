// Where the root key is stored: one row for each master key that opens it.
#pragma once

#include <optional>
#include <vector>

#include "base/error.hpp"
#include "base/time.hpp"
#include "json/fields.hpp"
#include "keyring/root_key.hpp"
#include "pg/cluster.hpp"

namespace cognive::keyring {

// Makes the root key known. On the primary. Code::conflict when COGNIVE_MASTER_KEY is none of this installation, or the
// installation has no root key.
Async<Result<void>> unlock(pg::Cluster& database, const RootKey& root, const Call& call);

// The same, and makes a root key for an installation that has none yet. Code::conflict also when it had one.
Async<Result<void>> unlock_or_make(pg::Cluster& database, const RootKey& root, const Call& call);

// At the start of a process: the same, but a database that is away is no error, see keep_unlocked.
Async<Result<void>> try_unlock(pg::Cluster& database, const RootKey& root);

// Of a process that runs, until it is cancelled: makes the root key known as soon as the database is there, and notes
// now and then that the master key is in use. What goes wrong is logged.
Async<> keep_unlocked(pg::Cluster& database, RootKey root);
inline constexpr std::chrono::minutes use_interval{10};

// A master key that opens the root key, as far as it is known.
struct KnownMasterKey {
  std::string id;
  Timestamp created_at;
  std::optional<Timestamp> used_at;  // by a process that runs, right to about use_interval
  bool is_in_use = false;            // some process needed it lately, and would need it to start again

  static constexpr auto fields() {
    return json::fields(
        json::field("id", &KnownMasterKey::id, ""), json::field("created_at", &KnownMasterKey::created_at, ""),
        json::field("used_at", &KnownMasterKey::used_at, ""), json::field("in_use", &KnownMasterKey::is_in_use, ""));
  }
};

// The oldest first.
Async<std::vector<KnownMasterKey>> list(pg::Pool& database, Deadline deadline);

// Nothing when it is new, else what is stored under its id.
Async<std::optional<Slot>> add(pg::Transaction& transaction, const Slot& slot);
// Nothing can be opened with that master key any more.
Async<> remove(pg::Transaction& transaction, const std::string& id);
// Locked until the transaction ends.
Async<std::vector<KnownMasterKey>> lock(pg::Transaction& transaction);

}  // namespace cognive::keyring
