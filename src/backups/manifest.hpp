// What a backup holds, so that a restored database can be compared with the one that was dumped.
#pragma once

#include <string>
#include <vector>

#include "json/bind.hpp"

namespace cognive::backups {

struct TableContent {
  std::string name;
  std::int64_t rows = 0;
  std::string checksum;  // over the text of all rows, in whatever order

  bool operator==(const TableContent&) const = default;

  static constexpr auto fields() {
    return json::fields(json::field("name", &TableContent::name, ""), json::field("rows", &TableContent::rows, ""),
                        json::field("checksum", &TableContent::checksum, ""));
  }
};

struct Manifest {
  std::string id;
  Timestamp made_at;     // all of it is of this moment
  std::string revision;  // of the schema
  std::string server;    // version of PostgreSQL
  std::string dump;      // key of the object
  std::int64_t bytes = 0;
  std::string sha256;
  std::vector<TableContent> tables;

  [[nodiscard]] std::int64_t rows() const;

  static constexpr auto fields() {
    return json::fields(json::field("id", &Manifest::id, ""), json::field("made_at", &Manifest::made_at, ""),
                        json::field("revision", &Manifest::revision, ""), json::field("server", &Manifest::server, ""),
                        json::field("dump", &Manifest::dump, ""), json::field("bytes", &Manifest::bytes, ""),
                        json::field("sha256", &Manifest::sha256, ""), json::field("tables", &Manifest::tables, ""));
  }
};

// The first difference, as a sentence; empty: there is none.
std::string difference(const std::vector<TableContent>& dumped, const std::vector<TableContent>& restored);

}  // namespace cognive::backups
