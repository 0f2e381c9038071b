// Models and databases around them: what may come from the schema public, names that change hands, and what a table has
// that no model describes.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "schema/compare.hpp"
#include "schema/database_test.hpp"
#include "schema/statements.hpp"

namespace cognive::schema {
namespace {

using Strings = std::vector<std::string>;

Async<> run_each(pg::Connection& connection, std::string statements) {
  for (const auto& statement : split_statements(statements, 1)) co_await run_sql(connection, statement.text);
}

// Things of the schema public.

TEST(Model, may_use_functions_operator_classes_and_types_of_public) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    const auto superuser = co_await connect_as_superuser();
    co_await run_sql(*superuser,
                     "SET client_min_messages = warning; DROP SCHEMA IF EXISTS mine CASCADE; SET search_path = public;"
                     "CREATE OPERATOR CLASS backwards FOR TYPE integer USING btree AS OPERATOR 1 >, OPERATOR 2 >=, "
                     "OPERATOR 3 =, OPERATOR 4 <=, OPERATOR 5 <, FUNCTION 1 btint4cmp(integer, integer)");
    co_await run_sql(connection,
                     "CREATE FUNCTION public.folded(x text) RETURNS text IMMUTABLE LANGUAGE sql RETURN lower(x);"
                     "CREATE DOMAIN public.percent AS integer CHECK (value BETWEEN 0 AND 100);"
                     "CREATE TYPE public.pair AS (a int, b int)");
    const Model model{.tables = {{.name = "t",
                                  .columns = {{.name = "name", .type = "text", .default_value = "folded('X')"},
                                              {.name = "share", .type = "percent", .default_value = "7"},
                                              {.name = "slug", .type = "text", .generated = "folded(name)"},
                                              {.name = "both", .type = "pair", .nullable = true}},
                                  .checks = {{.label = "name", .expression = "folded(name) <> ''"}},
                                  .indexes = {{.columns = {"folded(name)"}, .label = "folded"},
                                              {.columns = {"length(name) backwards"}, .label = "backwards"},
                                              {.columns = {"name"}, .where = "folded(name) = 'x'"}}}}};
    auto smaller = model;
    smaller.tables[0].columns.erase(smaller.tables[0].columns.begin() + 2, smaller.tables[0].columns.end());
    smaller.tables[0].checks.clear();
    smaller.tables[0].indexes.clear();
    for (const std::string schema : {"public", "mine"}) {
      if (schema == "mine") co_await run_sql(*superuser, "CREATE SCHEMA mine AUTHORIZATION cognive");
      co_await run_sql(connection, fmt::format("SET search_path = {}, public", schema));
      for (const auto* side : {&std::as_const(smaller), &model}) {
        co_await run_sql(connection, "DROP TABLE IF EXISTS t; " + create_statements(*side));
        const auto same = co_await difference_of(connection, *side);
        EXPECT_TRUE(same.empty()) << schema << "\n" << text_of(same);
      }
      co_await run_sql(connection, "DROP TABLE t; " + create_statements(smaller));
      const auto difference = co_await difference_of(connection, model);
      EXPECT_TRUE(difference.refusals.empty());
      for (const auto& change : difference.changes) co_await run_each(connection, change.up);
      const auto left = co_await difference_of(connection, model);
      EXPECT_TRUE(left.empty()) << schema << "\n" << text_of(left);
    }
    co_await run_sql(*superuser, "DROP SCHEMA mine CASCADE");
  });
}

TEST(Model, that_refers_to_a_table_it_lacks_is_refused_also_when_the_database_has_it) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    co_await run_sql(connection, "CREATE TABLE elsewhere (id bigint PRIMARY KEY)");
    const auto before = co_await catalogue_of(connection);
    const auto found = co_await compare_with(
        connection,
        {.tables = {{.name = "t",
                     .columns = {{.name = "x", .type = "bigint"}, {.name = "y", .type = "bigint"}},
                     .foreign_keys = {{.columns = {"x"}, .table = "elsewhere", .references = {"id"}},
                                      {.columns = {"y"}, .table = "t", .references = {"x"}}}}}},
        soon());
    EXPECT_FALSE(found);
    if (!found) {
      EXPECT_EQ(found.error().code, Code::conflict);
      EXPECT_TRUE(mentions(found.error().detail, "tables that it does not have: elsewhere")) << found.error().detail;
    }
    EXPECT_EQ(co_await catalogue_of(connection), before);
    // The connection is as it was.
    EXPECT_EQ(co_await ask_sql(connection, "SELECT current_schema()::text"), Strings{"public"});
  });
}

TEST(Model, that_is_no_sql_leaves_nothing_behind) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    std::string state;
    try {
      co_await compare_with(connection, {.tables = {{.name = "t", .columns = {{.name = "x", .type = "nonsense"}}}}},
                            soon());
    } catch (const pg::SqlError& error) {
      state = error.state();
    }
    EXPECT_EQ(state, "42704");
    EXPECT_TRUE((co_await difference_of(connection, {})).empty());
    EXPECT_EQ(co_await ask_sql(connection, "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'cognive%'"),
              Strings{});
  });
}

// Keys.

Model with_later_key(bool index, bool key) {
  Table later{.name = "z", .columns = {{.name = "name", .type = "text"}}};
  if (index) later.indexes = {{.columns = {"name"}, .unique = true}};
  Table first{.name = "a", .columns = {{.name = "z_name", .type = "text"}}};
  if (key) first.foreign_keys = {{.columns = {"z_name"}, .table = "z", .references = {"name"}}};
  return {.tables = {first, later}};
}

TEST(ForeignKey, may_refer_to_a_unique_index_of_a_later_table) {
  const auto model = with_later_key(true, true);
  on_an_empty_database([&](pg::Connection& connection) -> Async<> {
    co_await run_sql(connection, create_statements(model));
    EXPECT_TRUE((co_await difference_of(connection, model)).empty());
  });
  EXPECT_EQ(travel({}, model).fault, "");
}

TEST(ForeignKey, comes_after_the_unique_index_that_it_refers_to_and_goes_before_it) {
  EXPECT_EQ(travel(with_later_key(true, false), with_later_key(true, true)).fault, "");
  EXPECT_EQ(travel(with_later_key(false, false), with_later_key(true, true)).fault, "");
  EXPECT_EQ(travel(with_later_key(true, true), with_later_key(false, false)).fault, "");
}

TEST(ForeignKey, outlives_the_replacement_of_the_unique_index_that_it_refers_to) {
  auto after = with_later_key(true, true);
  after.tables[1].indexes[0].include = {"name"};
  EXPECT_EQ(travel(with_later_key(true, true), after).fault, "");
  after.tables[1].indexes[0] = {.columns = {"name"}, .unique = true, .label = "other"};
  EXPECT_EQ(travel(with_later_key(true, true), after).fault, "");
}

// Names that change hands.

// The refusals of what cannot be told from the names alone; nothing is done then.
Strings refusals(const Model& from, const Model& to) {
  const auto trip = travel(from, to);
  EXPECT_EQ(trip.fault, "");
  return trip.difference.refusals;
}

void expect_two_steps(const Model& from, const Model& to, const std::string& object) {
  const auto said = refusals(from, to);
  EXPECT_FALSE(said.empty()) << object;
  const bool told = std::ranges::any_of(said, [&](const auto& text) {
    return mentions(text, object + ": it is to be renamed from ") && mentions(text, "Make two revisions");
  });
  EXPECT_TRUE(told) << object << "\n" << fmt::format("{}", fmt::join(said, "\n"));
}

struct Names {
  std::string name;
  std::string renamed_from;
};

// Columns of different types, so that nothing else asks about them.
Model with_columns(const std::vector<Names>& names) {
  const Strings types{"text", "integer", "uuid"};
  Table table{.name = "t", .columns = {{.name = "id", .type = "bigint"}}};
  for (std::size_t i = 0; i < names.size(); ++i) {
    table.columns.push_back(
        {.name = names[i].name, .type = types[i], .nullable = true, .renamed_from = names[i].renamed_from});
  }
  return {.tables = {table}};
}

Model with_tables(const std::vector<Names>& names) {
  Model out;
  for (const auto& one : names) {
    out.tables.push_back(
        {.name = one.name, .columns = {{.name = "id", .type = "bigint"}}, .renamed_from = one.renamed_from});
  }
  return out;
}

Model with_types(const std::vector<Names>& names) {
  Model out;
  for (const auto& one : names) {
    out.enums.push_back({.name = one.name, .values = {"a", "b"}, .renamed_from = one.renamed_from});
  }
  return out;
}

TEST(Rename, from_a_name_that_is_used_again_is_refused_with_a_recipe) {
  expect_two_steps(with_columns({{"x", ""}}), with_columns({{"y", "x"}, {"x", ""}}), "Column t.y");
  expect_two_steps(with_tables({{"x", ""}}), with_tables({{"y", "x"}, {"x", ""}}), "Table y");
  expect_two_steps(with_types({{"x", ""}}), with_types({{"y", "x"}, {"x", ""}}), "Enum y");
}

TEST(Rename, of_two_that_change_places_is_refused_with_a_recipe) {
  expect_two_steps(with_columns({{"x", ""}, {"y", ""}}), with_columns({{"y", "x"}, {"x", "y"}}), "Column t.y");
  expect_two_steps(with_tables({{"x", ""}, {"y", ""}}), with_tables({{"y", "x"}, {"x", "y"}}), "Table y");
  expect_two_steps(with_types({{"x", ""}, {"y", ""}}), with_types({{"y", "x"}, {"x", "y"}}), "Enum y");
}

TEST(Rename, of_one_to_the_old_name_of_another_is_refused_or_done_right) {
  for (const bool reverse : {false, true}) {
    const auto in_order = [&](std::vector<Names> names) {
      if (reverse) std::ranges::reverse(names);
      return names;
    };
    // x -> y, y -> z: the types of the columns follow their names.
    const Strings types{"text", "integer"};
    const auto columns = [&](std::vector<Names> names) {
      auto out = with_columns(names);
      for (std::size_t i = 0; i < names.size(); ++i) out.tables[0].columns[i + 1].type = types[i];
      return out;
    };
    auto before = columns({{"x", ""}, {"y", ""}});
    auto after = columns({{"y", "x"}, {"z", "y"}});
    if (reverse) std::swap(after.tables[0].columns[1], after.tables[0].columns[2]);
    for (const auto& [from, to] :
         {std::pair{before, after},
          std::pair{with_tables({{"x", ""}, {"y", ""}}), with_tables(in_order({{"y", "x"}, {"z", "y"}}))},
          std::pair{with_types({{"x", ""}, {"y", ""}}), with_types(in_order({{"y", "x"}, {"z", "y"}}))}}) {
      const auto said = refusals(from, to);
      const bool told =
          std::ranges::any_of(said, [](const auto& text) { return mentions(text, "Make two revisions"); });
      EXPECT_TRUE(told) << reverse << " " << text_of(travel(from, to).difference);
    }
  }
}

TEST(Rename, that_was_done_is_no_reason_to_refuse_a_new_owner_of_the_old_name) {
  EXPECT_EQ(refusals(with_columns({{"y", ""}}), with_columns({{"y", "x"}, {"x", ""}})), Strings{});
  EXPECT_EQ(refusals(with_tables({{"y", ""}}), with_tables({{"y", "x"}, {"x", ""}})), Strings{});
  EXPECT_EQ(refusals(with_types({{"y", ""}}), with_types({{"y", "x"}, {"x", ""}})), Strings{});
}

// Enums.

Model with_mood(const std::string& name, const std::string& before, Strings values = {"calm", "angry"}) {
  const auto quoted = quoted_name(name);
  return {.enums = {{.name = name, .values = std::move(values), .comment = "c", .renamed_from = before}},
          .tables = {{.name = "mood_log",
                      .columns = {{.name = "id", .type = "bigint"},
                                  {.name = "mood", .type = quoted, .default_value = "'calm'"},
                                  {.name = "moods", .type = quoted + "[]", .default_value = "'{calm,angry}'"},
                                  {.name = "calm", .type = "boolean", .generated = "mood = 'calm'"}},
                      .primary_key = {"id"},
                      .uniques = {{.columns = {"mood"}}},
                      .checks = {{.label = "mood", .expression = "mood <> 'angry' OR 'calm' = ANY (moods)"}},
                      .indexes = {{.columns = {"id"}, .where = "mood = 'calm'", .comment = "c"},
                                  {.columns = {"moods"}, .method = "gin", .where = "moods <> '{angry}'"}}},
                     {.name = "days",
                      .columns = {{.name = "mood", .type = quoted}, {.name = "x", .type = "integer"}},
                      .checks = {{.label = "mood", .expression = "mood <> 'angry'"}},
                      .partition_by = "LIST (mood)"}}};
}

TEST(EnumRename, takes_defaults_checks_indexes_and_arrays_along) {
  for (const std::string name : {"temper", "moody", "Mood", "order"}) {
    const auto trip = travel(with_mood("mood", ""), with_mood(name, "mood"),
                             "INSERT INTO mood_log (id) VALUES (1);\n"
                             "CREATE TABLE calm_days PARTITION OF days FOR VALUES IN ('calm');\n");
    EXPECT_EQ(trip.fault, "");
    EXPECT_EQ(trip.difference.changes.size(), 1) << text_of(trip.difference);
    const auto back = travel(with_mood(name, ""), with_mood("mood", name), "INSERT INTO mood_log (id) VALUES (1);\n");
    EXPECT_EQ(back.fault, "");
    EXPECT_EQ(back.difference.changes.size(), 1) << text_of(back.difference);
  }
}

TEST(EnumRename, leaves_texts_alone_that_only_look_like_the_type) {
  const auto with_text = [](Model model) {
    model.tables[0].checks.push_back({.label = "text", .expression = "mood::text <> 'a::mood'"});
    return model;
  };
  const auto trip = travel(with_text(with_mood("mood", "")), with_text(with_mood("temper", "mood")));
  EXPECT_EQ(trip.fault, "");
  EXPECT_EQ(trip.difference.changes.size(), 1) << text_of(trip.difference);
}

TEST(EnumRename, that_was_done_is_not_asked_for_again) {
  EXPECT_TRUE(travel(with_mood("temper", ""), with_mood("temper", "mood")).difference.empty());
}

TEST(EnumRename, together_with_added_values_is_refused_with_a_recipe) {
  const auto said = refusals(with_mood("mood", ""), with_mood("temper", "mood", {"calm", "wild", "angry"}));
  EXPECT_EQ(said.size(), 1);
  EXPECT_TRUE(mentions(said.front(), "Enum temper") && mentions(said.front(), "two revisions, the rename first"));
}

// What no model describes.

TEST(DroppedTable, is_warned_about_with_all_that_does_not_come_back) {
  on_an_empty_database([](pg::Connection& connection) -> Async<> {
    co_await run_sql(connection,
                     "CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;"
                     "CREATE UNLOGGED TABLE busy (id serial, x int) WITH (fillfactor = 70, autovacuum_enabled = false);"
                     "CREATE TRIGGER note BEFORE INSERT ON busy FOR EACH ROW EXECUTE FUNCTION noted();"
                     "CREATE RULE quiet AS ON DELETE TO busy DO INSTEAD NOTHING;"
                     "ALTER TABLE busy ENABLE ROW LEVEL SECURITY; CREATE POLICY mine ON busy USING (x > 0);"
                     "CREATE TABLE plain (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, x int REFERENCES plain)");
    const auto difference = co_await difference_of(connection, {});
    std::string of_busy;
    for (const auto& change : difference.changes) {
      if (change.phase != Phase::drop_tables) continue;
      EXPECT_TRUE(change.review);
      if (change.object == "plain") EXPECT_EQ(change.warnings, Strings{});
      if (change.object == "busy") of_busy = fmt::format("{}", fmt::join(change.warnings, "\n"));
    }
    for (const auto* what :
         {"Does not come back", "trigger note", "rule quiet", "policy mine", "row security", "UNLOGGED",
          "storage parameter fillfactor=70", "storage parameter autovacuum_enabled=false", "sequence busy_id_seq"}) {
      EXPECT_TRUE(mentions(of_busy, what)) << what << " in: " << of_busy;
    }
    // It is told where a person reads it.
    const auto revisions = revisions_for(difference, {"base"}, "m");
    EXPECT_EQ(revisions.size(), 1);
    EXPECT_TRUE(mentions(revisions.front().upgrade, "-- WARNING: Does not come back")) << revisions.front().upgrade;
  });
}

}  // namespace
}  // namespace cognive::schema
