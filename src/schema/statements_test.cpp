// SQL text: what is one statement, what may stand in a revision, and which names PostgreSQL wants in quotes.
#include "schema/statements.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "schema/database_test.hpp"

namespace cognive::schema {
namespace {

using Strings = std::vector<std::string>;

Strings split(std::string_view sql) {
  Strings out;
  for (const auto& statement : split_statements(sql, 1))
    out.push_back(fmt::format("{}:{}", statement.line, statement.text));
  return out;
}

// Each text is one statement, whatever stands before and after it.
void expect_one_statement(const std::string& statement) {
  EXPECT_EQ(
      split("SELECT 0;\n" + statement + ";\nSELECT 2;"),
      (Strings{"1:SELECT 0", "2:" + statement, fmt::format("{}:SELECT 2", 3 + std::ranges::count(statement, '\n'))}));
}

TEST(Statements, keep_a_body_of_sql_together) {
  for (const auto* function :
       {"CREATE FUNCTION f(x int) RETURNS int BEGIN ATOMIC SELECT 1; SELECT x; END",
        "CREATE FUNCTION f(x int) RETURNS int\nbegin  atomic\n  SELECT CASE WHEN x > 1 THEN 2 ELSE 3 END;\nend",
        "CREATE FUNCTION f(x int) RETURNS int BEGIN /* ; */ ATOMIC\nSELECT CASE x WHEN 1 THEN CASE WHEN x = 1 THEN 1 "
        "END "
        "END;\nSELECT CASE WHEN true THEN 'end;' END; END",
        "CREATE PROCEDURE p() BEGIN ATOMIC INSERT INTO t VALUES (1); DELETE FROM t; END",
        "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT \"end\" FROM t; SELECT 1; END"}) {
    expect_one_statement(function);
  }
}

TEST(Statements, behind_a_body_of_sql_are_split_again) {
  EXPECT_EQ(split("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END; SELECT CASE WHEN true THEN 1 END; "
                  "SELECT atomic; SELECT 3"),
            (Strings{"1:CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END",
                     "1:SELECT CASE WHEN true THEN 1 END", "1:SELECT atomic", "1:SELECT 3"}));
}

TEST(Statements, keep_the_commands_of_a_rule_together) {
  expect_one_statement("CREATE RULE r AS ON INSERT TO t DO ALSO (INSERT INTO u VALUES (1); DELETE FROM v)");
  expect_one_statement("CREATE RULE r AS ON UPDATE TO t\n  DO INSTEAD (\n  SELECT (1);\n  SELECT ')';\n)");
  EXPECT_EQ(split("SELECT ')'; SELECT 2; SELECT (3; 4)"), (Strings{"1:SELECT ')'", "1:SELECT 2", "1:SELECT (3; 4)"}));
}

TEST(Statements, are_not_split_within_quotes_and_comments) {
  for (const auto* statement :
       {"DO $$ BEGIN PERFORM 1; PERFORM 'x'; END $$", "DO $a$ ; $$ ; $b$ ; $a$", "SELECT $ä$;$ä$", "SELECT $_1$;$_1$",
        "SELECT 'a;' || E'\\';' || e'\\\\' || U&';' || B'1' || 'it''s;'", "SELECT \"a;\"\"b;\" FROM \"t;\"",
        "SELECT 1 /* ; /* ; */ ; -- ; */ + 2", "SELECT 1 -- ; it's\n + 2", "SELECT 'a'\n';b'", "SELECT a$b;c$d"}) {
    if (std::string_view(statement) == "SELECT a$b;c$d") {
      EXPECT_EQ(split(statement), (Strings{"1:SELECT a$b", "1:c$d"}));
    } else {
      expect_one_statement(statement);
    }
  }
}

// A text as PostgreSQL takes it apart itself: it runs as many statements as were found.
TEST(Statements, run_one_by_one_do_what_they_do_together) {
  const std::string text =
      "CREATE TABLE t (x int, \"a;b\" text DEFAULT 'it''s;');\n"
      "CREATE TABLE log (x int); -- ; one\n"
      "CREATE RULE r AS ON INSERT TO t DO ALSO (INSERT INTO log VALUES (new.x); INSERT INTO log VALUES (-new.x));\n"
      "CREATE FUNCTION f(n int) RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN n > 0 THEN n ELSE CASE n WHEN 0 "
      "THEN 7 END END; END;\n"
      "DO $body$ BEGIN EXECUTE $$INSERT INTO t VALUES (1); INSERT INTO t VALUES (2)$$; END $body$;\n"
      "/* ; /* ; */ ; */ INSERT INTO t SELECT f(0);";
  const std::string probe =
      "SELECT (SELECT string_agg(x || \"a;b\", ' ' ORDER BY x) FROM t) || (SELECT sum(x) FROM log)";
  Strings seen;
  on_an_empty_database([&](pg::Connection& connection) -> Async<> {
    co_await run_sql(connection, text);
    seen = co_await ask_sql(connection, probe);
  });
  on_an_empty_database([&](pg::Connection& connection) -> Async<> {
    const auto statements = split_statements(text, 1);
    EXPECT_EQ(statements.size(), 6);
    for (const auto& statement : statements) co_await run_sql(connection, statement.text);
    EXPECT_EQ(co_await ask_sql(connection, probe), seen);
  });
}

// Revisions.

Result<Revision> with_upgrade(const std::string& statements) {
  return parse_revision("f.sql", "-- revision: a\n-- message: m\n-- upgrade\nSELECT 1;\n" + statements + "\n");
}

TEST(Revision, does_not_begin_or_end_transactions) {
  for (const std::string statement :
       {"BEGIN", "begin transaction", "START TRANSACTION", "COMMIT", "commit work", "COMMIT AND CHAIN", "END",
        "END WORK", "ROLLBACK", "rollback to s", "ABORT", "SAVEPOINT s", "RELEASE SAVEPOINT s", "/* why; */ COMMIT",
        "commit\r", "COMMIT PREPARED 'x'"}) {
    const auto read = with_upgrade("SELECT 2;\n" + statement + "\n;");
    EXPECT_FALSE(read) << statement;
    if (read) continue;
    EXPECT_TRUE(mentions(read.error().detail, "f.sql: line 6: ")) << read.error().detail;
    EXPECT_TRUE(mentions(read.error().detail, "is not for revisions")) << read.error().detail;
  }
  for (const std::string statement :
       {"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END", "DO $$ BEGIN NULL; END $$", "SELECT 'COMMIT'",
        "-- COMMIT;\nSELECT 1", "CREATE TABLE beginning (commit int)", "PREPARE p AS SELECT 1"}) {
    EXPECT_TRUE(with_upgrade(statement + ";")) << statement;
  }
}

TEST(Revision, does_not_end_transactions_in_disguise_either) {
  for (const std::string statement : {"COMMIT/**/", "COMMIT--now\n", "PREPARE TRANSACTION 'x'"})
    EXPECT_FALSE(with_upgrade(statement + ";")) << statement;
}

TEST(Revision, on_its_way_back_does_not_end_transactions_either) {
  const auto read = parse_revision(
      "f.sql", "-- revision: a\n-- message: m\n-- upgrade\nSELECT 1;\n-- downgrade\nSELECT 1;\nCOMMIT;\n");
  ASSERT_FALSE(read);
  EXPECT_TRUE(mentions(read.error().detail, "f.sql: line 7: commit")) << read.error().detail;
}

TEST(Revision, does_not_copy_from_the_client) {
  for (const std::string statement :
       {"COPY t FROM STDIN", "copy t (x)\nfrom  stdin (format csv)", "COPY t TO STDOUT"}) {
    const auto read = with_upgrade(statement + ";");
    ASSERT_FALSE(read) << statement;
    EXPECT_TRUE(mentions(read.error().detail, "f.sql: line 5: COPY")) << read.error().detail;
  }
  EXPECT_TRUE(with_upgrade("COPY t FROM '/tmp/rows';"));
}

TEST(Revision, without_a_way_back_differs_from_one_with_nothing_to_do_on_it) {
  const std::string head = "-- revision: a\n-- message: m\n-- upgrade\nSELECT 1;\n";
  const auto without = parse_revision("f.sql", head);
  const auto empty = parse_revision("f.sql", head + "-- downgrade\n");
  ASSERT_TRUE(without && empty);
  EXPECT_TRUE(without->irreversible);
  EXPECT_FALSE(empty->irreversible);
  // Also after they were written and read again.
  EXPECT_TRUE(as_file(*without).irreversible);
  EXPECT_FALSE(as_file(*empty).irreversible);
}

TEST(Downgrade, of_a_revision_without_a_way_back_names_it_and_takes_nothing_back) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    const auto irreversible = *parse_revision("b_gone.sql",
                                              "-- revision: b\n-- down: a\n-- message: forget\n-- upgrade\nCREATE "
                                              "TABLE b (x int);\n");
    const auto empty = *parse_revision("c.sql",
                                       "-- revision: c\n-- down: b\n-- message: m\n-- upgrade\nSELECT 1;\n-- "
                                       "downgrade\n");
    const auto history =
        history_of({revision("a", {}, "CREATE TABLE a (x int);\n", "DROP TABLE a;\n"), irreversible, empty});
    EXPECT_EQ(co_await upgrade(history), "");
    for (const std::string target : {"base", "-2", "a"}) {
      const auto said = co_await downgrade(history, target);
      EXPECT_TRUE(mentions(said, "revision b (forget) has no way back: b_gone.sql")) << said;
      EXPECT_EQ(co_await versions_in(connection), Strings{"c"});
      EXPECT_EQ(co_await tables_in(connection), (Strings{"a", "b"}));
    }
    EXPECT_EQ(co_await downgrade(history, "-1"), "");
    EXPECT_EQ(co_await versions_in(connection), Strings{"b"});
    EXPECT_TRUE(mentions(co_await downgrade(history, "-1"), "has no way back"));
  });
}

// Names.

TEST(QuotedName, is_as_postgresql_quotes_it) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    auto names = co_await ask_sql(connection, "SELECT word FROM pg_get_keywords()");
    EXPECT_GT(names.size(), 400);
    names.insert(names.end(),
                 {"a",       "_a",      "a1",     "1a",    "A",   "aB",  "a b", "a\"b", "a$b",  "a-b", "ä", "öffnen",
                  "select_", "_select", "Select", "ORDER", "a.b", "a;b", "'",   "\\",   "a\nb", "$",   "-", "0"});
    for (const auto& name : names) {
      const auto expected = co_await ask_sql(connection, fmt::format("SELECT quote_ident({})", quoted_text(name)));
      EXPECT_EQ(quoted_name(name), expected.front());
    }
    // A model may call everything by any of them.
    Model model;
    for (std::size_t i = 0; i < 60; ++i) {
      const auto& word = names[i * 7];
      model.tables.push_back({.name = word,
                              .columns = {{.name = word, .type = "integer"}},
                              .uniques = {{.columns = {word}}},
                              .checks = {{.label = word, .expression = quoted_name(word) + " > 0"}},
                              .indexes = {{.columns = {word}, .where = quoted_name(word) + " > 1"}}});
    }
    co_await run_sql(connection, create_statements(model));
    EXPECT_TRUE((co_await difference_of(connection, model)).empty());
  });
}

}  // namespace
}  // namespace cognive::schema
