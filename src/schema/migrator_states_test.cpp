// The migrator beside others: locks and waiting, revisions that change their session, half applied ones, stamps, and
// databases that another version made.
#include <fmt/format.h>

#include <boost/asio.hpp>
#include <cstdlib>
#include <set>

#include "schema/database_test.hpp"
#include "schema/migrator.hpp"

namespace cognive::schema {
namespace {

using Strings = std::vector<std::string>;

constexpr std::chrono::milliseconds poll_interval{5};

// The waits of these take longer than anybody has patience for: ./test --long.
bool is_long_run() {
  const char* text = std::getenv("COGNIVE_LONG");  // NOLINT(concurrency-mt-unsafe)
  return text != nullptr && std::string_view(text) == "1";
}

// Waits until a query has a row; gives its first column.
Async<std::string> wait_for(pg::Connection& connection, std::string query, Deadline deadline = soon()) {
  for (;;) {
    const auto rows = co_await ask_sql(connection, query);
    if (!rows.empty()) co_return rows.front();
    if (deadline.remaining() <= poll_interval) throw std::runtime_error("never came: " + query);
    co_await sleep_for(poll_interval);
  }
}

std::string running(std::string_view statement) {
  return fmt::format(
      "SELECT pid::text FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() AND query LIKE '{}%'",
      statement);
}

// An upgrade beside the test.
struct Outcome {
  bool ended = false;
  std::string said;
};
Async<> upgrade_beside(const History& history, Outcome& outcome) {
  outcome.said = co_await upgrade(history);
  outcome.ended = true;
}

void fail_the_test(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& one) {
    ADD_FAILURE() << one.what();
  }
}

// Locks.

TEST(SecondMigrator, waits_while_the_first_builds_an_index_and_does_not_hold_it_up) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    co_await run_sql(connection, "CREATE TABLE t (x int); INSERT INTO t VALUES (1)");
    const auto history = history_of(
        {revision("a", {}, "CREATE INDEX CONCURRENTLY t_x_idx ON t (x);\n", "DROP INDEX t_x_idx;\n", false)});
    // The build waits for this transaction, for as long as the test wants.
    const auto holder = co_await connect();
    co_await run_sql(*holder, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM t");

    const auto executor = co_await boost::asio::this_coro::executor;
    TaskGroup group(executor, fail_the_test);
    Outcome first;
    group.spawn(upgrade_beside(history, first));
    co_await wait_for(connection, running("CREATE INDEX CONCURRENTLY"));

    int told = 0;
    Outcome second;
    const auto next = [&]() -> Async<> {
      const auto migrator = co_await Migrator::open(executor, test_server().url(), history, soon(), [&] { ++told; });
      EXPECT_TRUE(first.ended) << "both were in at once";
      const auto done = co_await migrator->upgrade("head", [&](const Revision&) { second.said = "ran again"; });
      if (!done) second.said = done.error().detail;
      second.ended = true;
    };
    group.spawn(next());
    // It asks again and again, outside of any transaction, and says so once.
    std::set<std::string> asked;
    while (asked.size() < 4) {
      asked.insert(co_await wait_for(connection,
                                     "SELECT query_start::text FROM pg_stat_activity WHERE query LIKE "
                                     "'SELECT pg_try_advisory_lock%' AND state = 'idle' AND xact_start IS NULL AND "
                                     "query_start > now() - interval '1 s'"));
    }
    EXPECT_EQ(told, 1);
    EXPECT_FALSE(first.ended || second.ended);

    co_await run_sql(*holder, "COMMIT");
    EXPECT_TRUE(co_await group.join(soon()));
    EXPECT_EQ(first.said, "");
    EXPECT_EQ(second.said, "");
    EXPECT_EQ(told, 1);
    EXPECT_EQ(co_await versions_in(connection), Strings{"a"});
    EXPECT_EQ(
        co_await ask_sql(connection, "SELECT indisvalid::text FROM pg_index WHERE indexrelid = 't_x_idx'::regclass"),
        Strings{"true"});
  });
}

TEST(LockOfATable, that_somebody_holds_for_long_makes_an_ordinary_change_give_up) {
  if (!is_long_run()) GTEST_SKIP() << "takes 10 s: COGNIVE_LONG=1";
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    co_await run_sql(connection, "CREATE TABLE t (x int)");
    const auto holder = co_await connect();
    for (const bool transaction : {true, false}) {
      const auto history = history_of(
          {revision("a", {}, "CREATE TABLE u (x int);\nALTER TABLE t ADD COLUMN y int;\n", "", transaction)});
      co_await run_sql(*holder, "BEGIN; SELECT * FROM t");
      const auto said = co_await upgrade(history);
      EXPECT_TRUE(mentions(said, "[55P03]") && mentions(said, "somebody held a lock for 10 s")) << said;
      EXPECT_TRUE(mentions(said, "ALTER TABLE t ADD COLUMN y int")) << said;
      EXPECT_EQ(co_await tables_in(connection), transaction ? Strings{"t"} : (Strings{"t", "u"}));
      co_await run_sql(*holder, "COMMIT");
      EXPECT_EQ(co_await upgrade(history), "");
      co_await empty_database(connection);
      co_await run_sql(connection, "CREATE TABLE t (x int)");
    }
  });
}

TEST(LongTransaction, is_waited_for_by_an_index_that_is_built_concurrently) {
  if (!is_long_run()) GTEST_SKIP() << "takes 11 s: COGNIVE_LONG=1";
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    co_await run_sql(connection, "CREATE TABLE t (x int); INSERT INTO t VALUES (1)");
    const auto history = history_of({revision("a", {},
                                              "DROP INDEX CONCURRENTLY IF EXISTS t_x_idx;\n"
                                              "CREATE INDEX CONCURRENTLY t_x_idx ON t (x);\n"
                                              "SELECT set_config('test.limit', current_setting('lock_timeout'), "
                                              "false);\n",
                                              "", false)});
    const auto holder = co_await connect();
    co_await run_sql(*holder, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM t");
    const auto executor = co_await boost::asio::this_coro::executor;
    TaskGroup group(executor, fail_the_test);
    Outcome outcome;
    group.spawn(upgrade_beside(history, outcome));
    const auto begun = co_await wait_for(connection, running("CREATE INDEX CONCURRENTLY"));
    co_await wait_for(connection, running("CREATE INDEX CONCURRENTLY") + " AND query_start < now() - interval '11 s'");
    EXPECT_FALSE(outcome.ended) << outcome.said;
    // Nobody is kept out meanwhile.
    co_await run_sql(connection, "INSERT INTO t VALUES (2); SELECT * FROM t");
    co_await run_sql(*holder, "COMMIT");
    EXPECT_TRUE(co_await group.join(soon()));
    EXPECT_EQ(outcome.said, "") << begun;
    EXPECT_EQ(
        co_await ask_sql(connection, "SELECT indisvalid::text FROM pg_index WHERE indexrelid = 't_x_idx'::regclass"),
        Strings{"true"});
  });
}

// Sessions.

void expect_undisturbed(const std::string& setting, bool transaction) {
  on_an_empty_database([&](pg::Connection& connection) -> Async<> {
    const auto superuser = co_await connect_as_superuser();
    co_await run_sql(
        *superuser,
        "DROP SCHEMA IF EXISTS elsewhere CASCADE; DO $$ BEGIN CREATE ROLE somebody NOLOGIN; EXCEPTION "
        "WHEN duplicate_object THEN NULL; END $$; CREATE SCHEMA elsewhere; GRANT ALL ON SCHEMA elsewhere TO "
        "somebody, cognive; GRANT somebody TO cognive");
    const auto history =
        history_of({revision("a", {}, setting + ";\nCREATE TABLE elsewhere.a (x int);\n",
                             setting + ";\nDROP TABLE elsewhere.a;\n", transaction),
                    revision("b", {"a"}, "CREATE TABLE b AS SELECT current_user::text AS who;\n", "DROP TABLE b;\n")});
    EXPECT_EQ(co_await upgrade(history), "") << setting;
    EXPECT_EQ(co_await versions_in(connection), Strings{"b"}) << setting;
    EXPECT_EQ(co_await tables_in(connection), Strings{"b"}) << setting;
    if ((co_await tables_in(connection)) != Strings{"b"}) co_return;
    EXPECT_EQ(co_await ask_sql(connection, "SELECT who FROM b"), Strings{"cognive"}) << setting;
    EXPECT_EQ(co_await ask_sql(connection,
                               "SELECT count(*)::text FROM alembic_revision_log WHERE error IS NULL AND "
                               "finished_at IS NOT NULL"),
              Strings{"2"});
    EXPECT_EQ(co_await downgrade(history, "base"), "") << setting;
    EXPECT_EQ(co_await versions_in(connection), Strings{}) << setting;
    EXPECT_EQ(co_await tables_in(connection), Strings{}) << setting;
    co_await run_sql(*superuser, "DROP SCHEMA elsewhere CASCADE");
  });
}

TEST(Revision, that_sets_the_search_path_disturbs_neither_its_end_nor_the_next_one) {
  for (const bool transaction : {true, false}) {
    expect_undisturbed("SET search_path = elsewhere", transaction);
    expect_undisturbed("SELECT set_config('search_path', '', false)", transaction);
  }
}

TEST(Revision, that_sets_a_role_disturbs_neither_its_end_nor_the_next_one) {
  for (const bool transaction : {true, false}) expect_undisturbed("SET ROLE somebody", transaction);
}

TEST(Revision, that_sets_limits_disturbs_neither_its_end_nor_the_next_one) {
  expect_undisturbed("SET timezone = 'Asia/Kolkata'; SET statement_timeout = '55s'; SET lock_timeout = 0", true);
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    const auto history = history_of(
        {revision("a", {}, "SET timezone = 'Asia/Kolkata'; SET statement_timeout = '55s'; SET lock_timeout = 0;\n"),
         revision("b", {"a"},
                  "CREATE TABLE seen AS SELECT name, setting FROM pg_settings WHERE name IN ('TimeZone', "
                  "'statement_timeout', 'lock_timeout');\n")});
    EXPECT_EQ(co_await upgrade(history), "");
    EXPECT_EQ(co_await ask_sql(connection, "SELECT name || ' ' || setting FROM seen ORDER BY lower(name)"),
              (Strings{"lock_timeout 10000", "statement_timeout 3600000", "TimeZone UTC"}));
  });
}

// Half applied.

History with_steps(const std::string& second) {
  return history_of({revision("a", {}, "CREATE TABLE a (x int);\n", "DROP TABLE a;\n"),
                     revision("b", {"a"}, "CREATE TABLE steps (n int);\n" + second, "DROP TABLE steps;\n", false),
                     revision("c", {"b"}, "CREATE TABLE c (x int);\n", "DROP TABLE c;\n")});
}

constexpr const char* second_step = "INSERT INTO steps SELECT 1 / count(*) FROM blocker;\n";

TEST(HalfAppliedRevision, is_told_keeps_everybody_from_going_back_and_is_resumed) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    co_await run_sql(connection, "CREATE TABLE blocker (x int)");
    const auto history = with_steps(second_step);
    EXPECT_TRUE(mentions(co_await upgrade(history), "[22012]"));
    const auto state = co_await read_state(connection, history, soon());
    EXPECT_EQ(state.at, RevisionIds{"a"});
    EXPECT_EQ(state.unfinished.size(), 1);
    if (state.unfinished.size() == 1) {
      EXPECT_EQ(state.unfinished[0].text(), "revision b is half applied (1 of 2 statements)");
      EXPECT_EQ(state.unfinished[0].hash, history.find("b")->hash);
    }
    for (const std::string target : {"base", "-1"}) {
      const auto said = co_await downgrade(history, target);
      EXPECT_TRUE(mentions(said, "revision b is half applied (1 of 2 statements): finish it with upgrade")) << said;
      EXPECT_TRUE(mentions(said, "cognive migrate stamp a")) << said;
    }
    EXPECT_EQ(co_await versions_in(connection), Strings{"a"});
    EXPECT_EQ(co_await tables_in(connection), (Strings{"a", "blocker", "steps"}));
    co_await run_sql(connection, "INSERT INTO blocker VALUES (1)");
    EXPECT_EQ(co_await upgrade(history), "");
    EXPECT_EQ(co_await ask_sql(connection, "SELECT n::text FROM steps"), Strings{"1"});
    EXPECT_TRUE((co_await read_state(connection, history, soon())).unfinished.empty());
    EXPECT_EQ(co_await downgrade(history, "base"), "");
  });
}

TEST(HalfAppliedRevision, of_a_changed_file_is_not_gone_on_with_until_it_is_given_up) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    co_await run_sql(connection, "CREATE TABLE blocker (x int)");
    EXPECT_NE(co_await upgrade(with_steps(second_step)), "");
    const auto changed = with_steps("INSERT INTO steps VALUES (7);\n");
    const auto said = co_await upgrade(changed);
    EXPECT_TRUE(mentions(said, "half applied (1 of 2 statements): its file has been changed since. Put it back"))
        << said;
    EXPECT_TRUE(mentions(said, "cognive migrate stamp a")) << said;
    EXPECT_EQ(co_await ask_sql(connection, "SELECT n::text FROM steps"), Strings{});
    // By hand, as it says.
    co_await run_sql(connection, "DROP TABLE steps");
    {
      const auto migrator = co_await open(changed);
      EXPECT_TRUE(co_await migrator->stamp("a", Migrator::Purge::no));
    }
    EXPECT_TRUE((co_await read_state(connection, changed, soon())).unfinished.empty());
    EXPECT_EQ(co_await upgrade(changed), "");
    EXPECT_EQ(co_await ask_sql(connection, "SELECT n::text FROM steps"), Strings{"7"});
    EXPECT_EQ(co_await versions_in(connection), Strings{"c"});
  });
}

TEST(HalfTakenBackRevision, is_told_and_finished_by_going_on_back) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    co_await run_sql(connection, "CREATE TABLE blocker (x int)");
    const auto history = history_of({revision("a", {}, "CREATE TABLE a (x int);\nCREATE TABLE b (x int);\n",
                                              "DROP TABLE b;\nINSERT INTO a SELECT 1 / count(*) FROM blocker;\nDROP "
                                              "TABLE a;\n",
                                              false),
                                     revision("b", {"a"}, "CREATE TABLE c (x int);\n", "DROP TABLE c;\n")});
    EXPECT_EQ(co_await upgrade(history, "a"), "");
    EXPECT_TRUE(mentions(co_await downgrade(history, "base"), "[22012]"));
    const auto state = co_await read_state(connection, history, soon());
    EXPECT_EQ(state.at, RevisionIds{"a"});
    EXPECT_EQ(state.unfinished.size(), 1);
    if (state.unfinished.size() == 1) {
      EXPECT_EQ(state.unfinished[0].text(), "revision a is half taken back (1 of 3 statements)");
    }
    const auto said = co_await upgrade(history);
    EXPECT_TRUE(mentions(said, "finish it with downgrade")) << said;
    EXPECT_EQ(co_await tables_in(connection), (Strings{"a", "blocker"}));
    co_await run_sql(connection, "INSERT INTO blocker VALUES (1)");
    EXPECT_EQ(co_await downgrade(history, "base"), "");
    EXPECT_EQ(co_await tables_in(connection), Strings{"blocker"});
    EXPECT_EQ(co_await upgrade(history), "");
  });
}

// Stamps.

Async<std::string> stamp(const History& history, std::string target, Migrator::Purge purge = Migrator::Purge::no) {
  const auto migrator = co_await open(history);
  const auto done = co_await migrator->stamp(std::move(target), purge);
  co_return done ? "" : done.error().detail;
}

constexpr const char* foreign_database =
    "CREATE TABLE alembic_version (version_num varchar(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY "
    "(version_num)); INSERT INTO alembic_version VALUES ('ae1027a6acf')";

TEST(Stamp, on_an_unknown_revision_is_refused_unless_it_is_to_be_forgotten) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    co_await run_sql(connection, foreign_database);
    const auto before = dumped();
    const auto history = history_of({revision("a", {}, "CREATE TABLE a (x int);\n")});
    for (const std::string target : {"head", "base", "a"}) {
      const auto said = co_await stamp(history, target);
      EXPECT_TRUE(mentions(said, "ae1027a6acf") && mentions(said, "stamp --purge")) << said;
    }
    EXPECT_EQ(co_await versions_in(connection), Strings{"ae1027a6acf"});
    EXPECT_EQ(co_await ask_sql(connection,
                               "SELECT to_regclass('alembic_revision_log')::text WHERE "
                               "to_regclass('alembic_revision_log') IS NOT NULL"),
              Strings{});
    EXPECT_EQ(dumped(), before);
    EXPECT_EQ(co_await stamp(history, "a", Migrator::Purge::yes), "");
    EXPECT_EQ(co_await versions_in(connection), Strings{"a"});
  });
}

TEST(Stamp, accepts_what_the_files_say_now) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    const auto with = [](const std::string& first) {
      return history_of({revision("a", {}, first), revision("b", {"a"}, "CREATE TABLE b (x int);\n")});
    };
    EXPECT_EQ(co_await upgrade(with("CREATE TABLE a (x int);\n"), "a"), "");
    const auto edited = with("CREATE TABLE a (x bigint);\n");
    const auto said = co_await upgrade(edited);
    EXPECT_TRUE(mentions(said, "other content") && mentions(said, "cognive migrate stamp a")) << said;
    EXPECT_EQ(co_await stamp(edited, "a"), "");
    EXPECT_TRUE((co_await read_state(connection, edited, soon())).mismatched.empty());
    EXPECT_EQ(co_await ask_sql(connection, "SELECT hash FROM alembic_revision_log ORDER BY id DESC LIMIT 1"),
              Strings{edited.find("a")->hash});
    EXPECT_EQ(co_await upgrade(edited), "");
    // Who has the old files now is the one who differs.
    EXPECT_TRUE(mentions(co_await upgrade(with("CREATE TABLE a (x int);\n")), "other content"));
  });
}

TEST(ForeignDatabase, gets_no_table_from_a_refusal) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    co_await run_sql(connection, std::string(foreign_database) + "; CREATE TABLE agents (x int)");
    const auto before = dumped();
    const auto history = history_of({revision("a", {}, "CREATE TABLE t (x int);\n", "DROP TABLE t;\n")});
    for (const std::string target : {"head", "heads", "a", "+1"}) EXPECT_NE(co_await upgrade(history, target), "");
    for (const std::string target : {"base", "-1"}) EXPECT_NE(co_await downgrade(history, target), "");
    EXPECT_EQ(dumped(), before);
    EXPECT_EQ(
        co_await ask_sql(connection, "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"),
        (Strings{"agents", "alembic_version"}));
  });
}

TEST(EmptyDatabase, gets_no_table_from_a_refusal) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    const auto history = history_of({revision("a", {}, "CREATE TABLE t (x int);\n", "DROP TABLE t;\n")});
    EXPECT_NE(co_await upgrade(history, "nonsense"), "");
    EXPECT_NE(co_await upgrade(history, "+2"), "");
    EXPECT_NE(co_await downgrade(history, "-1"), "");
    EXPECT_NE(co_await stamp(history, "nonsense"), "");
    EXPECT_EQ(co_await ask_sql(connection, "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'"),
              Strings{});
  });
}

// Other versions.

Revision compatible(std::string id, std::string down, std::string from) {
  return as_file({.id = std::move(id),
                  .down = {std::move(down)},
                  .message = "m",
                  .compatible_from = std::move(from),
                  .upgrade = "SELECT 1;\n"});
}

TEST(Fit, of_a_compatible_database_that_lacks_our_own_head_is_none) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    const auto base = revision("a", {}, "SELECT 1;\n");
    const auto ours = history_of({base, revision("b", {"a"}, "CREATE TABLE b (x int);\n")});
    const auto theirs = history_of({base, compatible("c", "a", "a")});
    EXPECT_EQ(co_await upgrade(theirs), "");
    const auto fit = fit_of(co_await read_state(connection, ours, soon()), ours);
    EXPECT_EQ(fit.kind, Fit::Kind::incompatible);
    EXPECT_FALSE(fit.usable());
    EXPECT_TRUE(mentions(fit.detail, "lacks revision b") && mentions(fit.detail, "branches")) << fit.detail;
    EXPECT_TRUE(mentions(co_await upgrade(ours, "head"), "does not know"));
    EXPECT_EQ(co_await versions_in(connection), Strings{"c"});
    EXPECT_EQ(co_await tables_in(connection), Strings{});
    // Who knows nothing but what both have can work with it.
    const auto old = history_of({base});
    EXPECT_EQ(fit_of(co_await read_state(connection, old, soon()), old).kind, Fit::Kind::newer);
  });
}

TEST(Upgrade, of_a_later_compatible_database_to_our_head_does_nothing) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    const auto a = revision("a", {}, "SELECT 1;\n", "SELECT 1;\n");
    const auto b = revision("b", {"a"}, "SELECT 1;\n", "SELECT 1;\n");
    const auto ours = history_of({a, b});
    EXPECT_EQ(co_await upgrade(history_of({a, b, compatible("c", "b", "b"), compatible("d", "c", "a")})), "");
    const auto log = "SELECT count(*)::text FROM alembic_revision_log";
    const auto attempts = co_await ask_sql(connection, log);
    for (const std::string target : {"head", "heads"}) EXPECT_EQ(co_await upgrade(ours, target), "");
    EXPECT_EQ(co_await versions_in(connection), Strings{"d"});
    EXPECT_EQ(co_await ask_sql(connection, log), attempts);
    // Everything else would be about revisions that nobody here knows.
    for (const std::string target : {"+1", "b"}) EXPECT_TRUE(mentions(co_await upgrade(ours, target), "does not know"));
    EXPECT_TRUE(mentions(co_await downgrade(ours, "-1"), "does not know"));
    // Too old for it.
    const auto older = history_of({revision("z", {}, "SELECT 1;\n")});
    EXPECT_TRUE(mentions(co_await upgrade(older), "does not know"));
    EXPECT_EQ(co_await versions_in(connection), Strings{"d"});
  });
}

TEST(Fit, of_a_later_database_is_decided_by_the_whole_way_to_it) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    const auto a = revision("a", {}, "SELECT 1;\n");
    const auto ours = history_of({a});
    // c is content with what b made; b is not content with us.
    EXPECT_EQ(co_await upgrade(history_of({a, revision("b", {"a"}, "SELECT 1;\n"), compatible("c", "b", "b")})), "");
    EXPECT_EQ(fit_of(co_await read_state(connection, ours, soon()), ours).kind, Fit::Kind::incompatible);
  });
}

}  // namespace
}  // namespace cognive::schema
