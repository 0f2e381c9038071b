#include "schema/migrator.hpp"

#include <charconv>

namespace cognive::schema {
namespace {

// Any fixed number does, as long as every version of the product uses the same.
constexpr std::int64_t lock_key = 0x636F676E697665;  // "cognive"

constexpr pg::Query lock_query{"migration_lock", "SELECT pg_try_advisory_lock($1)"};
constexpr pg::Query version_query{"migration_version", "SELECT version_num FROM alembic_version"};

// One revision may rewrite a large table.
constexpr std::chrono::minutes revision_timeout{60};
constexpr std::chrono::milliseconds lock_retry{100};
constexpr std::chrono::milliseconds no_timeout{0};  // of statements: the deadline of a revision bounds them

std::string quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') out.push_back('\'');
    out.push_back(c);
  }
  return out + "'";
}

// "+2" or "-1"; nothing for anything else.
std::optional<std::size_t> steps(std::string_view target, char sign) {
  if (target.size() < 2 || target.front() != sign) return std::nullopt;
  std::size_t count = 0;
  const auto digits = target.substr(1);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), count);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return count;
}

std::optional<std::size_t> position_of(std::string_view id) {
  const auto& all = revisions();
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].id == id) return i + 1;
  }
  return std::nullopt;
}

}  // namespace

Async<std::unique_ptr<Migrator>> Migrator::open(Executor executor, std::string url, Deadline deadline) {
  auto connection = co_await pg::Connection::open(std::move(executor), std::move(url), no_timeout, deadline);
  // Tried again and again instead of waited for: a waiting lock is a transaction, with which CREATE INDEX CONCURRENTLY
  // of the lock's holder would deadlock.
  for (;;) {
    const auto locked = co_await connection->execute(lock_query, pg::Params::of(lock_key), deadline);
    if (locked[0].at<bool>(0)) break;
    if (deadline.passed()) throw Unavailable("another migration is running on this database");
    co_await sleep_for(lock_retry);
  }
  co_await connection->run_script(
      "SET lock_timeout = '10s'; SET timezone = 'UTC'; SET client_min_messages = warning;"
      "CREATE TABLE IF NOT EXISTS alembic_version ("
      "  version_num varchar(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))",
      deadline);
  co_return std::unique_ptr<Migrator>(new Migrator(std::move(connection)));
}

namespace {

// Position in revisions() + 1; 0 is the empty database.
Result<std::size_t> position_in(const pg::Rows& rows) {
  if (rows.empty()) return 0;
  if (rows.size() > 1) {
    return fail(Code::conflict, "alembic_version holds several revisions; this binary knows one chain only");
  }
  const auto id = rows[0].at<std::string>(0);
  const auto found = position_of(id);
  if (!found) {
    return fail(Code::conflict,
                "the database is at revision " + id +
                    ", which this binary does not know: it belongs to another version or another system");
  }
  return *found;
}

}  // namespace

Async<Result<std::size_t>> Migrator::position() {
  co_return position_in(co_await connection_->execute(version_query, {}, Deadline::in(std::chrono::seconds{10})));
}

Async<Result<std::optional<std::string>>> current_revision(Executor executor, std::string url, Deadline deadline) {
  const auto connection = co_await pg::Connection::open(std::move(executor), std::move(url), no_timeout, deadline);
  pg::Rows rows;
  try {
    rows = co_await connection->execute(version_query, {}, deadline);
  } catch (const pg::SqlError& error) {
    if (error.state() != pg::sqlstate::undefined_table) throw;
  }
  const auto at = position_in(rows);
  if (!at) co_return std::unexpected(at.error());
  if (*at == 0) co_return std::optional<std::string>{};
  co_return std::optional<std::string>{revisions()[*at - 1].id};
}

Async<Result<void>> Migrator::run(const Revision& revision, bool up) {
  const auto& body = up ? revision.upgrade : revision.downgrade;
  std::string record;
  if (up) {
    record = revision.down ? "UPDATE alembic_version SET version_num = " + quoted(revision.id)
                           : "INSERT INTO alembic_version VALUES (" + quoted(revision.id) + ")";
  } else {
    record = revision.down ? "UPDATE alembic_version SET version_num = " + quoted(*revision.down)
                           : std::string("DELETE FROM alembic_version");
  }
  const auto deadline = Deadline::in(revision_timeout);
  try {
    if (revision.transaction) {
      co_await connection_->run_script("BEGIN;\n" + body + ";\n" + record + ";\nCOMMIT", deadline);
    } else {
      co_await connection_->run_script(body, deadline);
      co_await connection_->run_script(std::move(record), deadline);
    }
  } catch (const pg::SqlError& error) {
    co_return fail(Code::conflict, fmt::format("revision {} ({}) failed and changed nothing: {} [{}]", revision.id,
                                               revision.message, error.what(), error.state()));
  }
  co_return Result<void>{};
}

Async<Result<void>> Migrator::upgrade(std::string target, Step step) {
  const auto at = co_await position();
  if (!at) co_return std::unexpected(at.error());
  const auto& all = revisions();
  std::size_t goal = all.size();
  if (target != "head") {
    const auto relative = steps(target, '+');
    const auto named = position_of(target);
    if (!relative && !named)
      co_return fail(Code::not_found, "there is no revision " + target + "; try head, +1 or an id of the history");
    goal = relative ? *at + *relative : *named;
    if (goal > all.size()) co_return fail(Code::not_found, "there are not that many revisions left to upgrade");
  }
  for (std::size_t i = *at; i < goal; ++i) {
    step(all[i]);
    auto done = co_await run(all[i], true);
    if (!done) co_return done;
  }
  co_return Result<void>{};
}

Async<Result<void>> Migrator::downgrade(std::string target, Step step) {
  const auto at = co_await position();
  if (!at) co_return std::unexpected(at.error());
  std::size_t goal = 0;
  if (target != "base") {
    const auto relative = steps(target, '-');
    const auto named = position_of(target);
    if (!relative && !named)
      co_return fail(Code::not_found, "there is no revision " + target + "; try -1, base or an id of the history");
    if (relative && *relative > *at) co_return fail(Code::not_found, "there are not that many revisions to downgrade");
    goal = relative ? *at - *relative : *named;
    if (goal > *at) co_return fail(Code::conflict, "revision " + target + " is above the current one: use upgrade");
  }
  for (std::size_t i = *at; i > goal; --i) {
    step(revisions()[i - 1]);
    auto done = co_await run(revisions()[i - 1], false);
    if (!done) co_return done;
  }
  co_return Result<void>{};
}

}  // namespace cognive::schema
