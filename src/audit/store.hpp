// SQL of reading the chain.
#pragma once

#include <vector>

#include "audit/chain.hpp"
#include "pg/pool.hpp"

namespace cognive::audit::store {

struct End {
  std::int64_t sequence = 0;
  Digest seal{};
  std::int64_t behind = 0;             // the first entry behind the end; 0: there is none
  std::optional<std::int64_t> before;  // an entry before the first
  std::optional<Digest> key_id;        // nothing: nothing has been sealed yet
};
// In one snapshot. Nothing when table audit_chain is empty.
Async<std::optional<End>> end(pg::Pool& database, Deadline deadline);

struct Earlier {
  std::int64_t count = 0;
  Digest digest{};
};
// What was recorded before there was a chain, as the revision that began it has it.
Async<Earlier> earlier(pg::Pool& database, Deadline deadline);

struct Sealed {
  StoredEntry entry;
  Digest seal{};  // zeros when it is none
};
// The next ones behind `after`, up to `until`; none: there are no more.
Async<std::vector<Sealed>> page(pg::Pool& database, std::int64_t after, std::int64_t until, Deadline deadline);

}  // namespace cognive::audit::store
