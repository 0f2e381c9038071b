// Revisions: SQL files under migrations/ that travel inside the binary, and the chain that they form.
//
// A file opens with its header, then holds the two directions:
//
//   -- revision: 20261123_0619_7f3a
//   -- down: 20261120_1502_c01d            (none for the first)
//   -- message: order gets a state
//   -- transaction: yes                    (no: for statements that cannot run in one, such as CREATE INDEX
//   CONCURRENTLY)
//   -- upgrade
//   …
//   -- downgrade
//   …
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace cognive::schema {

struct Revision {
  std::string id;  // at most 32 characters: alembic_version.version_num is varchar(32)
  std::optional<std::string> down;
  std::string message;
  bool transaction = true;
  std::string upgrade;
  std::string downgrade;
};

// `file` is named in errors.
Result<Revision> parse_revision(std::string_view file, std::string_view content);

// The revisions in the order of upgrading. An error when they are not one chain: an unknown parent, two heads, a cycle.
Result<std::vector<Revision>> order_revisions(std::vector<Revision> revisions);

// What this binary carries, ordered. Throws std::logic_error when the files are broken: a test sees that before
// anybody.
const std::vector<Revision>& revisions();

}  // namespace cognive::schema
