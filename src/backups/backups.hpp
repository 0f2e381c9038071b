// Backups: a dump of the database in the object storage, of one moment, with a manifest that says what it holds. What
// is restored is compared with that, row by row.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "backups/manifest.hpp"
#include "objects/store.hpp"
#include "pg/cluster.hpp"

namespace cognive::backups {

// Of the bucket, behind the installation's prefix. It is made with the first backup; what is in it stays for ever,
// unless its lifecycle says otherwise.
inline constexpr std::string_view bucket_name = "cognive-backups";

// A database and PostgreSQL's programs for it.
struct Place {
  std::string url;       // may hold a password, which nobody else sees
  std::string programs;  // the directory of pg_dump and pg_restore
};

// How far it is, in bytes of the dump.
using Progress = std::function<void(std::int64_t bytes)>;

// `database`: where `from` leads to. It is a backup when this returns; what broke off is none, and the store drops it.
// Code::unprocessable with the words of pg_dump when that fails. Blocks its thread.
Async<Result<Manifest>> create(pg::Cluster& database, Place from, objects::Store& store, std::string bucket,
                               Progress progress, Deadline deadline);

// What the store has.
struct Listed {
  Manifest manifest;    // of one that cannot be read only the id
  std::string trouble;  // why it is no whole backup, as a sentence; empty: nothing is known against it
};

// The latest first, those that cannot be read at the end. Code::not_found when there is no bucket of backups.
Result<std::vector<Listed>> list(objects::Store& store, const std::string& bucket, Deadline deadline);
// `id`: of a backup, or `latest`, which has to be whole. Code::not_found.
Result<Manifest> find(objects::Store& store, const std::string& bucket, const std::string& id, Deadline deadline);

// Gone from the store; what was left of one that is damaged, too. Code::not_found.
Result<void> remove(objects::Store& store, const std::string& bucket, const std::string& id, Deadline deadline);

// Of a table that is in a database as long as a restore into it is not finished: nothing may be started on it.
inline constexpr std::string_view unfinished_table = "cognive_restore_unfinished";
// Whether that is there; `database` is where to look.
Async<bool> is_unfinished(pg::Connection& database, Deadline deadline);

// Into a database without tables, or it is Code::conflict. When it fails, what is there is of no use, and marked so.
// Blocks its thread.
Async<Result<void>> restore(pg::Cluster& database, Place to, objects::Store& store, std::string bucket,
                            const Manifest& manifest, Progress progress, Deadline deadline);

}  // namespace cognive::backups
