// SQL of replay.
#pragma once

#include "replay/replay.hpp"

namespace cognive::replay::store {

inline constexpr std::int64_t moments_max = 20'000;          // of each kind
inline constexpr std::int64_t content_bytes_max = 16 << 20;  // of each kind: an answer is made in memory

// Of a run that the caller may see, as runs::store has decided before; in no order.
struct Read {
  std::vector<Recorded> moments;
  bool truncated = false;
};
Async<Read> read(pg::Reader database, Uuid run_id, bool with_content, Deadline deadline);

}  // namespace cognive::replay::store
