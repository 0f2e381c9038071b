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

// The latest first.
Result<std::vector<Manifest>> list(objects::Store& store, const std::string& bucket, Deadline deadline);
// `id`: of a backup, or `latest`. Code::not_found.
Result<Manifest> find(objects::Store& store, const std::string& bucket, const std::string& id, Deadline deadline);

// Into a database without tables, or it is Code::conflict. When it fails, what is there is of no use. Blocks its
// thread.
Async<Result<void>> restore(pg::Cluster& database, Place to, objects::Store& store, std::string bucket,
                            const Manifest& manifest, Progress progress, Deadline deadline);

}  // namespace cognive::backups
