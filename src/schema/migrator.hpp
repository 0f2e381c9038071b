// Moves a database along the revisions, with Alembic's verbs and Alembic's version table.
//
// alembic_version has one row per head. alembic_revision_log has a row per attempt: the hash of what was run, how far
// it came, and for which versions of the product the tables are good afterwards.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "pg/connection.hpp"
#include "schema/history.hpp"
#include "schema/statements.hpp"

namespace cognive::schema {

// A revision of single statements that broke off: the version table does not know of it, but the tables do.
struct Unfinished {
  std::string revision;
  bool up = true;
  std::int32_t done = 0;  // of its statements
  std::int32_t statements = 0;
  std::string hash;  // of what was run

  // For people: "revision … is half applied (1 of 2 statements)".
  [[nodiscard]] std::string text() const;
};

// Where a database is, as its own tables say. Reads only, and waits for no migration. Throws Unavailable.
struct DatabaseState {
  RevisionIds at;                         // may be unknown to this binary
  std::vector<std::string> mismatched{};  // applied revisions whose content differed from what this binary has
  // Of a head that this binary does not know: the oldest revision whose versions of the product can work with it.
  std::map<std::string, std::optional<std::string>> unknown{};
  RevisionIds logged{};  // what was applied, as the log has it: also what lies below an unknown head
  std::vector<Unfinished> unfinished{};
};
// `ask` runs one query on the database, wherever that is.
using Ask = std::function<Async<pg::Rows>(const pg::Query& query, pg::Params params)>;
Async<DatabaseState> read_state(const Ask& ask, const History& history);
Async<DatabaseState> read_state(pg::Connection& connection, const History& history, Deadline deadline);

// Whether this version of the product can work with the tables.
struct Fit {
  enum class Kind { current, empty, older, newer, incompatible };
  Kind kind = Kind::current;
  std::string detail;  // a sentence that says what to do; empty when all is well

  [[nodiscard]] bool usable() const { return kind == Kind::current || kind == Kind::newer; }
};
Fit fit_of(const DatabaseState& state, const History& history);

class Migrator {
 public:
  // Connects and takes the migration lock of the database, waiting at most until the deadline while another migrator
  // holds it; `waiting` is called once when it has to. Throws Unavailable. The lock is let go when the migrator is
  // destroyed. `history` must outlive it. Changes nothing.
  static Async<std::unique_ptr<Migrator>> open(
      Executor executor, std::string url, const History& history, Deadline deadline,
      std::function<void()> waiting = [] {});

  // `target`: see History. `step` hears of each revision before it runs. A revision in a transaction that fails leaves
  // the database as it was before it; any other goes on where it broke off when it is run again. An upgrade to the head
  // of a database that is at a later, compatible one does nothing.
  using Step = std::function<void(const Revision&)>;
  Async<Result<void>> upgrade(std::string target, Step step);
  Async<Result<void>> downgrade(std::string target, Step step);

  // Says that the database is there, without running anything: head, heads, base or a revision. Gives up what was left
  // unfinished. `purge`: also when the database is at a revision that nobody here knows.
  enum class Purge { no, yes };
  Async<Result<RevisionIds>> stamp(std::string target, Purge purge);

  // The connection, for reading; nothing may be in flight when the migrator goes on.
  [[nodiscard]] pg::Connection& connection() { return *connection_; }

 private:
  Migrator(std::unique_ptr<pg::Connection> connection, const History& history)
      : connection_(std::move(connection)), history_(history) {}

  enum class Direction { up, down };

  Async<> prepare();
  Async<Result<void>> run_all(RevisionIds at, const std::vector<const Revision*>& way, Direction direction, Step step);
  Async<Result<void>> run(const Revision& revision, Direction direction, const RevisionIds& at);
  Async<Result<void>> run_together(const Revision& revision, Direction direction, std::string finish);
  Async<Result<void>> run_singly(const Revision& revision, Direction direction, std::string finish);
  Async<std::int64_t> begin_attempt(const Revision& revision, Direction direction, std::size_t statements);
  Async<> run_alone(const SqlStatement& statement, Deadline deadline);

  std::unique_ptr<pg::Connection> connection_;
  const History& history_;
  std::string schema_;        // where the tables are, as it stands in SQL
  std::string session_;       // statements that undo what a revision set for itself
  std::int64_t attempt_ = 0;  // the row of the log
};

// For scripts that are run elsewhere: the tables of the migrations, where the database is, and that a revision was run.
std::string own_tables_sql();
std::string versions_sql(const RevisionIds& at, const std::string& schema = {});
std::string log_row_sql(const Revision& revision, std::string_view direction, const std::string& schema = {});

}  // namespace cognive::schema
