#include "schema/migrator.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <random>

#include "base/text.hpp"
#include "schema/catalogue.hpp"
#include "schema/statements.hpp"
#include "schema/table.hpp"

namespace cognive::schema {
namespace {

// Any fixed number does, as long as every version of the product uses the same.
constexpr std::int64_t lock_key = 0x636F676E697665;  // "cognive"

constexpr pg::Query lock_query{"migration_lock", "SELECT pg_try_advisory_lock($1)"};
constexpr pg::Query session_query{"migration_session",
                                  "SELECT coalesce(current_schema()::text, ''), current_setting('search_path')"};
constexpr pg::Query exists_query{"migration_exists", "SELECT to_regclass($1) IS NOT NULL"};
constexpr pg::Query version_query{"migration_version", "SELECT version_num::text FROM alembic_version"};
// An attempt that failed or was given up has an error.
constexpr pg::Query log_query{
    "migration_log",
    "SELECT DISTINCT ON (revision) revision::text, hash, compatible_from::text, direction <> 'downgrade' "
    "FROM alembic_revision_log WHERE finished_at IS NOT NULL AND error IS NULL ORDER BY revision, id DESC"};
constexpr pg::Query unfinished_query{
    "migration_unfinished",
    "SELECT revision, up, done, statements, hash FROM (SELECT DISTINCT ON (revision) revision::text, direction = "
    "'upgrade' AS up, done, statements, hash, finished_at FROM alembic_revision_log ORDER BY revision, id DESC) last "
    "WHERE finished_at IS NULL AND done > 0"};
constexpr pg::Query begin_query{
    "migration_begin",
    "INSERT INTO alembic_revision_log (revision, direction, message, hash, compatible_from, statements, done) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id"};
constexpr pg::Query error_query{"migration_error", "UPDATE alembic_revision_log SET error = $2 WHERE id = $1"};
constexpr pg::Query invalid_query{
    "migration_invalid_index",
    "SELECT indexrelid::regclass::text FROM pg_index WHERE indexrelid = to_regclass($1) AND NOT indisvalid"};

constexpr const char* own_tables = R"(CREATE TABLE IF NOT EXISTS alembic_version (
  version_num varchar(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num));
CREATE TABLE IF NOT EXISTS alembic_revision_log (
  id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT alembic_revision_log_pkey PRIMARY KEY,
  revision varchar(32) NOT NULL, direction text NOT NULL, message text NOT NULL, hash text NOT NULL,
  compatible_from varchar(32), statements integer NOT NULL, done integer NOT NULL, error text,
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(), finished_at timestamptz,
  run_by text NOT NULL DEFAULT current_user);
)";

// One revision may rewrite a large table.
constexpr std::chrono::minutes revision_timeout{60};
constexpr std::chrono::seconds short_timeout{10};
constexpr std::chrono::milliseconds lock_retry{100};
constexpr std::chrono::milliseconds no_timeout{0};
constexpr std::string_view not_in_transaction = "25001";  // active_sql_transaction
constexpr std::string_view lock_not_available = "55P03";

// A lock that is waited for holds up everybody behind it. A statement of a client that was killed ends within seconds
// and lets go of the migration lock (not on every platform of the server).
constexpr const char* session_limits = R"(
SET lock_timeout = '10s'; SET statement_timeout = '60min'; SET timezone = 'UTC'; SET client_min_messages = warning;
DO $$ BEGIN
  PERFORM set_config('client_connection_check_interval', '5s', false);
EXCEPTION WHEN OTHERS THEN NULL;
END $$)";

Deadline soon() {
  return Deadline::in(short_timeout);
}

Async<bool> exists(const Ask& ask, std::string table) {
  const auto rows = co_await ask(exists_query, pg::Params::of(table));
  co_return rows[0].at<bool>(0);
}

Error failure_of(const Revision& revision, const SqlStatement& statement, const pg::SqlError& error) {
  const auto outcome =
      revision.transaction ? "and changed nothing" : "and keeps what was done before: run it again to go on there";
  const auto advice = error.state() == lock_not_available
                          ? " (somebody held a lock for 10 s, and nobody was made to wait any longer: try again when "
                            "the database is less busy)"
                          : "";
  return {Code::conflict,
          fmt::format("revision {} ({}) failed at line {} of {} {}: {} [{}]{}\n  {}", revision.id, revision.message,
                      statement.line, revision.file, outcome, error.what(), error.state(), advice,
                      shortened(statement.text.substr(0, statement.text.find('\n')), 120)),
          {}};
}

// The name in CREATE [UNIQUE] INDEX CONCURRENTLY [IF NOT EXISTS] name ON …; empty for anything else.
std::string index_built_by(std::string_view statement) {
  std::vector<std::string> words;
  while (words.size() < 8) {
    statement = trim(statement);
    if (statement.empty()) break;
    const auto end = statement.front() == '"' ? statement.find('"', 1) : statement.find_first_of(" \t\n(");
    const auto length = end == std::string_view::npos ? statement.size() : end + (statement.front() == '"' ? 1 : 0);
    if (length == 0) break;
    words.emplace_back(statement.substr(0, length));
    statement.remove_prefix(length);
  }
  std::size_t at = 0;
  const auto next_is = [&](std::string_view word) { return at < words.size() && lower(words[at]) == word && ++at > 0; };
  if (!next_is("create")) return "";
  next_is("unique");
  if (!next_is("index") || !next_is("concurrently")) return "";
  if (next_is("if")) at += 2;
  return at < words.size() && lower(words[at]) != "on" ? words[at] : "";
}

std::string qualified(const std::string& schema, std::string_view table) {
  return schema.empty() ? std::string(table) : fmt::format("{}.{}", schema, table);
}

}  // namespace

std::string own_tables_sql() {
  return own_tables;
}

std::string versions_sql(const RevisionIds& at, const std::string& schema) {
  const auto table = qualified(schema, version_table);
  auto out = fmt::format("DELETE FROM {};\n", table);
  for (const auto& id : at) out += fmt::format("INSERT INTO {} VALUES ({});\n", table, quoted_text(id));
  return out;
}

std::string log_row_sql(const Revision& revision, std::string_view direction, const std::string& schema) {
  const auto& statements = direction == "downgrade" ? revision.downgrade : revision.upgrade;
  return fmt::format(
      "INSERT INTO {} (revision, direction, message, hash, compatible_from, statements, done, finished_at) VALUES "
      "({}, '{}', {}, '{}', {}, {}, {}, clock_timestamp());\n",
      qualified(schema, log_table), quoted_text(revision.id), direction, quoted_text(revision.message), revision.hash,
      revision.compatible_from ? quoted_text(*revision.compatible_from) : "NULL",
      split_statements(statements, 1).size(), split_statements(statements, 1).size());
}

std::string Unfinished::text() const {
  return fmt::format("revision {} is half {} ({} of {} statements)", revision, up ? "applied" : "taken back", done,
                     statements);
}

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
    bool is_applied = false;
    log[i].read(id, hash, compatible_from, is_applied);
    if (!is_applied) continue;
    out.logged.insert(id);
    if (const auto unknown = out.unknown.find(id); unknown != out.unknown.end()) unknown->second = compatible_from;
    const auto* revision = history.find(id);
    if (revision != nullptr && applied.contains(id) && revision->hash != hash) out.mismatched.push_back(id);
  }
  const auto unfinished = co_await ask(unfinished_query, {});
  for (int i = 0; i < unfinished.size(); ++i) {
    auto& one = out.unfinished.emplace_back();
    unfinished[i].read(one.revision, one.up, one.done, one.statements, one.hash);
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
  if (!state.unknown.empty()) {
    for (const auto& id : history.heads()) {
      if (state.at.contains(id) || state.logged.contains(id)) continue;
      return {Fit::Kind::incompatible,
              fmt::format("the database is at {} and lacks revision {} of this version: the two come from different "
                          "branches",
                          fmt::join(state.at, ", "), id)};
    }
    return {Fit::Kind::newer, ""};
  }
  if (state.at == history.heads()) return {};
  return {Fit::Kind::older,
          fmt::format("the database is at revision {}, this version needs {}: run cognive migrate upgrade "
                      "head",
                      fmt::join(state.at, ", "), heads)};
}

Async<std::unique_ptr<Migrator>> Migrator::open(Executor executor, std::string url, const History& history,
                                                Deadline deadline, std::function<void()> waiting) {
  auto connection = co_await pg::Connection::open(std::move(executor), std::move(url), no_timeout, deadline);
  std::minstd_rand random{std::random_device{}()};
  // Tried again and again instead of waited for: a waiting lock is a transaction, with which CREATE INDEX CONCURRENTLY
  // of the lock's holder would deadlock.
  for (bool told = false;; told = true) {
    const auto locked = co_await connection->execute(lock_query, pg::Params::of(lock_key), deadline);
    if (locked[0].at<bool>(0)) break;
    if (!told) waiting();
    if (deadline.remaining() <= 2 * lock_retry) throw Unavailable("another migration is running on this database");
    co_await sleep_for(lock_retry + std::chrono::milliseconds{random() % lock_retry.count()});
  }
  std::unique_ptr<Migrator> out(new Migrator(std::move(connection), history));
  const auto session = co_await out->connection_->execute(session_query, {}, deadline);
  if (session[0].at<std::string>(0).empty()) throw Unavailable("its search_path names no schema that exists");
  out->schema_ = quoted_name(session[0].at<std::string>(0));
  out->session_ = fmt::format("RESET ROLE; SELECT set_config('search_path', {}, false);{}",
                              quoted_text(session[0].at<std::string>(1)), session_limits);
  co_await out->connection_->run_script(out->session_, deadline);
  co_return out;
}

Async<> Migrator::prepare() {
  co_await connection_->run_script(own_tables, soon());
}

namespace {

// What keeps a database from being moved at all.
Result<void> check_known(const DatabaseState& state) {
  if (!state.unknown.empty()) {
    return fail(Code::conflict,
                fmt::format("the database is at revision {}, which this binary does not know. If it belongs to a later "
                            "version of Cognive, use that version. If it belongs to another system, such as the Python "
                            "backend of the same name, its tables are not taken over: give Cognive a database of its "
                            "own and import the data there.",
                            state.unknown.begin()->first));
  }
  if (!state.mismatched.empty()) {
    return fail(
        Code::conflict,
        fmt::format("revision {0} was applied with other content than this binary has: a shipped revision was "
                    "edited. Use the binary that applied it, or put the file back as it was. If nobody else has "
                    "applied it yet, change the tables by hand to what the file now says, and then: cognive "
                    "migrate stamp {1}",
                    fmt::join(state.mismatched, ", "), fmt::join(state.at, " ")));
  }
  return {};
}

// `way`: what is about to be run. Only its first revision may be one that broke off.
Result<void> check_unfinished(const DatabaseState& state, const std::vector<const Revision*>& way, bool up) {
  const auto at = state.at.empty() ? "base" : fmt::format("{}", fmt::join(state.at, " "));
  for (const auto& one : state.unfinished) {
    const bool is_next = !way.empty() && way.front()->id == one.revision && one.up == up;
    if (is_next && way.front()->hash == one.hash) continue;
    const auto rather =
        is_next ? std::string(
                      "its file has been changed since. Put it back, or undo by hand what was "
                      "done")
                : fmt::format("finish it with {}, or undo by hand what was done", one.up ? "upgrade" : "downgrade");
    return fail(Code::conflict, fmt::format("{}: {} and then: cognive migrate stamp {}", one.text(), rather, at));
  }
  return {};
}

std::vector<SqlStatement> statements_of(const Revision& revision, bool up) {
  return up ? split_statements(revision.upgrade, revision.upgrade_line)
            : split_statements(revision.downgrade, revision.downgrade_line);
}

}  // namespace

// Where the statements of this attempt begin.
Async<std::int64_t> Migrator::begin_attempt(const Revision& revision, Direction direction, std::size_t statements) {
  std::int32_t done = 0;
  if (!revision.transaction) {
    const auto unfinished = co_await connection_->execute(unfinished_query, {}, soon());
    for (int i = 0; i < unfinished.size(); ++i) {
      if (unfinished[i].at<std::string>(0) == revision.id) done = unfinished[i].at<std::int32_t>(2);
    }
  }
  const std::string name = direction == Direction::up ? "upgrade" : "downgrade";
  auto params = pg::Params::of(revision.id, name, revision.message, revision.hash, revision.compatible_from,
                               static_cast<std::int32_t>(statements), done);
  const auto begun = co_await connection_->execute(begin_query, std::move(params), soon());
  attempt_ = begun[0].at<std::int64_t>(0);
  co_return done;
}

Async<Result<void>> Migrator::run(const Revision& revision, Direction direction, const RevisionIds& at) {
  co_await connection_->run_script(session_, soon());
  const auto after =
      direction == Direction::up ? History::after_upgrade(at, revision) : history_.after_downgrade(at, revision);
  auto finish = "RESET ROLE;\n" + versions_sql(after, schema_);
  if (revision.transaction) co_return co_await run_together(revision, direction, std::move(finish));
  co_return co_await run_singly(revision, direction, std::move(finish));
}

Async<Result<void>> Migrator::run_together(const Revision& revision, Direction direction, std::string finish) {
  const auto statements = statements_of(revision, direction == Direction::up);
  co_await begin_attempt(revision, direction, statements.size());
  const auto deadline = Deadline::in(revision_timeout);
  const SqlStatement at_the_end{.text = "the end of the transaction", .line = 0};
  const SqlStatement* current = &at_the_end;
  std::optional<pg::SqlError> failure;
  try {
    co_await connection_->run_script("BEGIN", soon());
    for (const auto& statement : statements) {
      current = &statement;
      co_await connection_->run_script(statement.text, deadline);
    }
    current = &at_the_end;
    co_await connection_->run_script(
        fmt::format("{}UPDATE {} SET done = statements, finished_at = clock_timestamp() WHERE id = {};\nCOMMIT", finish,
                    qualified(schema_, log_table), attempt_),
        deadline);
  } catch (const pg::SqlError& error) {
    failure = error;
  }
  if (!failure) co_return Result<void>{};
  co_await connection_->run_script("ROLLBACK", soon());
  co_await connection_->run_script(session_, soon());
  auto error = failure_of(revision, *current, *failure);
  co_await connection_->execute(error_query, pg::Params::of(attempt_, error.detail), soon());
  co_return fail(std::move(error));
}

// A statement that cannot be in a transaction. It may wait for others as long as it takes: an index that is built
// concurrently waits for every older transaction, and keeps nobody out meanwhile.
Async<> Migrator::run_alone(const SqlStatement& statement, Deadline deadline) {
  co_await connection_->run_script("SET lock_timeout = 0", soon());
  if (const auto index = index_built_by(statement.text); !index.empty()) {
    // What a build that broke off left is invalid, in the way and of no use.
    const auto invalid = co_await connection_->execute(invalid_query, pg::Params::of(index), soon());
    if (!invalid.empty()) {
      co_await connection_->run_script(fmt::format("DROP INDEX CONCURRENTLY {}", invalid[0].at<std::string>(0)),
                                       deadline);
    }
  }
  co_await connection_->run_script(statement.text, deadline);
  co_await connection_->run_script("SET lock_timeout = '10s'", soon());
}

// Each statement is committed together with the note that it is done, except for those that cannot be in a transaction.
Async<Result<void>> Migrator::run_singly(const Revision& revision, Direction direction, std::string finish) {
  const auto statements = statements_of(revision, direction == Direction::up);
  auto done = static_cast<std::size_t>(co_await begin_attempt(revision, direction, statements.size()));
  const auto log_name = qualified(schema_, log_table);
  const auto deadline = Deadline::in(revision_timeout);
  for (; done < statements.size(); ++done) {
    const auto& statement = statements[done];
    const auto note = fmt::format("RESET ROLE;\nUPDATE {} SET done = {} WHERE id = {}", log_name, done + 1, attempt_);
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
        co_await run_alone(statement, deadline);
        co_await connection_->run_script(note, soon());
      } catch (const pg::SqlError& error) {
        failure = error;
      }
    }
    if (!failure) continue;
    co_await connection_->run_script(session_, soon());
    auto error = failure_of(revision, statement, *failure);
    co_await connection_->execute(error_query, pg::Params::of(attempt_, error.detail), soon());
    co_return fail(std::move(error));
  }
  co_await connection_->run_script(
      fmt::format("BEGIN;\n{}UPDATE {} SET finished_at = clock_timestamp() WHERE id = {};\nCOMMIT", finish, log_name,
                  attempt_),
      soon());
  co_return Result<void>{};
}

Async<Result<void>> Migrator::run_all(RevisionIds at, const std::vector<const Revision*>& way, Direction direction,
                                      Step step) {
  if (way.empty()) co_return Result<void>{};
  co_await prepare();
  for (const auto* revision : way) {
    step(*revision);
    auto done = co_await run(*revision, direction, at);
    if (!done) co_return done;
    at = direction == Direction::up ? History::after_upgrade(std::move(at), *revision)
                                    : history_.after_downgrade(std::move(at), *revision);
  }
  co_return Result<void>{};
}

Async<Result<void>> Migrator::upgrade(std::string target, Step step) {
  const auto state = co_await read_state(*connection_, history_, soon());
  const bool to_the_end = target == "head" || target == "heads";
  if (to_the_end && !state.unknown.empty() && fit_of(state, history_).usable()) co_return Result<void>{};
  if (auto known = check_known(state); !known) co_return known;
  const auto way = history_.way_up(state.at, target);
  if (!way) co_return std::unexpected(way.error());
  if (auto whole = check_unfinished(state, *way, true); !whole) co_return whole;
  co_return co_await run_all(state.at, *way, Direction::up, std::move(step));
}

Async<Result<void>> Migrator::downgrade(std::string target, Step step) {
  const auto state = co_await read_state(*connection_, history_, soon());
  if (auto known = check_known(state); !known) co_return known;
  const auto way = history_.way_down(state.at, target);
  if (!way) co_return std::unexpected(way.error());
  for (const auto* revision : *way) {
    if (revision->irreversible) {
      co_return fail(Code::conflict, fmt::format("revision {} ({}) has no way back: {} has no `-- downgrade`",
                                                 revision->id, revision->message, revision->file));
    }
  }
  if (auto whole = check_unfinished(state, *way, false); !whole) co_return whole;
  co_return co_await run_all(state.at, *way, Direction::down, std::move(step));
}

Async<Result<RevisionIds>> Migrator::stamp(std::string target, Purge purge) {
  const auto state = co_await read_state(*connection_, history_, soon());
  if (!state.unknown.empty() && purge == Purge::no) {
    auto known = check_known(state);
    known.error().detail += " To forget that revision all the same: stamp --purge.";
    co_return std::unexpected(known.error());
  }
  RevisionIds at;
  if (target == "heads") {
    at = history_.heads();
  } else if (target != "base") {
    const auto revision = history_.resolve(target);
    if (!revision) co_return std::unexpected(revision.error());
    at = {(*revision)->id};
  }
  co_await prepare();
  auto script = fmt::format(
      "BEGIN;\nUPDATE {} SET finished_at = clock_timestamp(), error = coalesce(error, 'given up') "
      "WHERE finished_at IS NULL;\n",
      qualified(schema_, log_table));
  for (const auto& id : history_.applied_at(at)) script += log_row_sql(*history_.find(id), "stamp", schema_);
  co_await connection_->run_script(script + versions_sql(at, schema_) + "COMMIT", soon());
  co_return at;
}

}  // namespace cognive::schema
