// SQL of exports.
#pragma once

#include "exports/exports.hpp"

namespace cognive::exports {

// An export with what only we know of it.
struct Row {
  Export shown;
  std::string object_key;  // empty: no attempt has begun
  std::string etag;        // empty: it is not there yet
};

// Where its file is kept.
inline objects::Kind place_of(ExportKind kind) {
  return kind == ExportKind::replay ? objects::Kind::replay : objects::Kind::reports;
}

}  // namespace cognive::exports

namespace cognive::exports::sql {

// By the parameters that each names $1, $2, …; store.cpp says what they do.
const pg::Query& agent();
const pg::Query& run();
const pg::Query& lock();
const pg::Query& unfinished();
const pg::Query& insert();
const pg::Query& get();
const pg::Query& list();
const pg::Query& remove();
const pg::Query& former();
const pg::Query& begin();
const pg::Query& progress();
const pg::Query& done();
const pg::Query& failed();
const pg::Query& given_up();
const pg::Query& over();
const pg::Query& removed();
const pg::Query& put_off();
const pg::Query& forget();

// Of the transaction that reads what is exported.
const pg::Query& one_moment();
// The table whose times an export goes by; empty: it has none.
std::string_view series_of(ExportKind kind);
// For locks, which nobody is to wait for because of us.
const pg::Query& impatience();
// Of all partitions of a table.
const pg::Query& summarize();
const pg::Query& patience();
// Begins to read rows of a kind: each one JSON object, in order. Parameters: begin, end, team, agent; of a replay the
// run and its bucket.
const pg::Query& open(ExportKind kind);
const pg::Query& fetch(ExportKind kind);
const pg::Query& close();

std::vector<Row> read(const pg::Rows& rows);

}  // namespace cognive::exports::sql
