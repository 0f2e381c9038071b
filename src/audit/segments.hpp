// The audit trail in the object storage (bucket audit-logs-archive): segments of entries, each with a signed manifest.
//
//   segments/<first>-<last>-*.jsonl.gz   the lines of an archive: the root key as it is sealed, a checkpoint, entries,
//                                        a checkpoint
//   manifests/<first>-<last>.json        what the segment holds, and its checksum, signed (Ed25519)
//   head.json                            the last manifest, to go on from
//
// A segment without its manifest is none. Each can be proved by itself, so old ones may expire.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "audit/verify.hpp"
#include "objects/objects.hpp"

namespace cognive::audit {

class SegmentArchive {
 public:
  // `objects` must outlive it. Any number of processes may extend it: what two archive at once is there twice.
  SegmentArchive(objects::Objects& objects, keyring::RootKey root) : objects_(objects), root_(std::move(root)) {}

  // Archives what has been recorded since the last manifest; the number of entries. Throws std::runtime_error when the
  // trail is not what was archived, or the archive not what we wrote, and Unavailable when the store, the database or
  // the root key is away.
  Async<std::int64_t> extend(pg::Pool& database, Deadline deadline);

 private:
  objects::Objects& objects_;
  keyring::RootKey root_;
};

struct SegmentVerification {
  Verification trail;
  std::int64_t first = 0;  // entry that is there; 0: none is
  std::int64_t segments = 0;
  std::optional<Checkpoint> last;
};

// Reads all of it, a segment at a time, without a database. `progress` is told now and then how far it is.
// Code::not_found when there is no archive; Code::conflict when the master key opens nothing in it; else what the store
// says.
Result<SegmentVerification> verify_segments(objects::Store& store, const std::string& bucket,
                                            const keyring::RootKey& root, Deadline deadline,
                                            const std::function<void(std::int64_t proved)>& progress);

}  // namespace cognive::audit
