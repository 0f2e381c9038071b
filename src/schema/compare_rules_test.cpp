// What the comparison does not do by itself: what goes one way only, renames, refusals with a recipe, losses that a
// person decides on, and what large tables need.
#include <fmt/format.h>

#include <algorithm>

#include "schema/compare.hpp"
#include "schema/database_test.hpp"
#include "schema/statements.hpp"

namespace cognive::schema {
namespace {

Table teams() {
  return {.name = "teams",
          .columns = {{.name = "id", .type = "uuid"},
                      {.name = "name", .type = "text"},
                      {.name = "size", .type = "integer", .nullable = true}},
          .primary_key = {"id"}};
}

// With everything that mentions a column or a table.
Table members() {
  return {.name = "members",
          .columns = {{.name = "id", .type = "bigint"},
                      {.name = "name", .type = "text"},
                      {.name = "team_id", .type = "uuid", .nullable = true},
                      {.name = "boss_id", .type = "bigint", .nullable = true},
                      {.name = "slug", .type = "text", .nullable = true, .generated = "lower(name) || 'name'"}},
          .primary_key = {"id"},
          .uniques = {{.columns = {"team_id", "name"}}},
          .foreign_keys = {{.columns = {"team_id"}, .table = "teams", .on_delete = Action::cascade},
                           {.columns = {"boss_id"}, .table = "members"}},
          .checks = {{.label = "name", .expression = "name <> 'name'"}},
          .indexes = {{.columns = {"name"}, .where = "team_id IS NULL AND name <> 'id'"},
                      {.columns = {"lower(name)"}, .label = "lower_name"}}};
}

Model both() {
  return {.enums = {{.name = "mood", .values = {"calm", "angry"}}}, .tables = {teams(), members()}};
}

std::string statements(const Difference& difference, Stage stage) {
  std::string out;
  for (const auto& change : difference.changes) {
    if (change.stage == stage) out += change.up;
  }
  return out;
}

std::string warnings(const Difference& difference) {
  std::string out;
  for (const auto& change : difference.changes) {
    for (const auto& warning : change.warnings) out += warning + "\n";
  }
  return out;
}

// The one refusal that a change of model meets.
std::string refusal(const Model& from, const Model& to) {
  const auto trip = travel(from, to);
  EXPECT_EQ(trip.fault, "");
  EXPECT_EQ(trip.difference.refusals.size(), 1) << text_of(trip.difference);
  return trip.difference.refusals.empty() ? "" : trip.difference.refusals.front();
}

// Enums.

Model with_mood(std::vector<std::string> values) {
  auto model = both();
  model.enums[0].values = std::move(values);
  auto& table = model.tables[0];
  table.columns.push_back({.name = "mood", .type = "mood", .default_value = "'calm'"});
  table.columns.push_back({.name = "moods", .type = "mood[]", .default_value = "'{calm,angry}'"});
  table.checks.push_back({.label = "mood", .expression = "mood <> 'angry'"});
  table.indexes.push_back({.columns = {"name"}, .where = "mood = 'calm'", .comment = "c"});
  return model;
}

TEST(EnumValues, are_added_anywhere_and_taken_back) {
  const auto before = with_mood({"calm", "angry"});
  for (const auto& values : std::vector<std::vector<std::string>>{{"first", "second", "calm", "angry"},
                                                                  {"calm", "a", "b", "angry"},
                                                                  {"calm", "angry", "it's last", "very last"},
                                                                  {"x", "calm", "y", "angry", "z"}}) {
    const auto trip = travel(before, with_mood(values), "INSERT INTO teams VALUES (gen_random_uuid(), 'a', 1);\n");
    EXPECT_EQ(trip.fault, "");
    ASSERT_EQ(trip.difference.changes.size(), 1) << text_of(trip.difference);
    EXPECT_EQ(trip.difference.changes[0].stage, Stage::enum_values);
  }
}

TEST(EnumValues, come_in_a_revision_before_their_first_use_and_without_a_transaction) {
  auto after = with_mood({"calm", "angry", "wild"});
  after.tables[0].columns[3].default_value = "'wild'";
  const auto trip = travel(with_mood({"calm", "angry"}), after);
  EXPECT_EQ(trip.fault, "");
  const auto revisions = revisions_for(trip.difference, {"base"}, "m");
  ASSERT_EQ(revisions.size(), 2);
  EXPECT_FALSE(revisions[0].transaction);
  EXPECT_TRUE(mentions(revisions[0].upgrade, "ADD VALUE"));
  EXPECT_TRUE(revisions[1].transaction);
  EXPECT_EQ(revisions[1].down, std::vector{revisions[0].id});
}

TEST(EnumValues, are_taken_back_under_the_names_that_tables_had_before) {
  auto after = with_mood({"calm", "wild", "angry"});
  after.tables[0].name = "groups";
  after.tables[0].renamed_from = "teams";
  after.tables[0].columns[3].name = "temper";
  after.tables[0].columns[3].renamed_from = "mood";
  after.tables[0].checks = {{.label = "mood", .expression = "temper <> 'angry'"}};
  after.tables[0].indexes[0].where = "temper = 'calm'";
  after.tables[1].foreign_keys[0].table = "groups";
  EXPECT_EQ(travel(with_mood({"calm", "angry"}), after).fault, "");
}

TEST(EnumValues, are_not_removed_or_reordered_but_by_hand) {
  const auto said = refusal(with_mood({"calm", "angry"}), with_mood({"angry", "calm"}));
  EXPECT_TRUE(mentions(said, "mood") && mentions(said, "By hand: "));
  EXPECT_TRUE(mentions(refusal(both(), Model{.enums = {{.name = "mood", .values = {"calm"}}}, .tables = both().tables}),
                       "By hand: "));
}

// Renames.

TEST(Rename, of_a_table_takes_everything_along) {
  auto after = both();
  after.tables[0].name = "order";
  after.tables[0].renamed_from = "teams";
  after.tables[1].foreign_keys[0].table = "order";
  after.tables[1].name = "crew";
  after.tables[1].renamed_from = "members";
  after.tables[1].foreign_keys[1].table = "crew";
  const auto trip = travel(both(), after, "INSERT INTO teams VALUES (gen_random_uuid(), 'a', 1);\n");
  EXPECT_EQ(trip.fault, "");
  for (const auto& change : trip.difference.changes) {
    EXPECT_FALSE(change.review) << change.up;
    EXPECT_TRUE(mentions(change.up, "RENAME")) << change.up;
  }
}

TEST(Rename, of_a_column_takes_everything_along) {
  auto after = both();
  auto& crew = after.tables[1];
  crew.columns[1] = {.name = "user", .type = "text", .renamed_from = "name"};
  crew.columns[2] = {.name = "group_id", .type = "uuid", .nullable = true, .renamed_from = "team_id"};
  crew.columns[0] = {.name = "number", .type = "bigint", .renamed_from = "id"};
  crew.columns[4].generated = R"(lower("user") || 'name')";
  crew.primary_key = {"number"};
  crew.uniques = {{.columns = {"group_id", "user"}}};
  crew.foreign_keys[0].columns = {"group_id"};
  crew.checks = {{.label = "name", .expression = R"("user" <> 'name')"}};
  crew.indexes = {{.columns = {"user"}, .where = R"(group_id IS NULL AND "user" <> 'id')"},
                  {.columns = {R"(lower("user"))"}, .label = "lower_name"}};
  const auto trip = travel(both(), after);
  EXPECT_EQ(trip.fault, "");
  for (const auto& change : trip.difference.changes) EXPECT_TRUE(mentions(change.up, "RENAME")) << change.up;
}

TEST(Rename, of_a_column_that_is_called_like_the_one_it_refers_to_leaves_that_one_alone) {
  const auto model = [](std::string name, std::string before) {
    return Model{.tables = {{.name = "a", .columns = {{.name = "key", .type = "uuid"}}, .primary_key = {"key"}},
                            {.name = "b",
                             .columns = {{.name = name, .type = "uuid", .renamed_from = std::move(before)}},
                             .foreign_keys = {{.columns = {name}, .table = "a"}}}}};
  };
  const auto trip = travel(model("key", ""), model("lock", "key"));
  EXPECT_EQ(trip.fault, "");
  EXPECT_EQ(trip.difference.changes.size(), 2) << text_of(trip.difference);
}

TEST(Rename, of_a_column_that_rows_are_partitioned_by_is_no_change_of_the_partitioning) {
  const auto model = [](std::string name, std::string before) {
    return Model{.tables = {{.name = "points",
                             .columns = {{.name = name, .type = "date", .renamed_from = std::move(before)}},
                             .partition_by = "RANGE (" + name + ")"}}};
  };
  const auto trip = travel(model("day", ""), model("bucket", "day"),
                           "CREATE TABLE p PARTITION OF points FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');\n");
  EXPECT_EQ(trip.fault, "");
  EXPECT_EQ(trip.difference.changes.size(), 1) << text_of(trip.difference);
}

TEST(Rename, and_another_change_of_the_same_column_go_together) {
  auto after = both();
  after.tables[0].columns[2] = {.name = "weight", .type = "bigint", .default_value = "3", .renamed_from = "size"};
  EXPECT_EQ(travel(both(), after).fault, "");
}

TEST(Rename, that_was_done_is_not_asked_for_again) {
  auto model = both();
  model.tables[0].renamed_from = "groups";
  model.tables[0].columns[1].renamed_from = "title";
  EXPECT_TRUE(travel(both(), model).difference.empty());
}

TEST(Rename, is_asked_about_when_one_column_goes_and_one_of_its_type_comes) {
  auto after = both();
  after.tables[0].columns[1].name = "title";
  EXPECT_TRUE(mentions(refusal(both(), after), ".renamed_from = \"name\""));
}

TEST(Rename, is_asked_about_when_one_table_goes_and_one_with_its_columns_comes) {
  auto after = both();
  after.tables[0].name = "groups";
  after.tables[1].foreign_keys[0].table = "groups";
  EXPECT_TRUE(mentions(refusal(both(), after), ".renamed_from = \"teams\""));
}

// Refusals.

TEST(Refusal, of_a_changed_primary_key_has_a_recipe) {
  auto after = both();
  after.tables[1].foreign_keys.clear();
  const auto before = after;
  for (const std::vector<std::string>& key : std::vector<std::vector<std::string>>{{"id", "name"}, {"name"}, {}}) {
    after.tables[0].primary_key = key;
    EXPECT_TRUE(mentions(refusal(before, after), "By hand: "));
    EXPECT_TRUE(mentions(refusal(after, before), "By hand: "));
  }
}

TEST(Refusal, of_a_primary_key_whose_column_disappears_has_a_recipe) {
  auto after = both();
  after.tables[1].foreign_keys.clear();
  auto before = after;
  after.tables[0].primary_key = {};
  after.tables[0].columns.erase(after.tables[0].columns.begin());
  EXPECT_TRUE(mentions(refusal(before, after), "By hand: "));
}

TEST(Refusal, of_another_generation_has_a_recipe) {
  auto after = both();
  after.tables[1].columns[4].generated = "upper(name)";
  EXPECT_TRUE(mentions(refusal(both(), after), "By hand: "));
  after.tables[1].columns[4].generated = "";
  EXPECT_TRUE(mentions(refusal(both(), after), "By hand: "));
  EXPECT_TRUE(mentions(refusal(after, both()), "By hand: "));
}

TEST(Refusal, of_another_type_under_a_generated_column_has_a_recipe) {
  const auto model = [](std::string type) {
    return Model{.tables = {{.name = "t",
                             .columns = {{.name = "a", .type = std::move(type)},
                                         {.name = "b", .type = "text", .generated = "'x' || 1 + length(a)"}}}}};
  };
  EXPECT_TRUE(mentions(refusal(model("text"), model("text COLLATE \"C\"")), "By hand: "));
}

TEST(Refusal, of_another_partitioning_has_a_recipe) {
  const auto model = [](std::string by, std::string type) {
    return Model{.tables = {{.name = "t", .columns = {{.name = "a", .type = std::move(type)}}, .partition_by = by}}};
  };
  for (const std::string by : {"", "LIST (a)", "RANGE (a)"}) {
    for (const std::string other : {"", "LIST (a)", "RANGE (a)"}) {
      if (by == other) continue;
      EXPECT_TRUE(mentions(refusal(model(by, "date"), model(other, "date")), "By hand: "));
    }
  }
  EXPECT_TRUE(mentions(refusal(model("LIST (a)", "integer"), model("LIST (a)", "bigint")), "By hand: "));
}

// What stays different.

TEST(ColumnOrder, is_told_and_left_alone) {
  auto after = both();
  std::swap(after.tables[0].columns[1], after.tables[0].columns[2]);
  const auto trip = travel(both(), after);
  EXPECT_TRUE(trip.difference.empty());
  ASSERT_EQ(trip.difference.skips.size(), 1);
  EXPECT_TRUE(mentions(trip.difference.skips[0], "teams"));
}

TEST(NewColumns, come_in_the_order_of_the_model) {
  auto after = both();
  after.tables[0].columns.push_back({.name = "b", .type = "text", .nullable = true});
  after.tables[0].columns.push_back({.name = "a", .type = "text", .nullable = true});
  after.tables[0].columns.push_back({.name = "c", .type = "text", .nullable = true});
  const auto trip = travel(both(), after);
  EXPECT_EQ(trip.fault, "");
  const auto all = statements(trip.difference, Stage::structure);
  EXPECT_LT(all.find("ADD COLUMN b"), all.find("ADD COLUMN a"));
  EXPECT_LT(all.find("ADD COLUMN a"), all.find("ADD COLUMN c"));
}

TEST(Comparison, does_not_depend_on_the_order_in_which_tables_are_declared) {
  auto after = both();
  after.tables.push_back({.name = "a",
                          .columns = {{.name = "x", .type = "uuid"}},
                          .foreign_keys = {{.columns = {"x"}, .table = "teams"}}});
  after.tables.push_back({.name = "z", .columns = {{.name = "x", .type = "uuid"}}, .primary_key = {"x"}});
  after.tables.push_back(
      {.name = "b", .columns = {{.name = "x", .type = "uuid"}}, .foreign_keys = {{.columns = {"x"}, .table = "z"}}});
  const auto one = travel(both(), after).difference;
  std::ranges::reverse(after.tables);
  EXPECT_EQ(text_of(travel(both(), after).difference), text_of(one));
}

// Losses.

TEST(Loss, is_commented_out_and_everything_that_goes_with_it) {
  auto after = both();
  after.enums.clear();
  after.tables[1].columns.erase(after.tables[1].columns.begin() + 2);  // team_id
  after.tables[1].uniques.clear();
  after.tables[1].foreign_keys.erase(after.tables[1].foreign_keys.begin());
  after.tables[1].indexes.erase(after.tables[1].indexes.begin());
  after.tables.erase(after.tables.begin());  // teams
  const auto trip = travel(both(), after);
  EXPECT_EQ(trip.fault, "");
  ASSERT_FALSE(trip.difference.changes.empty());
  for (const auto& change : trip.difference.changes) EXPECT_TRUE(change.review) << change.up;
  const auto revisions = revisions_for(trip.difference, {"base"}, "m");
  ASSERT_EQ(revisions.size(), 1);
  for (const auto* text : {&revisions[0].upgrade, &revisions[0].downgrade}) {
    EXPECT_TRUE(split_statements(*text, 1).empty()) << *text;
    EXPECT_TRUE(mentions(*text, "-- REVIEW:")) << *text;
  }
}

// Large tables.

TEST(LargeTable, gets_its_indexes_and_keys_without_locks) {
  auto after = both();
  auto& table = after.tables[0];
  table.indexes.push_back({.columns = {"size"}});
  table.uniques.push_back({.columns = {"name"}});
  table.checks.push_back({.label = "size", .expression = "size > 0"});
  table.foreign_keys.push_back({.columns = {"id"}, .table = "teams"});
  table.columns[2].nullable = false;
  const auto trip = travel(both(), after);
  EXPECT_EQ(trip.fault, "");
  const auto together = statements(trip.difference, Stage::structure);
  for (const auto* without : {"INDEX", "UNIQUE", "SET NOT NULL", "VALIDATE"}) EXPECT_FALSE(mentions(together, without));
  EXPECT_TRUE(mentions(together, "CHECK ((size > 0)) NOT VALID"));
  EXPECT_TRUE(mentions(together, "REFERENCES teams(id) NOT VALID"));
  const auto apart = statements(trip.difference, Stage::online);
  EXPECT_TRUE(mentions(apart, "CREATE INDEX CONCURRENTLY teams_size_idx"));
  EXPECT_TRUE(mentions(apart, "CREATE UNIQUE INDEX CONCURRENTLY teams_name_key"));
  EXPECT_TRUE(mentions(apart, "VALIDATE CONSTRAINT teams_size_check"));
  EXPECT_TRUE(mentions(apart, "VALIDATE CONSTRAINT teams_id_fkey"));
  EXPECT_TRUE(mentions(apart, "CHECK (size IS NOT NULL) NOT VALID"));
  const auto revisions = revisions_for(trip.difference, {"base"}, "m");
  ASSERT_EQ(revisions.size(), 2);
  EXPECT_TRUE(revisions[0].transaction);
  EXPECT_FALSE(revisions[1].transaction);
}

TEST(LargeTable, is_warned_about_rewrites_and_locks) {
  const auto warned = [](const std::function<void(Table&)>& edit) {
    auto after = both();
    edit(after.tables[0]);
    return warnings(travel(both(), after).difference);
  };
  const auto with = [&](Column column) {
    return warned([&](Table& table) { table.columns.push_back(std::move(column)); });
  };
  EXPECT_TRUE(mentions(warned([](Table& table) { table.columns[2].type = "bigint"; }), "Rewrites the whole table"));
  EXPECT_FALSE(mentions(warned([](Table& table) { table.columns[1].type = "varchar"; }), "Rewrites"));
  EXPECT_TRUE(mentions(with({.name = "x", .type = "uuid", .default_value = "gen_random_uuid()"}), "Rewrites"));
  EXPECT_TRUE(mentions(with({.name = "x", .type = "integer", .generated = "size + 1"}), "Rewrites"));
  EXPECT_TRUE(mentions(with({.name = "x", .type = "integer"}), "Fails when the table has rows"));
  EXPECT_EQ(with({.name = "x", .type = "integer", .default_value = "0"}), "");
  EXPECT_TRUE(mentions(warned([](Table& table) { table.columns[2].nullable = false; }), "Fails while a row has NULL"));
}

}  // namespace
}  // namespace cognive::schema
