#include "schema/migrator.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/text.hpp"
#include "schema/catalogue.hpp"
#include "schema/statements.hpp"
#include "schema/table.hpp"

namespace cognive::schema {
namespace {

// Any fixed number does, as long as every version of the product uses the same.
constexpr std::int64_t lock_key = 0x636F676E697665;  // "cognive"

constexpr pg::Query lock_query{"migration_lock", "SELECT pg_try_advisory_lock($1)"};
constexpr pg::Query exists_query{"migration_exists", "SELECT to_regclass($1) IS NOT NULL"};
constexpr pg::Query version_query{"migration_version", "SELECT version_num::text FROM alembic_version"};
constexpr pg::Query log_query{
    "migration_log",
    "SELECT DISTINCT ON (revision) revision::text, hash, compatible_from::text FROM alembic_revision_log "
    "WHERE direction = 'upgrade' AND finished_at IS NOT NULL ORDER BY revision, id DESC"};
// What was begun and not finished: the last attempt, if it ran the same statements.
constexpr pg::Query unfinished_query{
    "migration_unfinished",
    "SELECT done FROM alembic_revision_log WHERE id = (SELECT max(id) FROM alembic_revision_log WHERE revision = $1) "
    "AND direction = $2 AND hash = $3 AND finished_at IS NULL"};
constexpr pg::Query begin_query{
    "migration_begin",
    "INSERT INTO alembic_revision_log (revision, direction, message, hash, compatible_from, statements, done) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id"};
constexpr pg::Query error_query{"migration_error", "UPDATE alembic_revision_log SET error = $2 WHERE id = $1"};

constexpr const char* own_tables = R"(
SET lock_timeout = '10s'; SET timezone = 'UTC'; SET client_min_messages = warning;
CREATE TABLE IF NOT EXISTS alembic_version (
  version_num varchar(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num));
CREATE TABLE IF NOT EXISTS alembic_revision_log (
  id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT alembic_revision_log_pkey PRIMARY KEY,
  revision varchar(32) NOT NULL, direction text NOT NULL, message text NOT NULL, hash text NOT NULL,
  compatible_from varchar(32), statements integer NOT NULL, done integer NOT NULL, error text,
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(), finished_at timestamptz,
  run_by text NOT NULL DEFAULT current_user))";

// One revision may rewrite a large table.
constexpr std::chrono::minutes revision_timeout{60};
constexpr std::chrono::seconds short_timeout{10};
constexpr std::chrono::milliseconds lock_retry{100};
constexpr std::chrono::milliseconds no_timeout{0};
constexpr std::string_view not_in_transaction = "25001";  // active_sql_transaction

Deadline soon() {
  return Deadline::in(short_timeout);
}

std::string set_versions(const RevisionIds& at) {
  std::string out = "DELETE FROM alembic_version";
  for (const auto& id : at) out += fmt::format(";\nINSERT INTO alembic_version VALUES ({})", quoted_text(id));
  return out;
}

Async<bool> exists(const Ask& ask, std::string table) {
  const auto rows = co_await ask(exists_query, pg::Params::of(table));
  co_return rows[0].at<bool>(0);
}

Error failure_of(const Revision& revision, const SqlStatement& statement, const pg::SqlError& error) {
  const auto outcome =
      revision.transaction ? "and changed nothing" : "and keeps what was done before: run it again to go on there";
  return {Code::conflict,
          fmt::format("revision {} ({}) failed at line {} of {} {}: {} [{}]\n  {}", revision.id, revision.message,
                      statement.line, revision.file, outcome, error.what(), error.state(),
                      shortened(statement.text.substr(0, statement.text.find('\n')), 120)),
          {}};
}

}  // namespace

Async<DatabaseState> read_state(pg::Connection& connection, const History& history, Deadline deadline) {
  const Ask ask = [&connection, deadline](const pg::Query& query, pg::Params params) {
    return connection.execute(query, std::move(params), deadline);
  };
  co_return co_await read_state(ask, history);
}

Async<DatabaseState> read_state(const Ask& ask, const History& history) {
  DatabaseState out;
  const bool has_version = co_await exists(ask, version_table);
  if (!has_version) co_return out;
  const auto versions = co_await ask(version_query, {});
  for (int i = 0; i < versions.size(); ++i) {
    const auto id = versions[i].at<std::string>(0);
    out.at.insert(id);
    if (history.find(id) == nullptr) out.unknown.emplace(id, std::nullopt);
  }
  const bool has_log = co_await exists(ask, log_table);
  if (!has_log) co_return out;
  const auto applied = history.applied_at(out.at);
  const auto log = co_await ask(log_query, {});
  for (int i = 0; i < log.size(); ++i) {
    std::string id;
    std::string hash;
    std::optional<std::string> compatible_from;
    log[i].read(id, hash, compatible_from);
    if (const auto unknown = out.unknown.find(id); unknown != out.unknown.end()) unknown->second = compatible_from;
    const auto* revision = history.find(id);
    if (revision != nullptr && applied.contains(id) && revision->hash != hash) out.mismatched.push_back(id);
  }
  co_return out;
}

Fit fit_of(const DatabaseState& state, const History& history) {
  const auto heads = fmt::format("{}", fmt::join(history.heads(), ", "));
  if (state.at.empty()) return {Fit::Kind::empty, "the database is empty: run cognive migrate upgrade head"};
  for (const auto& [id, compatible_from] : state.unknown) {
    if (compatible_from && history.find(*compatible_from) != nullptr) continue;
    if (compatible_from) {
      return {
          Fit::Kind::incompatible,
          fmt::format("the database is at revision {} of a later version, which needs at least the version of revision "
                      "{}; this one knows {}: use a newer version",
                      id, *compatible_from, heads)};
    }
    return {Fit::Kind::incompatible,
            fmt::format(
                "the database is at revision {}, which this version does not know and which does not say that it is "
                "compatible: it belongs to a later version of Cognive, or to another system",
                id)};
  }
  if (!state.unknown.empty()) return {Fit::Kind::newer, ""};
  if (state.at == history.heads()) return {};
  return {Fit::Kind::older,
          fmt::format("the database is at revision {}, this version needs {}: run cognive migrate upgrade "
                      "head",
                      fmt::join(state.at, ", "), heads)};
}

Async<std::unique_ptr<Migrator>> Migrator::open(Executor executor, std::string url, const History& history,
                                                Deadline deadline) {
  auto connection = co_await pg::Connection::open(std::move(executor), std::move(url), no_timeout, deadline);
  // Tried again and again instead of waited for: a waiting lock is a transaction, with which CREATE INDEX CONCURRENTLY
  // of the lock's holder would deadlock.
  for (;;) {
    const auto locked = co_await connection->execute(lock_query, pg::Params::of(lock_key), deadline);
    if (locked[0].at<bool>(0)) break;
    if (deadline.remaining() <= lock_retry) throw Unavailable("another migration is running on this database");
    co_await sleep_for(lock_retry);
  }
  co_await connection->run_script(own_tables, deadline);
  co_return std::unique_ptr<Migrator>(new Migrator(std::move(connection), history));
}

// The heads of the database, all of them known.
Async<Result<RevisionIds>> Migrator::position() {
  const auto state = co_await read_state(*connection_, history_, soon());
  if (!state.unknown.empty()) {
    co_return fail(
        Code::conflict,
        fmt::format(
            "the database is at revision {}, which this binary does not know. If it belongs to a later version of "
            "Cognive, use that version. If it belongs to another system, such as the Python backend of the same "
            "name, its tables are not taken over: give Cognive a database of its own and import the data there.",
            state.unknown.begin()->first));
  }
  if (!state.mismatched.empty()) {
    co_return fail(
        Code::conflict,
        fmt::format("revision {} was applied with other content than this binary has: a shipped revision was "
                    "edited. Use the binary that applied it, or put the file back as it was.",
                    fmt::join(state.mismatched, ", ")));
  }
  co_return state.at;
}

Async<std::int64_t> Migrator::begin_attempt(const Revision& revision, Direction direction, std::size_t statements) {
  const std::string name = direction == Direction::up ? "upgrade" : "downgrade";
  std::int32_t done = 0;
  const auto before =
      co_await connection_->execute(unfinished_query, pg::Params::of(revision.id, name, revision.hash), soon());
  if (!revision.transaction && !before.empty()) done = before[0].at<std::int32_t>(0);
  auto params = pg::Params::of(revision.id, name, revision.message, revision.hash, revision.compatible_from,
                               static_cast<std::int32_t>(statements), done);
  const auto begun = co_await connection_->execute(begin_query, std::move(params), soon());
  attempt_ = begun[0].at<std::int64_t>(0);
  co_return done;
}

Async<Result<void>> Migrator::run(const Revision& revision, Direction direction, const RevisionIds& at) {
  const auto after =
      direction == Direction::up ? History::after_upgrade(at, revision) : history_.after_downgrade(at, revision);
  if (revision.transaction) co_return co_await run_together(revision, direction, set_versions(after));
  co_return co_await run_singly(revision, direction, set_versions(after));
}

namespace {

std::vector<SqlStatement> statements_of(const Revision& revision, bool up) {
  return up ? split_statements(revision.upgrade, revision.upgrade_line)
            : split_statements(revision.downgrade, revision.downgrade_line);
}

}  // namespace

Async<Result<void>> Migrator::run_together(const Revision& revision, Direction direction, std::string finish) {
  const auto statements = statements_of(revision, direction == Direction::up);
  co_await begin_attempt(revision, direction, statements.size());
  const auto deadline = Deadline::in(revision_timeout);
  const SqlStatement* current = nullptr;
  std::optional<pg::SqlError> failure;
  try {
    co_await connection_->run_script("BEGIN", soon());
    for (const auto& statement : statements) {
      current = &statement;
      co_await connection_->run_script(statement.text, deadline);
    }
    co_await connection_->run_script(
        fmt::format(
            "{};\nUPDATE alembic_revision_log SET done = statements, finished_at = clock_timestamp() WHERE id = {};\n"
            "COMMIT",
            finish, attempt_),
        deadline);
  } catch (const pg::SqlError& error) {
    failure = error;
  }
  if (!failure) co_return Result<void>{};
  co_await connection_->run_script("ROLLBACK", soon());
  const SqlStatement at_the_end{.text = "the end of the transaction", .line = 0};
  auto error = failure_of(revision, current == nullptr ? at_the_end : *current, *failure);
  co_await connection_->execute(error_query, pg::Params::of(attempt_, error.detail), soon());
  co_return fail(std::move(error));
}

// Each statement is committed together with the note that it is done, except for those that cannot be in a transaction.
Async<Result<void>> Migrator::run_singly(const Revision& revision, Direction direction, std::string finish) {
  const auto statements = statements_of(revision, direction == Direction::up);
  auto done = static_cast<std::size_t>(co_await begin_attempt(revision, direction, statements.size()));
  // An index build that broke off left an invalid index; the statement before it clears that away.
  const auto is = [&](std::size_t i, std::string_view beginning) {
    return i < statements.size() && statements[i].text.starts_with(beginning);
  };
  if (done > 0 && is(done - 1, "DROP INDEX CONCURRENTLY IF EXISTS")) --done;
  const auto deadline = Deadline::in(revision_timeout);
  for (; done < statements.size(); ++done) {
    const auto& statement = statements[done];
    const auto note = fmt::format("UPDATE alembic_revision_log SET done = {} WHERE id = {}", done + 1, attempt_);
    std::optional<pg::SqlError> failure;
    bool alone = false;
    try {
      co_await connection_->run_script(fmt::format("BEGIN;\n{};\n{};\nCOMMIT", statement.text, note), deadline);
    } catch (const pg::SqlError& error) {
      alone = error.state() == not_in_transaction;
      failure = error;
    }
    if (failure) co_await connection_->run_script("ROLLBACK", soon());
    if (alone) {
      failure.reset();
      try {
        co_await connection_->run_script(statement.text, deadline);
        co_await connection_->run_script(note, soon());
      } catch (const pg::SqlError& error) {
        failure = error;
      }
    }
    if (!failure) continue;
    auto error = failure_of(revision, statement, *failure);
    co_await connection_->execute(error_query, pg::Params::of(attempt_, error.detail), soon());
    co_return fail(std::move(error));
  }
  co_await connection_->run_script(
      fmt::format("BEGIN;\n{};\nUPDATE alembic_revision_log SET finished_at = clock_timestamp() WHERE id = {};\nCOMMIT",
                  finish, attempt_),
      soon());
  co_return Result<void>{};
}

Async<Result<void>> Migrator::upgrade(std::string target, Step step) {
  auto at = co_await position();
  if (!at) co_return std::unexpected(at.error());
  const auto way = history_.way_up(*at, target);
  if (!way) co_return std::unexpected(way.error());
  for (const auto* revision : *way) {
    step(*revision);
    auto done = co_await run(*revision, Direction::up, *at);
    if (!done) co_return done;
    at = History::after_upgrade(std::move(*at), *revision);
  }
  co_return Result<void>{};
}

Async<Result<void>> Migrator::downgrade(std::string target, Step step) {
  auto at = co_await position();
  if (!at) co_return std::unexpected(at.error());
  const auto way = history_.way_down(*at, target);
  if (!way) co_return std::unexpected(way.error());
  for (const auto* revision : *way) {
    step(*revision);
    auto done = co_await run(*revision, Direction::down, *at);
    if (!done) co_return done;
    at = history_.after_downgrade(std::move(*at), *revision);
  }
  co_return Result<void>{};
}

Async<Result<void>> Migrator::stamp(std::string target) {
  RevisionIds at;
  if (target == "heads") {
    at = history_.heads();
  } else if (target != "base") {
    const auto revision = history_.resolve(target);
    if (!revision) co_return std::unexpected(revision.error());
    at = {(*revision)->id};
  }
  co_await connection_->run_script(set_versions(at), soon());
  co_return Result<void>{};
}

}  // namespace cognive::schema
