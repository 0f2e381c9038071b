// The SQL of the live stream.
#pragma once

#include "stream/stream.hpp"

namespace cognive::stream::sql {

// Rows are written for ten minutes from now on.
const pg::Query& turn_on();
const pg::Query& forget();

struct Page {
  std::vector<Message> messages;
  Position end;              // there are no others up to here
  std::int64_t horizon = 0;  // all transactions before it have ended
};

// The position after which every transaction that begins now leaves its rows; noted as the oldest, if rows were not
// written before.
Async<Position> note_beginning(pg::Cluster& database, const Call& call);
// All transactions before it have ended.
Async<std::int64_t> horizon(pg::Cluster& database, Deadline deadline);
// Before that something may be missing.
Async<std::int64_t> oldest(pg::Cluster& database, Deadline deadline);
// What follows, in the order of commits.
Async<Page> after(pg::Cluster& database, Position position, Deadline deadline);

}  // namespace cognive::stream::sql
