// The audit trail outside of the database: a file to which entries and signed checkpoints are appended. What it says
// can be proved without the database, and what the database has lost since is found with it.
//
// Lines of JSON: the root key as a master key seals it; entries in the order of the chain, each with its seal; and
// behind them checkpoints: how far the chain went at a time, signed (Ed25519).
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "audit/verify.hpp"
#include "base/error.hpp"

namespace cognive::audit {

class Archive {
 public:
  // The file is made when there is none; its directory must be there. Several processes may have the same file: each
  // extends what it finds.
  Archive(std::filesystem::path file, keyring::RootKey root);

  // Appends what has been recorded since its last checkpoint, and a new checkpoint when that was anything. Durable when
  // it returns. Throws std::runtime_error when the file cannot be read or written, or does not belong to this trail,
  // and Unavailable while the root key is not known.
  Async<> extend(pg::Pool& database, Deadline deadline);

 private:
  Async<> extend_locked(pg::Pool& database, Deadline deadline);
  void append(std::string_view text);

  std::filesystem::path file_;
  keyring::RootKey root_;
  std::optional<Checkpoint> last_;  // once the file has been read
  bool has_slot_ = false;           // with which the master key alone can verify the file
  std::uintmax_t size_ = 0;         // that we left it with
};

struct ArchiveVerification {
  Verification trail;
  std::int64_t checkpoints = 0;  // whose signatures are right
  std::optional<Checkpoint> last;
  bool has_slot = false;     // of this master key
  std::uintmax_t bytes = 0;  // up to the end of the last checkpoint: what stands behind it is being written, or was
                             // when something crashed
};

// Reads all of it, in constant memory. Without a database: a root key that is not known yet is looked for in the file.
// Code::not_found when there is no such file, or nothing in it; Code::conflict when the master key opens nothing in it.
Result<ArchiveVerification> verify_archive(const std::filesystem::path& file, const keyring::RootKey& root);

}  // namespace cognive::audit
