// For every kind of difference, there and back on a real database: the model changes, revisions are written and
// applied, nothing is left to do; they are taken back, and the catalogue is what it was.
#include "schema/compare.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "schema/database_test.hpp"

namespace cognive::schema {
namespace {

// Teams with members and a partitioned table of events.
Model base() {
  return {.enums = {{.name = "mood", .values = {"calm", "angry"}}},
          .tables = {{.name = "teams",
                      .columns = {{.name = "id", .type = "uuid"},
                                  {.name = "name", .type = "text"},
                                  {.name = "size", .type = "integer", .nullable = true},
                                  {.name = "mood", .type = "mood", .default_value = "'calm'"},
                                  {.name = "labels", .type = "jsonb", .default_value = "'{}'"},
                                  {.name = "created_at", .type = "timestamptz", .default_value = "now()"}},
                      .primary_key = {"id"}},
                     {.name = "members",
                      .columns = {{.name = "id", .type = "bigint"},
                                  {.name = "team_id", .type = "uuid"},
                                  {.name = "email", .type = "text", .nullable = true}},
                      .primary_key = {"id"}},
                     {.name = "events",
                      .columns = {{.name = "day", .type = "date"},
                                  {.name = "id", .type = "uuid"},
                                  {.name = "team_id", .type = "uuid"},
                                  {.name = "note", .type = "text", .nullable = true}},
                      .primary_key = {"id", "day"},
                      .partition_by = "RANGE (day)"}}};
}

constexpr const char* rows =
    "INSERT INTO teams (id, name, size) SELECT gen_random_uuid(), 'team ' || n, n FROM generate_series(1, 3) n;\n"
    "INSERT INTO members (id, team_id, email) OVERRIDING SYSTEM VALUE SELECT row_number() OVER (), id, name FROM "
    "teams;\n"
    "CREATE TABLE events_of_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');\n"
    "INSERT INTO events (day, id, team_id) SELECT '2026-03-04', gen_random_uuid(), id FROM teams;\n";

Table& table(Model& model, std::string_view name) {
  return *std::ranges::find(model.tables, name, &Table::name);
}
Table& teams(Model& model) {
  return table(model, "teams");
}
Table& members(Model& model) {
  return table(model, "members");
}
Table& events(Model& model) {
  return table(model, "events");
}
Column& column(Table& of, std::string_view name) {
  return *std::ranges::find(of.columns, name, &Column::name);
}
using Edit = std::function<void(Model&)>;
void nothing(Model&) {}

struct Case {
  std::string name;
  Edit edit;                   // from the base model to the one side,
  Edit other = nothing;        // and to the other one
  const char* between = rows;  // what the database has when its model changes
};

Model model_of(const Edit& edit) {
  auto model = base();
  edit(model);
  return model;
}

// Columns.
const std::vector<Case> columns = {
    {"nullable_column",
     [](Model& m) { teams(m).columns.push_back({.name = "motto", .type = "text", .nullable = true}); }},
    {"column_with_a_default",
     [](Model& m) {
       teams(m).columns.push_back({.name = "motto", .type = "text", .default_value = "'it''s \\ ; --'"});
     }},
    {"column_with_a_volatile_default",
     [](Model& m) {
       teams(m).columns.push_back({.name = "token", .type = "uuid", .default_value = "gen_random_uuid()"});
     }},
    {"mandatory_column", [](Model& m) { teams(m).columns.push_back({.name = "motto", .type = "text"}); }, nothing, ""},
    {"column_with_everything_on_it",
     [](Model& m) {
       auto& of = teams(m);
       of.columns.push_back(
           {.name = "rank", .type = "integer", .nullable = true, .collation = "", .comment = "Higher is better"});
       of.uniques.push_back({.columns = {"rank", "name"}});
       of.checks.push_back({.label = "rank", .expression = "rank > 0 AND rank < size"});
       of.indexes.push_back({.columns = {"rank"}, .where = "rank > 1", .comment = "Why not"});
       of.indexes.push_back({.columns = {"name"}, .include = {"rank"}, .label = "with_rank"});
       of.indexes.push_back({.columns = {"(rank + 1)"}, .label = "next_rank"});
       of.indexes.push_back({.columns = {"name"}, .where = "rank = 1", .label = "first"});
     }},
    {"reference_with_its_column",
     [](Model& m) {
       auto& of = members(m);
       of.columns.push_back({.name = "second_team_id", .type = "uuid", .nullable = true});
       of.foreign_keys.push_back({.columns = {"second_team_id"}, .table = "teams"});
     }},
    {"columns_in_the_middle_and_of_many_types",
     [](Model& m) {
       auto& list = teams(m).columns;
       list.insert(list.begin() + 1, {.name = "zz", .type = "varchar(20)", .nullable = true});
       list.insert(list.begin() + 2, {.name = "aa", .type = "numeric(20, 4)", .nullable = true});
       list.insert(list.begin() + 2, {.name = "Order of; things", .type = "text[]", .nullable = true});
       list.push_back({.name = "order", .type = "mood[]", .default_value = "'{calm}'"});
       list.push_back({.name = "select", .type = "timestamp(3) with time zone", .nullable = true});
     }},
    {"type_to_a_wider_one", [](Model& m) { column(teams(m), "size").type = "bigint"; }},
    {"type_of_text", [](Model& m) { column(teams(m), "name").type = "varchar(200)"; },
     [](Model& m) { column(teams(m), "name").type = "varchar(20)"; }},
    {"type_and_default_and_check",
     [](Model& m) {
       column(teams(m), "size") = {.name = "size", .type = "integer", .default_value = "7"};
       teams(m).checks.push_back({.label = "size", .expression = "size > 0"});
       teams(m).indexes.push_back({.columns = {"size"}, .where = "size > 5"});
     },
     [](Model& m) {
       column(teams(m), "size") = {.name = "size", .type = "numeric(12,2)", .default_value = "7.5"};
       teams(m).checks.push_back({.label = "size", .expression = "size > 0"});
       teams(m).indexes.push_back({.columns = {"size"}, .where = "size > 5"});
     }},
    {"type_from_text_to_an_enum",
     [](Model& m) { column(teams(m), "mood") = {.name = "mood", .type = "text", .default_value = "'calm'"}; }},
    {"type_of_what_a_reference_uses",
     [](Model& m) {
       members(m).columns.push_back({.name = "boss_id", .type = "bigint", .nullable = true});
       members(m).foreign_keys.push_back({.columns = {"boss_id"}, .table = "members"});
     },
     [](Model& m) {
       column(members(m), "id").type = "text";
       members(m).columns.push_back({.name = "boss_id", .type = "text", .nullable = true});
       members(m).foreign_keys.push_back({.columns = {"boss_id"}, .table = "members"});
     }},
    {"type_of_a_column_whose_name_is_part_of_a_generated_one",
     [](Model& m) {
       column(teams(m), "size").type = "bigint";
       teams(m).columns.push_back(
           {.name = "oversize", .type = "boolean", .nullable = true, .generated = "length(name) > 9"});
     },
     [](Model& m) {
       teams(m).columns.push_back(
           {.name = "oversize", .type = "boolean", .nullable = true, .generated = "length(name) > 9"});
     }},
    {"nullability", [](Model& m) { column(teams(m), "size").nullable = false; }},
    {"nullability_in_a_partitioned_table", [](Model& m) { column(events(m), "team_id").nullable = true; }},
    {"default_appears", [](Model& m) { column(teams(m), "size").default_value = "1 + 1"; }},
    {"default_changes", [](Model& m) { column(teams(m), "mood").default_value = "'angry'"; }},
    {"default_becomes_volatile", [](Model& m) { column(teams(m), "created_at").default_value = "clock_timestamp()"; }},
    {"generated_column",
     [](Model& m) {
       teams(m).columns.push_back(
           {.name = "double_size", .type = "integer", .nullable = true, .generated = "size * 2"});
     }},
    {"generated_column_with_its_source",
     [](Model& m) {
       teams(m).columns.push_back({.name = "weight", .type = "integer", .default_value = "3"});
       teams(m).columns.push_back({.name = "burden", .type = "integer", .generated = "weight * 2"});
     }},
    {"generated_column_from_one_that_was_generated_before",
     [](Model& m) {
       column(teams(m), "size").type = "bigint";
       teams(m).columns.push_back({.name = "double_size", .type = "bigint", .nullable = true, .generated = "size * 2"});
     },
     [](Model& m) { column(teams(m), "size").type = "bigint"; }},
    {"type_of_a_generated_column",
     [](Model& m) {
       teams(m).columns.push_back({.name = "slug", .type = "text", .nullable = true, .generated = "lower(name)"});
     },
     [](Model& m) {
       teams(m).columns.push_back(
           {.name = "slug", .type = "text", .nullable = true, .generated = "lower(name)", .collation = "C"});
     }},
    {"type_of_a_generated_column_itself",
     [](Model& m) {
       teams(m).columns.push_back({.name = "slug", .type = "text", .nullable = true, .generated = "lower(name)"});
     },
     [](Model& m) {
       teams(m).columns.push_back(
           {.name = "slug", .type = "varchar(70)", .nullable = true, .generated = "lower(name)"});
     }},
    {"identity_appears", [](Model& m) { column(members(m), "id").identity = IdentityKind::always; }},
    {"identity_changes", [](Model& m) { column(members(m), "id").identity = IdentityKind::always; },
     [](Model& m) { column(members(m), "id").identity = IdentityKind::by_default; }},
    {"identity_in_place_of_a_default_and_of_null",
     [](Model& m) {
       members(m).columns.push_back({.name = "number", .type = "bigint", .identity = IdentityKind::by_default});
     },
     [](Model& m) {
       members(m).columns.push_back({.name = "number", .type = "integer", .nullable = true, .default_value = "5"});
     }},
    {"column_with_identity",
     [](Model& m) {
       members(m).columns.push_back({.name = "number", .type = "bigint", .identity = IdentityKind::always});
     }},
    {"collation", [](Model& m) { column(teams(m), "name").collation = "C"; }},
    {"collation_changes", [](Model& m) { column(teams(m), "name").collation = "C"; },
     [](Model& m) { column(teams(m), "name").collation = "POSIX"; }},
    {"column_with_a_collation",
     [](Model& m) {
       teams(m).columns.push_back({.name = "slug", .type = "varchar(9)", .default_value = "'x'", .collation = "C"});
     }},
    {"column_comment", [](Model& m) { column(teams(m), "name").comment = "It's a \\name;\nin two lines"; }},
    {"column_comment_changes", [](Model& m) { column(teams(m), "name").comment = "a"; },
     [](Model& m) { column(teams(m), "name").comment = "b"; }},
};

// Tables, and types.
const std::vector<Case> tables = {
    {"table",
     [](Model& m) {
       m.tables.push_back({.name = "audits",
                           .comment = "What; happened",
                           .columns = {{.name = "id", .type = "bigint", .identity = IdentityKind::always},
                                       {.name = "team_id", .type = "uuid", .comment = "Whose"},
                                       {.name = "name", .type = "text", .collation = "C"},
                                       {.name = "slug", .type = "text", .generated = "lower(name)"},
                                       {.name = "mood", .type = "mood", .default_value = "'angry'"}},
                           .primary_key = {"id"},
                           .uniques = {{.columns = {"team_id", "name"}, .nulls_not_distinct = true}},
                           .foreign_keys = {{.columns = {"team_id"}, .table = "teams", .on_delete = Action::cascade}},
                           .checks = {{.label = "name", .expression = "name <> '' AND name != 'x'"}},
                           .indexes = {{.columns = {"name"}, .where = "mood = 'calm'", .comment = "Hm"}}});
     }},
    {"tables_that_refer_to_each_other",
     [](Model& m) {
       m.tables.push_back({.name = "b",
                           .columns = {{.name = "id", .type = "uuid"}, {.name = "z_id", .type = "uuid"}},
                           .primary_key = {"id"},
                           .foreign_keys = {{.columns = {"z_id"}, .table = "z"}}});
       m.tables.push_back({.name = "z",
                           .columns = {{.name = "id", .type = "uuid"}, {.name = "b_id", .type = "uuid"}},
                           .primary_key = {"id"},
                           .foreign_keys = {{.columns = {"b_id"}, .table = "b"}, {.columns = {"id"}, .table = "z"}}});
       members(m).columns.push_back({.name = "z_id", .type = "uuid", .nullable = true});
       members(m).foreign_keys.push_back({.columns = {"z_id"}, .table = "z"});
     }},
    {"partitioned_table",
     [](Model& m) {
       m.tables.push_back({.name = "points",
                           .columns = {{.name = "day", .type = "date"}, {.name = "x", .type = "integer"}},
                           .indexes = {{.columns = {"x"}}},
                           .partition_by = "RANGE (day)"});
     }},
    {"table_and_enum",
     [](Model& m) {
       m.enums.push_back({.name = "State", .values = {"draft", "it's done"}, .comment = "Of orders"});
       m.tables.push_back({.name = "order",
                           .columns = {{.name = "id", .type = "uuid"},
                                       {.name = "state", .type = "\"State\"", .default_value = "'draft'"},
                                       {.name = "states", .type = "\"State\"[]", .nullable = true}},
                           .primary_key = {"id"}});
     }},
    {"table_comment", [](Model& m) { teams(m).comment = "It's them"; }},
    {"table_comment_changes", [](Model& m) { teams(m).comment = "a"; }, [](Model& m) { teams(m).comment = "b"; }},
    {"enum_and_a_column_of_it",
     [](Model& m) {
       m.enums.push_back({.name = "state", .values = {"draft"}});
       teams(m).columns.push_back({.name = "state", .type = "state", .default_value = "'draft'"});
     }},
    {"enum_without_values", [](Model& m) { m.enums.push_back({.name = "state", .values = {}}); }},
    {"enum_comment", [](Model& m) { m.enums[0].comment = "How they are"; }},
    {"long_names",
     [](Model& m) {
       const std::string name(50, 'n');
       teams(m).columns.push_back({.name = name, .type = "text", .nullable = true});
       teams(m).uniques.push_back({.columns = {name, "name"}});
       teams(m).indexes.push_back({.columns = {name, "size"}});
       teams(m).checks.push_back({.label = name, .expression = name + " <> ''"});
     }},
};

// Keys, checks and indexes.
const std::vector<Case> constraints = {
    {"unique", [](Model& m) { teams(m).uniques.push_back({.columns = {"name"}}); }},
    {"unique_without_distinct_nulls",
     [](Model& m) { teams(m).uniques.push_back({.columns = {"name", "size"}, .nulls_not_distinct = true}); },
     [](Model& m) { teams(m).uniques.push_back({.columns = {"name", "size"}}); }},
    {"unique_of_other_columns",
     [](Model& m) { teams(m).uniques.push_back({.columns = {"name", "size"}, .label = "u"}); },
     [](Model& m) { teams(m).uniques.push_back({.columns = {"size", "name"}, .label = "u"}); }},
    {"unique_of_another_name", [](Model& m) { teams(m).uniques.push_back({.columns = {"name"}, .label = "a"}); },
     [](Model& m) { teams(m).uniques.push_back({.columns = {"name"}, .label = "b"}); }},
    {"unique_in_a_partitioned_table",
     [](Model& m) { events(m).uniques.push_back({.columns = {"day", "team_id", "id"}}); }},
    {"unique_and_who_refers_to_it",
     [](Model& m) {
       teams(m).uniques.push_back({.columns = {"name"}});
       members(m).foreign_keys.push_back({.columns = {"email"}, .table = "teams", .references = {"name"}});
     }},
    {"unique_that_somebody_refers_to",
     [](Model& m) {
       teams(m).uniques.push_back({.columns = {"name"}});
       members(m).foreign_keys.push_back({.columns = {"email"}, .table = "teams", .references = {"name"}});
     },
     [](Model& m) {
       teams(m).uniques.push_back({.columns = {"name"}, .nulls_not_distinct = true});
       members(m).foreign_keys.push_back({.columns = {"email"}, .table = "teams", .references = {"name"}});
     }},
    {"unique_of_another_name_that_somebody_refers_to",
     [](Model& m) {
       teams(m).uniques.push_back({.columns = {"name"}, .label = "a"});
       members(m).foreign_keys.push_back({.columns = {"email"}, .table = "teams", .references = {"name"}});
     },
     [](Model& m) {
       teams(m).uniques.push_back({.columns = {"name"}, .label = "b"});
       members(m).foreign_keys.push_back({.columns = {"email"}, .table = "teams", .references = {"name"}});
     }},
    {"unique_of_another_name_and_definition_that_somebody_refers_to",
     [](Model& m) {
       teams(m).uniques.push_back({.columns = {"name"}, .label = "a"});
       members(m).foreign_keys.push_back({.columns = {"email"}, .table = "teams", .references = {"name"}});
     },
     [](Model& m) {
       teams(m).uniques.push_back({.columns = {"name"}, .nulls_not_distinct = true, .label = "b"});
       members(m).foreign_keys.push_back({.columns = {"email"}, .table = "teams", .references = {"name"}});
     }},
    {"unique_of_another_order_that_several_refer_to",
     [](Model& m) {
       teams(m).uniques.push_back({.columns = {"id", "name"}});
       members(m).foreign_keys.push_back(
           {.columns = {"team_id", "email"}, .table = "teams", .references = {"id", "name"}});
       teams(m).foreign_keys.push_back({.columns = {"id", "name"}, .table = "teams", .references = {"id", "name"}});
     },
     [](Model& m) {
       teams(m).uniques.push_back({.columns = {"name", "id"}});
       members(m).foreign_keys.push_back(
           {.columns = {"team_id", "email"}, .table = "teams", .references = {"id", "name"}});
       teams(m).foreign_keys.push_back({.columns = {"id", "name"}, .table = "teams", .references = {"id", "name"}});
     }},
    {"unique_that_a_partitioned_table_refers_to",
     [](Model& m) {
       teams(m).uniques.push_back({.columns = {"name"}});
       events(m).foreign_keys.push_back({.columns = {"note"}, .table = "teams", .references = {"name"}});
     },
     [](Model& m) {
       teams(m).uniques.push_back({.columns = {"name"}, .nulls_not_distinct = true, .label = "b"});
       events(m).foreign_keys.push_back({.columns = {"note"}, .table = "teams", .references = {"name"}});
     }},
    {"unique_and_a_new_table_that_refers_to_it",
     [](Model& m) {
       teams(m).uniques.push_back({.columns = {"name"}});
       m.tables.push_back({.name = "fans",
                           .columns = {{.name = "team", .type = "text"}},
                           .foreign_keys = {{.columns = {"team"}, .table = "teams", .references = {"name"}}}});
     }},
    {"check",
     [](Model& m) { teams(m).checks.push_back({.label = "name", .expression = "name IN ('a', 'b') OR size > 0"}); }},
    {"check_changes", [](Model& m) { teams(m).checks.push_back({.label = "name", .expression = "name <> ''"}); },
     [](Model& m) { teams(m).checks.push_back({.label = "name", .expression = "name != 'x'"}); }},
    {"check_that_is_printed_differently_each_time",
     [](Model& m) {
       column(teams(m), "name").type = "varchar(20)";
       teams(m).checks.push_back({.label = "name", .expression = "name IN ('team 1', 'team 2', 'team 3')"});
       teams(m).indexes.push_back({.columns = {"size"}, .where = "name IN ('team 1', 'team 2')"});
     }},
    {"check_in_a_partitioned_table",
     [](Model& m) { events(m).checks.push_back({.label = "note", .expression = "note <> ''"}); }},
    {"reference", [](Model& m) { members(m).foreign_keys.push_back({.columns = {"team_id"}, .table = "teams"}); }},
    {"reference_with_actions",
     [](Model& m) { members(m).foreign_keys.push_back({.columns = {"team_id"}, .table = "teams"}); },
     [](Model& m) {
       members(m).foreign_keys.push_back(
           {.columns = {"team_id"}, .table = "teams", .on_delete = Action::cascade, .on_update = Action::restrict_});
     }},
    {"reference_with_other_actions",
     [](Model& m) {
       members(m).foreign_keys.push_back({.columns = {"team_id"}, .table = "teams", .on_delete = Action::set_null});
     },
     [](Model& m) {
       members(m).foreign_keys.push_back({.columns = {"team_id"}, .table = "teams", .on_update = Action::set_default});
     }},
    {"reference_that_is_deferred",
     [](Model& m) { members(m).foreign_keys.push_back({.columns = {"team_id"}, .table = "teams"}); },
     [](Model& m) {
       members(m).foreign_keys.push_back({.columns = {"team_id"}, .table = "teams", .initially_deferred = true});
     }},
    {"reference_from_a_partitioned_table",
     [](Model& m) { events(m).foreign_keys.push_back({.columns = {"team_id"}, .table = "teams"}); }},
    {"reference_to_a_partitioned_table",
     [](Model& m) {
       members(m).columns.push_back({.name = "day", .type = "date", .nullable = true});
       members(m).foreign_keys.push_back(
           {.columns = {"team_id", "day"}, .table = "events", .references = {"id", "day"}});
     }},
    {"reference_of_another_name",
     [](Model& m) { members(m).foreign_keys.push_back({.columns = {"team_id"}, .table = "teams", .label = "a"}); },
     [](Model& m) { members(m).foreign_keys.push_back({.columns = {"team_id"}, .table = "teams", .label = "b"}); }},
    {"index", [](Model& m) { teams(m).indexes.push_back({.columns = {"name", "created_at DESC"}, .label = "name"}); }},
    {"index_becomes_unique", [](Model& m) { teams(m).indexes.push_back({.columns = {"name"}}); },
     [](Model& m) { teams(m).indexes.push_back({.columns = {"name"}, .unique = true}); }},
    {"index_without_distinct_nulls",
     [](Model& m) { teams(m).indexes.push_back({.columns = {"size"}, .unique = true}); },
     [](Model& m) { teams(m).indexes.push_back({.columns = {"size"}, .unique = true, .nulls_not_distinct = true}); }},
    {"index_becomes_partial", [](Model& m) { teams(m).indexes.push_back({.columns = {"name"}}); },
     [](Model& m) { teams(m).indexes.push_back({.columns = {"name"}, .where = "mood <> 'calm' AND name != ''"}); }},
    {"index_of_an_expression",
     [](Model& m) { teams(m).indexes.push_back({.columns = {"lower(name)"}, .label = "name"}); },
     [](Model& m) { teams(m).indexes.push_back({.columns = {"(upper(name) || 'x')", "size"}, .label = "name"}); }},
    {"index_includes_more", [](Model& m) { teams(m).indexes.push_back({.columns = {"name"}}); },
     [](Model& m) { teams(m).indexes.push_back({.columns = {"name"}, .include = {"size", "created_at"}}); }},
    {"brin_index_with_parameters",
     [](Model& m) { teams(m).indexes.push_back({.columns = {"created_at"}, .method = "brin"}); },
     [](Model& m) {
       teams(m).indexes.push_back({.columns = {"created_at"}, .method = "brin", .with = "pages_per_range = 32"});
     }},
    {"gin_index_with_an_operator_class",
     [](Model& m) { teams(m).indexes.push_back({.columns = {"labels"}, .method = "gin"}); },
     [](Model& m) {
       teams(m).indexes.push_back({.columns = {"labels jsonb_path_ops"}, .method = "gin", .label = "labels"});
     }},
    {"index_method", [](Model& m) { teams(m).indexes.push_back({.columns = {"name"}}); },
     [](Model& m) { teams(m).indexes.push_back({.columns = {"name"}, .method = "hash"}); }},
    {"index_of_another_name", [](Model& m) { teams(m).indexes.push_back({.columns = {"name"}, .comment = "c"}); },
     [](Model& m) { teams(m).indexes.push_back({.columns = {"name"}, .label = "other", .comment = "c"}); }},
    {"index_of_a_partitioned_table",
     [](Model& m) { events(m).indexes.push_back({.columns = {"team_id"}, .comment = "c"}); },
     [](Model& m) { events(m).indexes.push_back({.columns = {"team_id", "day"}}); }},
    {"index_comment", [](Model& m) { teams(m).indexes.push_back({.columns = {"name"}, .comment = "a"}); },
     [](Model& m) { teams(m).indexes.push_back({.columns = {"name"}}); }},
};

class AnyDifference : public ::testing::TestWithParam<Case> {};

TEST_P(AnyDifference, is_gone_after_its_revisions_and_back_after_their_way_back) {
  const auto& [name, edit, other, between] = GetParam();
  for (const bool reverse : {false, true}) {
    const auto a = model_of(reverse ? edit : other);
    const auto b = model_of(reverse ? other : edit);
    const auto trip = travel(a, b, between);
    EXPECT_EQ(trip.fault, "");
    EXPECT_FALSE(trip.difference.changes.empty());
    EXPECT_TRUE(trip.difference.refusals.empty()) << text_of(trip.difference);
  }
}

const auto name_of = [](const auto& info) { return info.param.name; };
INSTANTIATE_TEST_SUITE_P(OfColumns, AnyDifference, ::testing::ValuesIn(columns), name_of);
INSTANTIATE_TEST_SUITE_P(OfTables, AnyDifference, ::testing::ValuesIn(tables), name_of);
INSTANTIATE_TEST_SUITE_P(OfConstraints, AnyDifference, ::testing::ValuesIn(constraints), name_of);

}  // namespace
}  // namespace cognive::schema
