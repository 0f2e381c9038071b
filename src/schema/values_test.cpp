// What happens to the rows: a change keeps every value, fails, or is left to a person; it never alters one silently.
#include <fmt/format.h>

#include <algorithm>

#include "schema/compare.hpp"
#include "schema/database_test.hpp"

namespace cognive::schema {
namespace {

using Strings = std::vector<std::string>;

Model with_column(Column column) {
  return {.tables = {{.name = "t", .columns = {{.name = "id", .type = "bigint"}, std::move(column)}}}};
}
Model with_type(std::string type) {
  return with_column({.name = "x", .type = std::move(type), .nullable = true});
}

Async<> create(pg::Connection& connection, const Model& model, std::string rows) {
  co_await run_sql(connection, create_statements(model) + rows);
}

// The way to another model, as the history of whoever agrees to everything.
Async<History> history_to(pg::Connection& connection, const Model& model) {
  auto history = history_of(co_await difference_of(connection, model));
  co_await stamp_at_first(history);
  co_return history;
}

Async<Strings> values(pg::Connection& connection) {
  return ask_sql(connection, "SELECT coalesce(x::text, '(null)') FROM t ORDER BY id");
}

bool is_reviewed(const Difference& difference) {
  return std::ranges::any_of(difference.changes, &Change::review);
}

// Types.

TEST(TypeChange, to_a_shorter_text_fails_on_a_longer_one_and_changes_nothing) {
  for (const std::string from : {"text", "varchar", "varchar(10)"}) {
    on_an_empty_database([&](pg::Connection& connection) -> Async<> {
      co_await create(connection, with_type(from), "INSERT INTO t VALUES (1, 'short'), (2, 'too long')");
      const auto before = co_await catalogue_of(connection);
      const auto history = co_await history_to(connection, with_type("varchar(5)"));
      const auto said = co_await upgrade(history);
      EXPECT_TRUE(mentions(said, "[22001]") && mentions(said, "changed nothing")) << said;
      EXPECT_EQ(co_await catalogue_of(connection), before);
      EXPECT_EQ(co_await values(connection), (Strings{"short", "too long"}));
      co_await run_sql(connection, "DELETE FROM t WHERE id = 2");
      EXPECT_EQ(co_await upgrade(history), "");
      EXPECT_EQ(co_await values(connection), Strings{"short"});
      EXPECT_EQ(co_await refusal_of(connection, "INSERT INTO t VALUES (3, 'longer')"), "22001");
      EXPECT_EQ(co_await downgrade(history, "-1"), "");
      EXPECT_EQ(co_await catalogue_of(connection), before);
      EXPECT_EQ(co_await values(connection), Strings{"short"});
    });
  }
}

TEST(TypeChange, back_to_a_shorter_text_fails_on_a_longer_one_and_changes_nothing) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    co_await create(connection, with_type("varchar(5)"), "INSERT INTO t VALUES (1, 'short')");
    const auto history = co_await history_to(connection, with_type("text"));
    EXPECT_EQ(co_await upgrade(history), "");
    co_await run_sql(connection, "INSERT INTO t VALUES (2, 'too long')");
    const auto after = co_await catalogue_of(connection);
    const auto said = co_await downgrade(history, "-1");
    EXPECT_TRUE(mentions(said, "[22001]")) << said;
    EXPECT_EQ(co_await catalogue_of(connection), after);
    EXPECT_EQ(co_await values(connection), (Strings{"short", "too long"}));
  });
}

struct TypePair {
  std::string from;
  std::string to;
};

Async<Difference> type_change(pg::Connection& connection, TypePair pair) {
  co_await empty_database(connection);
  co_await create(connection, with_type(pair.from), "");
  co_return co_await difference_of(connection, with_type(pair.to));
}

TEST(TypeChange, that_may_alter_values_silently_is_left_to_a_person) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    for (const auto& pair : std::vector<TypePair>{{"numeric", "integer"},
                                                  {"numeric(12,2)", "bigint"},
                                                  {"numeric", "numeric(12,2)"},
                                                  {"numeric(12,4)", "numeric(12,2)"},
                                                  {"double precision", "integer"},
                                                  {"double precision", "real"},
                                                  {"double precision", "numeric"},
                                                  {"real", "integer"},
                                                  {"bigint", "real"},
                                                  {"bigint", "double precision"},
                                                  {"integer", "real"},
                                                  {"numeric", "double precision"},
                                                  {"timestamptz", "date"},
                                                  {"timestamp", "date"},
                                                  {"timestamptz", "timestamptz(0)"},
                                                  {"json", "jsonb"},
                                                  {"text", "varchar(9)"},  // blanks at the end
                                                  {"bytea", "uuid"}}) {
      const auto difference = co_await type_change(connection, pair);
      EXPECT_TRUE(is_reviewed(difference)) << pair.from << " -> " << pair.to;
      const auto revisions = revisions_for(difference, {"base"}, "m");
      EXPECT_EQ(revisions.size(), 1);
      if (revisions.empty()) continue;
      EXPECT_TRUE(mentions(revisions[0].upgrade, "-- REVIEW: this loses data")) << pair.from << " -> " << pair.to;
      EXPECT_TRUE(mentions(revisions[0].upgrade, "\n-- ALTER TABLE t ALTER COLUMN x TYPE ")) << revisions[0].upgrade;
      EXPECT_TRUE(mentions(revisions[0].downgrade, "\n-- ALTER TABLE t ALTER COLUMN x TYPE "))
          << revisions[0].downgrade;
    }
  });
}

TEST(TypeChange, that_keeps_values_or_fails_is_done) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    for (const auto& pair : std::vector<TypePair>{{"smallint", "integer"},
                                                  {"integer", "bigint"},
                                                  {"bigint", "integer"},
                                                  {"bigint", "numeric"},
                                                  {"bigint", "numeric(20,2)"},
                                                  {"integer", "double precision"},
                                                  {"real", "double precision"},
                                                  {"varchar(9)", "text"},
                                                  {"varchar(9)", "varchar(20)"},
                                                  {"text", "integer"},
                                                  {"text", "uuid"},
                                                  {"uuid", "text"},
                                                  {"timestamptz", "text"},
                                                  {"numeric(12,2)", "numeric"},
                                                  {"date", "timestamptz"}}) {
      const auto difference = co_await type_change(connection, pair);
      EXPECT_FALSE(is_reviewed(difference)) << pair.from << " -> " << pair.to;
      EXPECT_FALSE(difference.changes.empty()) << pair.from << " -> " << pair.to;
    }
  });
}

// Whatever the comparison thinks of a pair of types: unreviewed, each value survives the way there and back as it was,
// or the change fails and leaves it alone. Without a migrator, which would make dozens of pairs slow.
TEST(TypeChange, without_review_never_alters_a_value) {
  struct Values {
    std::string from;
    std::string literals;
    Strings to;
  };
  for (const auto& [from, literals, targets] : std::vector<Values>{
           {"text", "'1.239'", {"numeric(6,2)", "numeric", "real", "double precision"}},
           {"text", "'0.12345678901234567'", {"real", "double precision"}},
           {"text", "'2026-01-02 03:04:05.678'", {"date", "timestamp", "timestamp(0)", "varchar(30)"}},
           {"text", R"('{"b": 1, "a": 2, "a": 3}')", {"json", "jsonb"}},
           {"text", "'abc      '", {"varchar(5)", "char(5)", "char(20)", "varchar(20)"}},
           {"varchar(20)", "'abc      '", {"varchar(5)", "char(5)", "text"}},
           {"char(9)", "'abc'", {"text", "char(5)", "varchar(5)"}},
           {"bigint", "9007199254740993", {"integer", "numeric", "real", "double precision", "text", "numeric(20,4)"}},
           {"integer", "16777217", {"smallint", "real", "double precision", "bigint", "numeric(12,2)"}},
           {"numeric(12,2)", "1234.56", {"integer", "bigint", "numeric(12,1)", "real", "double precision", "text"}},
           {"double precision", "0.1", {"real", "numeric", "text", "integer"}},
           {"timestamptz", "'2026-01-02 03:04:05.678+00'", {"timestamp", "date", "text", "timestamptz(0)"}},
           {"date", "'2026-01-02'", {"timestamp", "timestamptz", "text"}},
           {"json", R"('{"b": 1, "a": 2, "a": 3}')", {"jsonb", "text"}},
           {"text[]", "'{1,2}'", {"varchar(20)[]", "text"}}}) {
    on_an_empty_database([&](pg::Connection& connection) -> Async<> {
      for (const auto& to : targets) {
        co_await create(connection, with_type(from), fmt::format("INSERT INTO t VALUES (1, {})", literals));
        const auto before = co_await values(connection);
        const auto difference = co_await difference_of(connection, with_type(to));
        std::string there;
        std::string back;
        for (const auto& change : difference.changes) {
          there += change.up;
          back.insert(0, change.down);
        }
        if (!is_reviewed(difference) && (co_await refusal_of(connection, there)).empty())
          EXPECT_EQ(co_await refusal_of(connection, back), "") << from << " -> " << to;
        EXPECT_EQ(co_await values(connection), before) << from << " -> " << to << " and back";
        co_await run_sql(connection, "DROP TABLE t");
      }
    });
  }
}

TEST(TypeChange, that_a_person_agreed_to_keeps_the_rows) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    co_await create(connection, with_type("numeric"), "INSERT INTO t VALUES (1, 7), (2, 2.6), (3, NULL), (4, -3.4)");
    const auto history = co_await history_to(connection, with_type("integer"));
    EXPECT_EQ(co_await upgrade(history), "");
    EXPECT_EQ(co_await values(connection), (Strings{"7", "3", "(null)", "-3"}));
    EXPECT_EQ(co_await downgrade(history, "-1"), "");
    EXPECT_EQ(co_await values(connection), (Strings{"7", "3", "(null)", "-3"}));
    EXPECT_TRUE((co_await difference_of(connection, with_type("numeric"))).empty());
  });
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    co_await run_sql(connection, "SET timezone = 'UTC'");
    co_await create(connection, with_type("timestamptz"), "INSERT INTO t VALUES (1, '2026-03-04 23:59:59.5+00')");
    const auto history = co_await history_to(connection, with_type("date"));
    EXPECT_EQ(co_await upgrade(history), "");
    EXPECT_EQ(co_await values(connection), Strings{"2026-03-04"});
    EXPECT_EQ(co_await downgrade(history, "-1"), "");
    EXPECT_EQ(co_await values(connection), Strings{"2026-03-04 00:00:00+00"});
  });
}

TEST(TypeChange, from_text_converts_what_fits_and_fails_on_the_rest) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    co_await create(connection, with_type("text"), "INSERT INTO t VALUES (1, '12'), (2, 'twelve'), (3, NULL)");
    const auto history = co_await history_to(connection, with_type("integer"));
    const auto said = co_await upgrade(history);
    EXPECT_TRUE(mentions(said, "[22P02]")) << said;
    EXPECT_EQ(co_await values(connection), (Strings{"12", "twelve", "(null)"}));
    co_await run_sql(connection, "UPDATE t SET x = '13' WHERE id = 2");
    EXPECT_EQ(co_await upgrade(history), "");
    EXPECT_EQ(co_await ask_sql(connection, "SELECT sum(x)::text FROM t"), Strings{"25"});
    EXPECT_EQ(co_await downgrade(history, "-1"), "");
    EXPECT_EQ(co_await values(connection), (Strings{"12", "13", "(null)"}));
  });
}

TEST(TypeChange, that_was_not_reviewed_changes_nothing_there_and_back) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    co_await create(connection, with_type("numeric"), "INSERT INTO t VALUES (1, 2.6)");
    const auto before = co_await catalogue_of(connection);
    const auto history = history_of(co_await difference_of(connection, with_type("integer")), Review::not_done);
    co_await stamp_at_first(history);
    EXPECT_EQ(co_await upgrade(history), "");
    EXPECT_EQ(co_await catalogue_of(connection), before);
    EXPECT_EQ(co_await downgrade(history, "-1"), "");
    EXPECT_EQ(co_await catalogue_of(connection), before);
    EXPECT_EQ(co_await values(connection), Strings{"2.6"});
  });
}

// Enums.

Model with_enums(std::vector<Enum> enums, const std::string& type) {
  return {.enums = std::move(enums),
          .tables = {{.name = "t",
                      .columns = {{.name = "id", .type = "bigint"},
                                  {.name = "x", .type = type, .default_value = "'calm'"},
                                  {.name = "y", .type = type, .nullable = true}},
                      .checks = {{.label = "x", .expression = "x <> 'angry' OR id > 0"}},
                      .indexes = {{.columns = {"id"}, .where = "x = 'calm'", .comment = "c"}}}}};
}

TEST(EnumToAnotherEnum, of_the_same_labels_converts_the_rows) {
  const Enum mood{.name = "mood", .values = {"calm", "angry"}};
  const Enum temper{.name = "temper", .values = {"angry", "calm", "wild"}};
  for (const bool keeps_old : {true, false}) {
    on_an_empty_database([&](pg::Connection& connection) -> Async<> {
      co_await create(connection, with_enums({mood}, "mood"), "INSERT INTO t VALUES (1, 'calm'), (2, 'angry')");
      const auto before = co_await catalogue_of(connection);
      const auto enums = keeps_old ? std::vector{mood, temper} : std::vector{temper};
      const auto wanted = with_enums(enums, "temper");
      const auto difference = co_await difference_of(connection, wanted);
      for (const auto& change : difference.changes) {
        EXPECT_EQ(change.review, change.phase == Phase::drop_types) << change.up;
      }
      const auto history = co_await history_to(connection, wanted);
      EXPECT_EQ(co_await upgrade(history), "");
      EXPECT_TRUE((co_await difference_of(connection, wanted)).empty());
      EXPECT_EQ(co_await values(connection), (Strings{"calm", "angry"}));
      co_await run_sql(connection, "INSERT INTO t (id) VALUES (3)");
      EXPECT_EQ(co_await downgrade(history, "base"), "");
      EXPECT_EQ(co_await catalogue_of(connection), before);
      EXPECT_EQ(co_await values(connection), (Strings{"calm", "angry", "calm"}));
    });
  }
}

TEST(EnumToAnotherEnum, of_the_same_labels_converts_arrays_too) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    const Enum mood{.name = "mood", .values = {"calm", "angry"}};
    const Enum temper{.name = "temper", .values = {"angry", "calm"}};
    const auto model = [](std::vector<Enum> enums, std::string type) {
      auto out = with_column({.name = "x", .type = std::move(type), .default_value = "'{calm}'"});
      out.enums = std::move(enums);
      return out;
    };
    co_await create(connection, model({mood}, "mood[]"), "INSERT INTO t VALUES (1, '{angry,calm}'), (2, '{}')");
    const auto before = co_await catalogue_of(connection);
    const auto difference = co_await difference_of(connection, model({mood, temper}, "temper[]"));
    EXPECT_FALSE(is_reviewed(difference)) << text_of(difference);
    const auto history = co_await history_to(connection, model({mood, temper}, "temper[]"));
    EXPECT_EQ(co_await upgrade(history), "");
    EXPECT_EQ(co_await values(connection), (Strings{"{angry,calm}", "{}"}));
    EXPECT_EQ(co_await downgrade(history, "base"), "");
    EXPECT_EQ(co_await catalogue_of(connection), before);
    EXPECT_EQ(co_await values(connection), (Strings{"{angry,calm}", "{}"}));
  });
}

TEST(EnumToAnotherEnum, that_lacks_the_label_of_a_row_fails_and_changes_nothing) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    const Enum mood{.name = "mood", .values = {"calm", "angry"}};
    const Enum temper{.name = "temper", .values = {"calm"}};
    const auto model = [](std::vector<Enum> enums, std::string type) {
      auto out = with_type(std::move(type));
      out.enums = std::move(enums);
      return out;
    };
    co_await create(connection, model({mood}, "mood"), "INSERT INTO t VALUES (1, 'calm'), (2, 'angry')");
    const auto before = co_await catalogue_of(connection);
    const auto history = co_await history_to(connection, model({mood, temper}, "temper"));
    const auto said = co_await upgrade(history);
    EXPECT_TRUE(mentions(said, "[22P02]")) << said;
    EXPECT_EQ(co_await catalogue_of(connection), before);
    EXPECT_EQ(co_await values(connection), (Strings{"calm", "angry"}));
  });
}

TEST(EnumValues, that_a_row_has_are_not_taken_back_and_everything_stays_as_it_was) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    co_await create(connection, with_enums({{.name = "mood", .values = {"calm", "angry"}}}, "mood"),
                    "INSERT INTO t VALUES (1, 'calm'), (2, 'angry')");
    const auto before = co_await catalogue_of(connection);
    const auto wanted = with_enums({{.name = "mood", .values = {"calm", "wild", "angry"}}}, "mood");
    const auto history = co_await history_to(connection, wanted);
    EXPECT_EQ(co_await upgrade(history), "");
    const auto head = *history.heads().begin();
    const auto after = co_await catalogue_of(connection);
    const auto dump_after = dumped();
    for (const std::string row : {"(3, 'wild')", "(3, 'calm', 'wild')"}) {
      co_await run_sql(connection, "INSERT INTO t VALUES " + row);
      const auto said = co_await downgrade(history, "-1");
      EXPECT_TRUE(mentions(said, "[22P02]") && mentions(said, "wild")) << said;
      EXPECT_EQ(co_await catalogue_of(connection), after);
      EXPECT_EQ(dumped(), dump_after);
      EXPECT_TRUE((co_await difference_of(connection, wanted)).empty());
      EXPECT_EQ(co_await versions_in(connection), Strings{head});
      co_await run_sql(connection, "DELETE FROM t WHERE id = 3");
    }
    EXPECT_EQ(co_await downgrade(history, "-1"), "");
    EXPECT_EQ(co_await catalogue_of(connection), before);
    EXPECT_EQ(co_await values(connection), (Strings{"calm", "angry"}));
    EXPECT_EQ(co_await refusal_of(connection, "INSERT INTO t VALUES (3, 'wild')"), "22P02");
  });
}

// Identities.

TEST(Identity, that_a_table_with_rows_gets_goes_on_behind_them) {
  for (const auto kind : {IdentityKind::always, IdentityKind::by_default}) {
    for (const auto& [rows, expected] :
         std::vector<std::pair<std::string, std::string>>{{"", "1"},
                                                          {"INSERT INTO t VALUES (1, 7), (2, 41)", "42"},
                                                          {"INSERT INTO t VALUES (1, -7), (2, 0)", "1"}}) {
      on_an_empty_database([&](pg::Connection& connection) -> Async<> {
        co_await create(connection, with_column({.name = "x", .type = "bigint"}), rows);
        const auto before = co_await values(connection);
        const auto history =
            co_await history_to(connection, with_column({.name = "x", .type = "bigint", .identity = kind}));
        EXPECT_EQ(co_await upgrade(history), "");
        EXPECT_EQ(co_await values(connection), before);
        co_await run_sql(connection, "INSERT INTO t (id) VALUES (9)");
        EXPECT_EQ(co_await ask_sql(connection, "SELECT x::text FROM t WHERE id = 9"), Strings{expected});
        EXPECT_EQ(co_await downgrade(history, "base"), "");
        EXPECT_EQ(co_await upgrade(history), "");
        co_await run_sql(connection, "INSERT INTO t (id) VALUES (10)");
        EXPECT_EQ(co_await ask_sql(connection, "SELECT (max(x) - min(x) FILTER (WHERE id = 9))::text FROM t"),
                  Strings{"1"});
      });
    }
  }
}

TEST(Identity, that_only_negative_numbers_have_before_it_still_gives_fresh_ones) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    co_await create(connection, with_column({.name = "x", .type = "bigint"}), "INSERT INTO t VALUES (1, -7), (2, -5)");
    const auto history =
        co_await history_to(connection, with_column({.name = "x", .type = "bigint", .identity = IdentityKind::always}));
    EXPECT_EQ(co_await upgrade(history), "");
    EXPECT_EQ(co_await refusal_of(connection, "INSERT INTO t (id) VALUES (3)"), "");
    EXPECT_EQ(co_await ask_sql(connection, "SELECT count(DISTINCT x)::text FROM t"), Strings{"3"});
  });
}

TEST(Identity, takes_the_place_of_null_and_of_a_default_in_a_table_with_rows) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    co_await create(connection, with_column({.name = "x", .type = "integer", .nullable = true, .default_value = "5"}),
                    "INSERT INTO t VALUES (1, DEFAULT), (2, 8)");
    const auto before = co_await catalogue_of(connection);
    const auto history = co_await history_to(
        connection, with_column({.name = "x", .type = "integer", .identity = IdentityKind::by_default}));
    EXPECT_EQ(co_await upgrade(history), "");
    co_await run_sql(connection, "INSERT INTO t (id) VALUES (3)");
    EXPECT_EQ(co_await values(connection), (Strings{"5", "8", "9"}));
    EXPECT_EQ(co_await downgrade(history, "-1"), "");
    EXPECT_EQ(co_await catalogue_of(connection), before);
    EXPECT_EQ(co_await values(connection), (Strings{"5", "8", "9"}));
  });
}

// Columns that go.

TEST(MandatoryColumn, that_goes_is_not_asked_for_even_before_anybody_drops_it) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    const Model without{.tables = {{.name = "t", .columns = {{.name = "id", .type = "bigint"}}}}};
    co_await create(connection, with_column({.name = "x", .type = "text"}), "INSERT INTO t VALUES (1, 'a')");
    const auto before = co_await catalogue_of(connection);
    const auto history = history_of(co_await difference_of(connection, without), Review::not_done);
    co_await stamp_at_first(history);
    EXPECT_EQ(co_await upgrade(history), "");
    co_await run_sql(connection, "INSERT INTO t (id) VALUES (2)");
    EXPECT_EQ(co_await values(connection), (Strings{"a", "(null)"}));
    // The row that came without it is what keeps it from being mandatory again.
    const auto said = co_await downgrade(history, "-1");
    EXPECT_TRUE(mentions(said, "[23502]") && mentions(said, "SET NOT NULL")) << said;
    co_await run_sql(connection, "UPDATE t SET x = 'b' WHERE x IS NULL");
    EXPECT_EQ(co_await downgrade(history, "-1"), "");
    EXPECT_EQ(co_await catalogue_of(connection), before);
    EXPECT_EQ(co_await values(connection), (Strings{"a", "b"}));
  });
}

TEST(MandatoryColumn, that_was_dropped_comes_back_to_a_table_with_rows_but_for_its_values) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    const Model without{.tables = {{.name = "t", .columns = {{.name = "id", .type = "bigint"}}}}};
    co_await create(connection, with_column({.name = "x", .type = "text"}), "INSERT INTO t VALUES (1, 'a'), (2, 'b')");
    const auto before = co_await catalogue_of(connection);
    const auto history = co_await history_to(connection, without);
    EXPECT_EQ(co_await upgrade(history), "");
    const auto said = co_await downgrade(history, "-1");
    EXPECT_TRUE(mentions(said, "[23502]") && mentions(said, "SET NOT NULL")) << said;
    EXPECT_EQ(co_await ask_sql(connection, "SELECT id::text FROM t ORDER BY 1"), (Strings{"1", "2"}));
    co_await run_sql(connection, "DELETE FROM t");
    EXPECT_EQ(co_await downgrade(history, "-1"), "");
    EXPECT_EQ(co_await catalogue_of(connection), before);
  });
}

TEST(ColumnWithADefault, that_was_dropped_comes_back_to_a_table_with_rows) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    const Model without{.tables = {{.name = "t", .columns = {{.name = "id", .type = "bigint"}}}}};
    co_await create(connection, with_column({.name = "x", .type = "text", .default_value = "'d'"}),
                    "INSERT INTO t VALUES (1, 'a')");
    const auto before = co_await catalogue_of(connection);
    const auto history = co_await history_to(connection, without);
    EXPECT_EQ(co_await upgrade(history), "");
    EXPECT_EQ(co_await downgrade(history, "-1"), "");
    EXPECT_EQ(co_await catalogue_of(connection), before);
    EXPECT_EQ(co_await values(connection), Strings{"d"});
  });
}

TEST(MandatoryColumn, waits_for_rows_that_lack_a_value_and_refuses_new_ones_meanwhile) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    co_await create(connection, with_type("text"), "INSERT INTO t VALUES (1, 'a'), (2, NULL)");
    const auto before = co_await catalogue_of(connection);
    const auto wanted = with_column({.name = "x", .type = "text"});
    const auto history = co_await history_to(connection, wanted);
    const auto said = co_await upgrade(history);
    EXPECT_TRUE(mentions(said, "[23514]") && mentions(said, "keeps what was done before")) << said;
    EXPECT_EQ(co_await refusal_of(connection, "INSERT INTO t VALUES (3, NULL)"), "23514");
    co_await run_sql(connection, "UPDATE t SET x = 'b' WHERE x IS NULL");
    EXPECT_EQ(co_await upgrade(history), "");
    EXPECT_TRUE((co_await difference_of(connection, wanted)).empty());
    EXPECT_EQ(co_await downgrade(history, "base"), "");
    EXPECT_EQ(co_await catalogue_of(connection), before);
    EXPECT_EQ(co_await values(connection), (Strings{"a", "b"}));
  });
}

}  // namespace
}  // namespace cognive::schema
