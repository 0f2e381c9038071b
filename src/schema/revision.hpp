// Revisions: SQL files under migrations/, each with the way there and the way back.
//
// A file opens with its header, then holds the two directions:
//
//   -- revision: 20261123_0619_7f3a
//   -- down: 20261120_1502_c01d            (none for the first; several, separated by commas, for a merge)
//   -- message: order gets a state
//   -- transaction: yes                    (no: each statement by itself, for instance CREATE INDEX CONCURRENTLY; a
//                                           revision that breaks off is resumed behind its last finished statement)
//   -- compatible-from: 20261120_1502_c01d (versions of the product that know this revision can work with the tables
//                                           after the new one; absent: only versions that know the new one)
//   -- upgrade
//   …
//   -- downgrade                           (absent: there is no way back; empty: nothing is to be done for it)
//   …
//
// Neither direction begins or ends a transaction, nor copies from the client.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace cognive::schema {

struct Revision {
  std::string id;                 // at most 32 characters: alembic_version.version_num is varchar(32)
  std::vector<std::string> down;  // none: the first one
  std::string message;
  bool transaction = true;
  std::optional<std::string> compatible_from;
  std::string upgrade;
  std::string downgrade;
  bool irreversible = false;  // the file has no `-- downgrade`
  int upgrade_line = 1;       // of the file, where the section begins
  int downgrade_line = 1;
  std::string file;  // its name, without folders
  std::string hash;  // of its content, hexadecimal
};

// `file` is named in errors.
Result<Revision> parse_revision(std::string_view file, std::string_view content);

// As a file; parse_revision reads it back.
std::string revision_text(const Revision& revision);

// A new id: the minute and four random digits, so that ids made on two branches differ.
std::string make_revision_id();
// "20261123_0619_7f3a_order_gets_a_state.sql"
std::string revision_file_name(const Revision& revision);

}  // namespace cognive::schema
