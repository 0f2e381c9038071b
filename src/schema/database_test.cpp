#include "schema/database_test.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <boost/asio.hpp>
#include <cstdio>
#include <deque>

#include "embedded/binaries.hpp"
#include "schema/comparison.hpp"

namespace cognive::schema {
namespace {

constexpr const char* initial_id = "20260101_0000_0000";

bool drops_columns(const Difference& difference) {
  return std::ranges::find(difference.changes, Phase::drop_columns, &Change::phase) != difference.changes.end();
}

}  // namespace

void TestServer::SetUp() {
  const auto user = embedded::Identity::unprivileged();
  ASSERT_TRUE(user) << user.error().detail;
  root_ = std::filesystem::temp_directory_path() / ("cognive-schema-test-" + std::to_string(getpid()));
  auto opened = embedded::DataDirectory::open(root_, *user);
  ASSERT_TRUE(opened) << opened.error().detail;
  directory_.emplace(std::move(*opened));
  auto started = embedded::Cluster::start(*directory_, {});
  ASSERT_TRUE(started) << started.error().detail;
  cluster_.emplace(std::move(*started));
  // Hundreds of migrations of a database that nobody will miss.
  const auto hurry = [url = cluster_->superuser_url()]() -> Async<> {
    const auto executor = co_await boost::asio::this_coro::executor;
    const auto connection = co_await pg::Connection::open(executor, url, std::chrono::milliseconds{0}, soon());
    co_await connection->run_script("ALTER SYSTEM SET fsync = off", soon());
    co_await connection->run_script("ALTER SYSTEM SET synchronous_commit = off", soon());
    co_await connection->run_script("SELECT pg_reload_conf()", soon());
  };
  run_to_end(hurry());
}

void TestServer::TearDown() {
  cluster_.reset();
  directory_.reset();
  std::filesystem::remove_all(root_);
}

TestServer& test_server() {
  static auto* instance = static_cast<TestServer*>(::testing::AddGlobalTestEnvironment(new TestServer));
  return *instance;
}
[[maybe_unused]] const auto& registered = test_server();

Deadline soon() {
  return Deadline::in(std::chrono::seconds{20});
}

Async<std::unique_ptr<pg::Connection>> connect() {
  const auto executor = co_await boost::asio::this_coro::executor;
  co_return co_await pg::Connection::open(executor, test_server().url(), std::chrono::milliseconds{0}, soon());
}

Async<std::unique_ptr<pg::Connection>> connect_as_superuser() {
  const auto executor = co_await boost::asio::this_coro::executor;
  co_return co_await pg::Connection::open(executor, test_server().superuser_url(), std::chrono::milliseconds{0},
                                          soon());
}

void on_an_empty_database(const std::function<Async<>(pg::Connection&)>& test) {
  const auto body = [&]() -> Async<> {
    const auto connection = co_await connect();
    co_await empty_database(*connection);
    co_await test(*connection);
  };
  run_to_end(body());
}

Async<> run_sql(pg::Connection& connection, std::string sql) {
  co_await connection.run_script(std::move(sql), soon());
}

Async<std::vector<std::string>> ask_sql(pg::Connection& connection, std::string sql) {
  // Names of their own that stay, since a connection knows what it has prepared by them.
  static std::deque<std::string> names;
  names.push_back(fmt::format("ask_{}", names.size()));
  const pg::Query query{names.back().c_str(), sql.c_str()};
  const auto rows = co_await connection.execute(query, {}, soon());
  std::vector<std::string> out;
  for (int i = 0; i < rows.size(); ++i) out.push_back(rows[i].at<std::string>(0));
  co_return out;
}

Async<> empty_database(pg::Connection& connection) {
  co_await run_sql(connection, "SET client_min_messages = warning; DROP SCHEMA public CASCADE; CREATE SCHEMA public");
}

Async<Catalogue> catalogue_of(pg::Connection& connection) {
  co_await run_sql(connection, "BEGIN; SET LOCAL search_path = public");
  auto out = co_await read_catalogue(connection, "public", soon());
  co_await run_sql(connection, "ROLLBACK");
  co_return out;
}

Async<Difference> difference_of(pg::Connection& connection, const Model& model) {
  auto found = co_await compare_with(connection, model, soon());
  if (!found) throw std::runtime_error(found.error().detail);
  co_return std::move(*found);
}

Revision as_file(Revision revision) {
  return *parse_revision(revision_file_name(revision), revision_text(revision));
}

Revision first_revision() {
  return as_file({.id = initial_id, .down = {}, .message = "initial"});
}

Revision revision(std::string id, std::vector<std::string> down, std::string upgrade, std::string downgrade,
                  bool transaction) {
  return as_file({.id = std::move(id),
                  .down = std::move(down),
                  .message = "m",
                  .transaction = transaction,
                  .upgrade = std::move(upgrade),
                  .downgrade = std::move(downgrade)});
}

History history_of(std::vector<Revision> revisions) {
  return *History::of(std::move(revisions));
}

History history_of(const Difference& difference, Review review) {
  std::vector<Revision> out{first_revision()};
  for (auto& one : revisions_for(difference, {initial_id}, "m")) {
    if (review == Review::done) {
      one.upgrade = without_comment_marks(one.upgrade);
      one.downgrade = without_comment_marks(one.downgrade);
    }
    out.push_back(as_file(std::move(one)));
  }
  return history_of(std::move(out));
}

Async<std::unique_ptr<Migrator>> open(const History& history) {
  const auto executor = co_await boost::asio::this_coro::executor;
  co_return co_await Migrator::open(executor, test_server().url(), history, soon());
}

Async<std::string> upgrade(const History& history, std::string target) {
  const auto migrator = co_await open(history);
  const auto done = co_await migrator->upgrade(std::move(target), [](const Revision&) {});
  co_return done ? "" : done.error().detail;
}

Async<std::string> downgrade(const History& history, std::string target) {
  const auto migrator = co_await open(history);
  const auto done = co_await migrator->downgrade(std::move(target), [](const Revision&) {});
  co_return done ? "" : done.error().detail;
}

Async<> stamp_at_first(const History& history) {
  const auto migrator = co_await open(history);
  if (const auto done = co_await migrator->stamp(initial_id, Migrator::Purge::yes); !done)
    throw std::runtime_error(done.error().detail);
}

Async<std::vector<std::string>> versions_in(pg::Connection& connection) {
  return ask_sql(connection, "SELECT version_num::text FROM alembic_version ORDER BY 1");
}

Async<std::vector<std::string>> tables_in(pg::Connection& connection) {
  return ask_sql(connection,
                 "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE 'alembic%' "
                 "ORDER BY 1");
}

bool mentions(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

Async<std::string> refusal_of(pg::Connection& connection, std::string sql) {
  try {
    co_await run_sql(connection, std::move(sql));
  } catch (const pg::SqlError& error) {
    co_return std::string(error.state());
  }
  co_return "";
}

std::string dumped() {
  const auto user = embedded::Identity::unprivileged();
  const auto binaries = embedded::find_binaries(*user, std::nullopt);
  const auto command = fmt::format("'{}' --schema-only --exclude-table='alembic_*' --dbname='{}'",
                                   binaries->program("pg_dump"), test_server().url());
  std::string out;
  std::FILE* const pipe = popen(command.c_str(), "r");
  std::array<char, 4096> part{};
  while (std::fgets(part.data(), part.size(), pipe) != nullptr) {
    const std::string_view line(part.data());
    // Every dump has a random word of its own.
    if (!line.starts_with("\\restrict") && !line.starts_with("\\unrestrict")) out += line;
  }
  if (pclose(pipe) != 0) throw std::runtime_error("pg_dump failed");
  return out;
}

std::string without_comment_marks(std::string_view sql) {
  constexpr std::string_view mark = "-- ";
  std::string out;
  while (!sql.empty()) {
    const auto end = sql.find('\n');
    auto line = sql.substr(0, end);
    sql = end == std::string_view::npos ? std::string_view{} : sql.substr(end + 1);
    const bool remark = line.starts_with("-- REVIEW:") || line.starts_with("-- WARNING:");
    if (line.starts_with(mark) && !remark) line.remove_prefix(mark.size());
    out.append(line).push_back('\n');
  }
  return out;
}

Catalogue without_column_order(Catalogue catalogue) {
  for (auto& [name, table] : catalogue.tables) std::ranges::sort(table.columns, {}, &ColumnState::name);
  return catalogue;
}

std::string text_of(const Difference& difference) {
  std::string out;
  for (const auto& change : difference.changes) {
    out += fmt::format("[{} {} {}{}]\n{}--\n{}", static_cast<int>(change.stage), static_cast<int>(change.phase),
                       change.object, change.review ? " REVIEW" : "", change.up, change.down);
  }
  for (const auto& refusal : difference.refusals) out += "refused: " + refusal + "\n";
  for (const auto& skip : difference.skips) out += "skipped: " + skip + "\n";
  return out;
}

std::string text_of(const Catalogue& catalogue) {
  std::string out;
  for (const auto& [name, state] : catalogue.enums)
    out += fmt::format("enum {} {} '{}'\n", name, fmt::join(state.values, "|"), state.comment);
  for (const auto& [name, table] : catalogue.tables) {
    out += fmt::format("table {} '{}' {}\n", name, table.comment, table.partition_key);
    for (const auto& column : table.columns) out += "  " + column_definition(column) + " '" + column.comment + "'\n";
    for (const auto& [constraint, state] : table.constraints)
      out += fmt::format("  {} {}{}\n", constraint, state.definition, state.validated ? "" : " (not validated)");
    for (const auto& [index, state] : table.indexes)
      out += fmt::format("  {} '{}'{}\n", state.definition, state.comment, state.valid ? "" : " (invalid)");
  }
  return out;
}

Async<std::string> round_trip(pg::Connection& connection, const Model& model, Difference& difference) {
  const auto before = co_await catalogue_of(connection);
  difference = co_await difference_of(connection, model);
  const auto explained = [&](std::string_view what) {
    return fmt::format("{}\n{}\nbefore:\n{}", what, text_of(difference), text_of(before));
  };
  if (!difference.refusals.empty()) co_return "";
  const auto history = history_of(difference);
  const auto head = *history.heads().begin();
  const auto executor = co_await boost::asio::this_coro::executor;
  const auto migrator = co_await Migrator::open(executor, test_server().url(), history, soon());
  const auto silent = [](const Revision&) {};
  // What was generated for the model before is the past; the next difference begins anew.
  if (!co_await migrator->stamp(initial_id, Migrator::Purge::yes)) co_return explained("cannot be stamped");
  const auto there = co_await migrator->upgrade(head, silent);
  if (!there) co_return explained("the way up: " + there.error().detail);
  const auto left = co_await difference_of(connection, model);
  if (!left.empty()) co_return explained("is left afterwards:\n" + text_of(left) + "of:");
  const auto after = co_await catalogue_of(connection);

  const auto back = co_await migrator->downgrade(initial_id, silent);
  if (!back) co_return explained("the way back: " + back.error().detail);
  auto returned = co_await catalogue_of(connection);
  const bool in_order = !drops_columns(difference);
  bool same = in_order ? returned == before : without_column_order(returned) == without_column_order(before);
  if (!same) {
    auto wording = co_await settled(connection, before, "public", soon());
    same = in_order ? returned == wording : without_column_order(returned) == without_column_order(wording);
  }
  if (!same) co_return explained("the way back leads elsewhere:\n" + text_of(returned) + "by:");
  const auto repeated = co_await migrator->upgrade(head, silent);
  if (!repeated) co_return explained("the way up, again: " + repeated.error().detail);
  if (without_column_order(co_await catalogue_of(connection)) != without_column_order(after) &&
      without_column_order(co_await catalogue_of(connection)) !=
          without_column_order(co_await settled(connection, after, "public", soon())))
    co_return explained("the second way up leads elsewhere");
  co_return "";
}

Trip travel(const Model& from, const Model& to, const std::string& between) {
  Trip out;
  const auto body = [&]() -> Async<> {
    const auto connection = co_await connect();
    co_await empty_database(*connection);
    co_await run_sql(*connection, create_statements(from) + between);
    const auto unlike = co_await difference_of(*connection, from);
    if (!unlike.empty() || !unlike.skips.empty()) {
      out.fault = "a database that was just made differs from its model:\n" + text_of(unlike);
      co_return;
    }
    const auto at_first = co_await difference_of(*connection, to);
    out.fault = co_await round_trip(*connection, to, out.difference);
    if (text_of(at_first) != text_of(out.difference))
      out.fault += "\nfound something else at first:\n" + text_of(at_first);
  };
  try {
    run_to_end(body());
  } catch (const std::exception& error) {
    out.fault += fmt::format("{}\n{}", error.what(), text_of(out.difference));
  }
  return out;
}

}  // namespace cognive::schema
