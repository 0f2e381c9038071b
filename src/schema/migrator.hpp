// Moves a database along the chain of revisions, with Alembic's verbs and Alembic's version table.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "pg/connection.hpp"
#include "schema/revision.hpp"

namespace cognive::schema {

// The revision that a database is at; nothing when it is empty. Reads only, and waits for no migration. An error when
// this binary does not know the revision. Throws Unavailable.
Async<Result<std::optional<std::string>>> current_revision(Executor executor, std::string url, Deadline deadline);

class Migrator {
 public:
  // Connects and takes the migration lock of the database, waiting at most until the deadline while another migrator
  // holds it. Throws Unavailable. The lock is let go when the migrator is destroyed.
  static Async<std::unique_ptr<Migrator>> open(Executor executor, std::string url, Deadline deadline);

  // `target`: head, +N or a revision's id; for downgrade base, -N or an id. `step` hears of each revision before it
  // runs. A revision that fails leaves the database at the one before it.
  using Step = std::function<void(const Revision&)>;
  Async<Result<void>> upgrade(std::string target, Step step);
  Async<Result<void>> downgrade(std::string target, Step step);

 private:
  explicit Migrator(std::unique_ptr<pg::Connection> connection) : connection_(std::move(connection)) {}

  // Position in revisions() + 1; 0 is the empty database.
  Async<Result<std::size_t>> position();
  Async<Result<void>> run(const Revision& revision, bool up);

  std::unique_ptr<pg::Connection> connection_;
};

}  // namespace cognive::schema
