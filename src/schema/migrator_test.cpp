// The migrator against a real database: what is left when a revision fails, breaks off or was edited, and what a binary
// thinks of a database that another one made.
#include "schema/migrator.hpp"

#include <fmt/format.h>

#include <boost/asio.hpp>

#include "schema/database_test.hpp"

namespace cognive::schema {
namespace {

using Strings = std::vector<std::string>;

TEST(FailedRevision, in_a_transaction_changes_nothing_and_names_its_line) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    const auto history = history_of({revision("a", {}, "CREATE TABLE first (x int);\n"),
                                     revision("b", {"a"},
                                              "CREATE TABLE second (x int);\n"
                                              "-- why; not\n"
                                              "INSERT INTO second\n  VALUES (1 / 0);\n"
                                              "CREATE TABLE third (x int);\n",
                                              "DROP TABLE second;\nDROP TABLE missing;\n"),
                                     revision("c", {"b"}, "CREATE TABLE fourth (x int);\n")});
    const auto said = co_await upgrade(history);
    // Five lines of header come before.
    EXPECT_TRUE(mentions(said, "revision b (m) failed at line 8 of b_m.sql and changed nothing")) << said;
    EXPECT_TRUE(mentions(said, "division by zero [22012]") && mentions(said, "INSERT INTO second")) << said;
    EXPECT_EQ(co_await versions_in(connection), Strings{"a"});
    EXPECT_EQ(co_await tables_in(connection), Strings{"first"});
    EXPECT_EQ(co_await ask_sql(connection,
                               "SELECT revision || ' ' || (finished_at IS NULL)::text || ' ' || error "
                               "FROM alembic_revision_log WHERE error IS NOT NULL"),
              Strings{"b true " + said});

    // Once what stood in its way is gone, it simply runs; its way back fails the same way.
    const auto mended = history_of(
        {revision("a", {}, "CREATE TABLE first (x int);\n"),
         revision("b", {"a"}, "CREATE TABLE second (x int);\n", "DROP TABLE second;\nDROP TABLE missing;\n")});
    EXPECT_EQ(co_await upgrade(mended), "");
    const auto back = co_await downgrade(mended, "-1");
    EXPECT_TRUE(mentions(back, "failed at line 9 of b_m.sql and changed nothing")) << back;
    EXPECT_EQ(co_await versions_in(connection), Strings{"b"});
    EXPECT_EQ(co_await tables_in(connection), (Strings{"first", "second"}));
  });
}

TEST(FailedRevision, that_fails_at_its_commit_changes_nothing) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    const auto history =
        history_of({revision("a", {},
                             "CREATE TABLE t (x int PRIMARY KEY, y int REFERENCES t DEFERRABLE INITIALLY DEFERRED);\n"
                             "INSERT INTO t VALUES (1, 2);\n")});
    const auto said = co_await upgrade(history);
    EXPECT_TRUE(mentions(said, "revision a (m) failed") && mentions(said, "23503")) << said;
    EXPECT_EQ(co_await versions_in(connection), Strings{});
    EXPECT_EQ(co_await tables_in(connection), Strings{});
  });
}

TEST(FailedRevision, without_a_transaction_goes_on_behind_its_last_finished_statement) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    co_await run_sql(connection, "CREATE TABLE blocker (x int)");
    const auto history = history_of({revision("a", {},
                                              "CREATE TABLE steps (n int);\n"
                                              "INSERT INTO steps VALUES (1);\n"
                                              "INSERT INTO steps SELECT 1 + 1 / count(*) FROM blocker;\n"
                                              "INSERT INTO steps VALUES (3);\n",
                                              "DROP TABLE steps;\n", false)});
    for (int i = 0; i < 2; ++i) {
      const auto said = co_await upgrade(history);
      EXPECT_TRUE(
          mentions(said, "failed at line 8 of a_m.sql and keeps what was done before: run it again to go on there"))
          << said;
      EXPECT_EQ(co_await versions_in(connection), Strings{});
      EXPECT_EQ(co_await ask_sql(connection, "SELECT n::text FROM steps"), Strings{"1"});
    }
    co_await run_sql(connection, "INSERT INTO blocker VALUES (1)");
    EXPECT_EQ(co_await upgrade(history), "");
    EXPECT_EQ(co_await ask_sql(connection, "SELECT n::text FROM steps"), (Strings{"1", "2", "3"}));
    EXPECT_EQ(co_await versions_in(connection), Strings{"a"});
    EXPECT_EQ(co_await downgrade(history, "base"), "");
    EXPECT_EQ(co_await upgrade(history), "") << "a finished attempt is not resumed";
    EXPECT_EQ(co_await ask_sql(connection, "SELECT n::text FROM steps"), (Strings{"1", "2", "3"}));
  });
}

TEST(FailedRevision, that_was_edited_since_waits_for_a_person) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    const auto with = [](std::string last) {
      return history_of({revision("a", {}, "CREATE TABLE IF NOT EXISTS steps (n int);\n" + last, "", false)});
    };
    EXPECT_NE(co_await upgrade(with("SELECT 1 / 0;\n")), "");
    const auto mended = with("SELECT 1;\n");
    const auto said = co_await upgrade(mended);
    EXPECT_NE(said.find("half applied (1 of 2 statements): its file has been changed"), std::string::npos) << said;
    // Undone by hand, and given up.
    co_await run_sql(connection, "DROP TABLE steps");
    const auto executor = co_await boost::asio::this_coro::executor;
    {
      const auto migrator = co_await Migrator::open(executor, test_server().url(), mended, soon());
      EXPECT_TRUE(co_await migrator->stamp("base", Migrator::Purge::no));
    }
    EXPECT_EQ(co_await upgrade(mended), "");
    EXPECT_EQ(co_await tables_in(connection), Strings{"steps"});
  });
}

// Ends the migrator's connection when it is in the middle of a statement that begins like this and sleeps.
Async<> terminate_at(std::string statement) {
  const auto connection = co_await connect();
  for (;;) {
    const auto ended = co_await ask_sql(
        *connection,
        fmt::format("SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity WHERE wait_event = 'PgSleep' "
                    "AND pid <> pg_backend_pid() AND query LIKE '{}%'",
                    statement));
    if (!ended.empty()) break;
    co_await sleep_for(std::chrono::milliseconds{5});
  }
  // The lock of the migrator goes with its process.
  for (;;) {
    const auto locks = co_await ask_sql(*connection, "SELECT 1::text FROM pg_locks WHERE locktype = 'advisory'");
    if (locks.empty()) co_return;
    co_await sleep_for(std::chrono::milliseconds{5});
  }
}

Async<std::string> upgrade_terminated_at(const History& history, std::string statement) {
  const auto executor = co_await boost::asio::this_coro::executor;
  TaskGroup group(executor, [](const std::exception_ptr&) { ADD_FAILURE() << "the connection could not be ended"; });
  group.spawn(terminate_at(std::move(statement)));
  std::string said;
  try {
    said = co_await upgrade(history);
  } catch (const Unavailable& error) {
    said = fmt::format("lost: {}", error.what());
  }
  EXPECT_TRUE(co_await group.join(soon()));
  co_return said;
}

TEST(BrokenConnection, in_a_transaction_leaves_the_database_as_it_was) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    co_await run_sql(connection, "CREATE TABLE slow (seconds float); INSERT INTO slow VALUES (30)");
    const auto history = history_of({revision(
        "a", {}, "CREATE TABLE steps (n int);\nSELECT pg_sleep(seconds) FROM slow;\nINSERT INTO steps VALUES (1);\n")});
    EXPECT_TRUE((co_await upgrade_terminated_at(history, "SELECT pg_sleep")).starts_with("lost: "));
    EXPECT_EQ(co_await versions_in(connection), Strings{});
    EXPECT_EQ(co_await tables_in(connection), Strings{"slow"});
    co_await run_sql(connection, "UPDATE slow SET seconds = 0");
    EXPECT_EQ(co_await upgrade(history), "");
    EXPECT_EQ(co_await ask_sql(connection, "SELECT n::text FROM steps"), Strings{"1"});
  });
}

TEST(BrokenConnection, without_a_transaction_goes_on_behind_its_last_finished_statement) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    co_await run_sql(connection, "CREATE TABLE slow (seconds float); INSERT INTO slow VALUES (30)");
    const auto history = history_of({revision("a", {},
                                              "CREATE TABLE steps (n int);\nINSERT INTO steps VALUES (1);\n"
                                              "INSERT INTO steps SELECT 2 FROM slow, pg_sleep(seconds);\n"
                                              "INSERT INTO steps VALUES (3);\n",
                                              "", false)});
    EXPECT_TRUE((co_await upgrade_terminated_at(history, "BEGIN;\nINSERT INTO steps SELECT 2")).starts_with("lost: "));
    EXPECT_EQ(co_await ask_sql(connection, "SELECT n::text FROM steps"), Strings{"1"});
    EXPECT_EQ(co_await versions_in(connection), Strings{});
    co_await run_sql(connection, "UPDATE slow SET seconds = 0");
    EXPECT_EQ(co_await upgrade(history), "");
    EXPECT_EQ(co_await ask_sql(connection, "SELECT n::text FROM steps"), (Strings{"1", "2", "3"}));
  });
}

TEST(BrokenConnection, in_the_middle_of_an_index_leaves_one_that_the_next_run_replaces) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    // An index on a function that can be made slow.
    co_await run_sql(connection,
                     "CREATE TABLE slow (seconds float); INSERT INTO slow VALUES (30);"
                     "CREATE TABLE t (x int, y int); INSERT INTO t VALUES (1, 1);"
                     "CREATE FUNCTION slowly(x int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM "
                     "pg_sleep(seconds) FROM public.slow; RETURN x; END $$");
    const auto history = history_of({revision("a", {},
                                              "CREATE TABLE before (x int);\n"
                                              "DROP INDEX CONCURRENTLY IF EXISTS t_x_idx;\n"
                                              "CREATE INDEX CONCURRENTLY t_x_idx ON t (slowly(x));\n"
                                              "COMMENT ON INDEX t_x_idx IS 'there';\n",
                                              "DROP INDEX t_x_idx;\nDROP TABLE before;\n", false)});
    const auto said = co_await upgrade_terminated_at(history, "CREATE INDEX CONCURRENTLY");
    EXPECT_TRUE(said.starts_with("lost: ")) << said;
    const std::string valid =
        "SELECT indisvalid::text || ' ' || coalesce(obj_description(indexrelid, 'pg_class'), '') FROM pg_index WHERE "
        "indexrelid = 't_x_idx'::regclass";
    EXPECT_EQ(co_await ask_sql(connection, valid), Strings{"false "});
    EXPECT_EQ(co_await versions_in(connection), Strings{});
    co_await run_sql(connection, "UPDATE slow SET seconds = 0");
    EXPECT_EQ(co_await upgrade(history), "");
    EXPECT_EQ(co_await ask_sql(connection, valid), Strings{"true there"});
    EXPECT_EQ(co_await versions_in(connection), Strings{"a"});
  });
}

TEST(InvalidIndex, is_a_difference_from_the_model) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    const Model model{.tables = {{.name = "t",
                                  .columns = {{.name = "x", .type = "integer"}},
                                  .indexes = {{.columns = {"x"}, .unique = true}}}}};
    co_await run_sql(connection, "CREATE TABLE t (x integer NOT NULL); INSERT INTO t VALUES (1), (1)");
    const auto broken = [&]() -> Async<> {
      co_await run_sql(connection, "CREATE UNIQUE INDEX CONCURRENTLY t_x_idx ON t (x)");
    };
    bool failed = false;
    try {
      co_await broken();
    } catch (const pg::SqlError& error) {
      failed = error.state() == pg::sqlstate::unique_violation;
    }
    EXPECT_TRUE(failed);
    co_await run_sql(connection, "TRUNCATE t");
    const auto difference = co_await difference_of(connection, model);
    EXPECT_EQ(difference.changes.size(), 2) << text_of(difference);
  });
}

TEST(EditedRevision, that_was_applied_is_refused) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    const auto with = [](std::string first) {
      return history_of({revision("a", {}, std::move(first)), revision("b", {"a"}, "SELECT 1;\n")});
    };
    EXPECT_EQ(co_await upgrade(with("SELECT 1;\n"), "a"), "");
    const auto edited = with("SELECT 2;\n");
    const auto said = co_await upgrade(edited);
    EXPECT_TRUE(mentions(said, "revision a was applied with other content")) << said;
    EXPECT_TRUE(mentions(co_await downgrade(edited, "base"), "other content"));
    EXPECT_EQ(co_await versions_in(connection), Strings{"a"});
    EXPECT_EQ((co_await read_state(connection, edited, soon())).mismatched, Strings{"a"});
    // Taken back, it is no longer applied and may change.
    EXPECT_EQ(co_await downgrade(with("SELECT 1;\n"), "base"), "");
    EXPECT_EQ(co_await upgrade(edited), "");
  });
}

TEST(UnknownVersion, is_explained_and_left_alone) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    co_await run_sql(connection,
                     "CREATE TABLE alembic_version (version_num varchar(32) NOT NULL, CONSTRAINT alembic_version_pkc "
                     "PRIMARY KEY (version_num)); INSERT INTO alembic_version VALUES ('ae1027a6acf'); CREATE TABLE "
                     "agents (x int)");
    const auto history = history_of({revision("a", {}, "CREATE TABLE t (x int);\n")});
    const auto said = co_await upgrade(history);
    EXPECT_TRUE(mentions(said, "ae1027a6acf") && mentions(said, "Python backend")) << said;
    EXPECT_NE(co_await downgrade(history, "base"), "");
    EXPECT_EQ(co_await versions_in(connection), Strings{"ae1027a6acf"});
    EXPECT_EQ(co_await tables_in(connection), Strings{"agents"});
  });
}

TEST(Heads, of_two_branches_are_both_in_the_version_table_until_they_are_merged) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    std::vector<Revision> all{revision("a", {}, "CREATE TABLE a (x int);\n", "DROP TABLE a;\n"),
                              revision("b", {"a"}, "CREATE TABLE b (x int);\n", "DROP TABLE b;\n"),
                              revision("c", {"a"}, "CREATE TABLE c (x int);\n", "DROP TABLE c;\n")};
    const auto two_heads = history_of(all);
    EXPECT_TRUE(mentions(co_await upgrade(two_heads, "head"), "several heads"));
    EXPECT_EQ(co_await tables_in(connection), Strings{});
    EXPECT_EQ(co_await upgrade(two_heads, "b"), "");
    EXPECT_EQ(co_await versions_in(connection), Strings{"b"});
    EXPECT_EQ(co_await upgrade(two_heads, "heads"), "");
    EXPECT_EQ(co_await versions_in(connection), (Strings{"b", "c"}));
    EXPECT_EQ(co_await upgrade(two_heads, "heads"), "");
    all.push_back(revision("d", {"b", "c"}, "", ""));
    const auto merged = history_of(all);
    EXPECT_EQ(co_await upgrade(merged, "head"), "");
    EXPECT_EQ(co_await versions_in(connection), Strings{"d"});
    EXPECT_EQ(co_await downgrade(merged, "-1"), "");
    EXPECT_EQ(co_await versions_in(connection), (Strings{"b", "c"}));
    EXPECT_EQ(co_await downgrade(merged, "-1"), "");
    EXPECT_EQ(co_await versions_in(connection), Strings{"b"});
    EXPECT_EQ(co_await downgrade(merged, "base"), "");
    EXPECT_EQ(co_await versions_in(connection), Strings{});
    EXPECT_EQ(co_await tables_in(connection), Strings{});
  });
}

TEST(Stamp, writes_versions_and_runs_nothing) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    const auto history =
        history_of({revision("a", {}, "CREATE TABLE a (x int);\n"), revision("b", {"a"}, "CREATE TABLE b (x int);\n"),
                    revision("c", {"a"}, "CREATE TABLE c (x int);\n")});
    const auto migrator = co_await open(history);
    const std::vector<std::pair<std::string, Strings>> cases{
        {"heads", {"b", "c"}}, {"a", {"a"}}, {"b", {"b"}}, {"base", {}}};
    for (const auto& [target, expected] : cases) {
      EXPECT_TRUE(co_await migrator->stamp(target, Migrator::Purge::no));
      EXPECT_EQ(co_await versions_in(connection), expected);
    }
    EXPECT_FALSE(co_await migrator->stamp("head", Migrator::Purge::no));
    EXPECT_FALSE(co_await migrator->stamp("nonsense", Migrator::Purge::no));
    EXPECT_EQ(co_await tables_in(connection), Strings{});
  });
}

TEST(Lock, lets_one_migrator_in_and_the_next_one_when_it_has_left) {
  on_an_empty_database([](pg::Connection&) -> Async<> {
    const auto history = history_of({revision("a", {}, "SELECT 1;\n")});
    const auto executor = co_await boost::asio::this_coro::executor;
    auto first = co_await open(history);
    bool refused = false;
    try {
      const auto second =
          co_await Migrator::open(executor, test_server().url(), history, Deadline::in(std::chrono::milliseconds{300}));
    } catch (const Unavailable& error) {
      refused = mentions(error.what(), "another migration");
    }
    EXPECT_TRUE(refused);
    first.reset();
    const auto third = co_await open(history);
    EXPECT_TRUE(co_await third->upgrade("head", [](const Revision&) {}));
  });
}

TEST(Fit, tells_whether_a_binary_can_work_with_a_database) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    const auto first = revision("20260101_0000_aaaa", {}, "SELECT 1;\n");
    const auto second = revision("20260102_0000_bbbb", {first.id}, "SELECT 1;\n");
    auto third = Revision{.id = "20260103_0000_cccc", .down = {second.id}, .message = "m", .upgrade = "SELECT 1;\n"};
    const auto breaking = as_file(third);
    third.compatible_from = second.id;
    const auto gentle = as_file(third);
    const auto old = history_of({first});
    const auto ours = history_of({first, second});
    const auto kind = [&](const History& history) -> Async<Fit> {
      co_return fit_of(co_await read_state(connection, history, soon()), history);
    };

    const auto empty = co_await kind(ours);
    EXPECT_EQ(empty.kind, Fit::Kind::empty);
    EXPECT_TRUE(mentions(empty.detail, "migrate upgrade head"));
    EXPECT_EQ(co_await upgrade(old), "");
    const auto older = co_await kind(ours);
    EXPECT_EQ(older.kind, Fit::Kind::older);
    EXPECT_TRUE(mentions(older.detail, first.id) && mentions(older.detail, second.id));
    EXPECT_EQ(co_await upgrade(ours), "");
    const auto current = co_await kind(ours);
    EXPECT_EQ(current.kind, Fit::Kind::current);
    EXPECT_TRUE(current.usable() && current.detail.empty());

    EXPECT_EQ(co_await upgrade(history_of({first, second, gentle})), "");
    EXPECT_EQ((co_await kind(ours)).kind, Fit::Kind::newer);
    EXPECT_TRUE((co_await kind(ours)).usable());
    const auto too_old = co_await kind(old);
    EXPECT_EQ(too_old.kind, Fit::Kind::incompatible);
    EXPECT_TRUE(mentions(too_old.detail, second.id)) << too_old.detail;
    EXPECT_EQ(co_await downgrade(history_of({first, second, gentle}), "-1"), "");

    EXPECT_EQ(co_await upgrade(history_of({first, second, breaking})), "");
    const auto broken = co_await kind(ours);
    EXPECT_EQ(broken.kind, Fit::Kind::incompatible);
    EXPECT_FALSE(broken.usable());
    EXPECT_TRUE(mentions(broken.detail, third.id)) << broken.detail;
  });
}

}  // namespace
}  // namespace cognive::schema
