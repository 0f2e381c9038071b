// pg_dump as a second witness: what it writes is the same before a change and after its way back, and the same for a
// database that was changed as for one that was made from the model. It sees what the comparison does not read.
#include <algorithm>

#include "schema/compare.hpp"
#include "schema/database_test.hpp"

namespace cognive::schema {
namespace {

Model base() {
  return {.enums = {{.name = "mood", .values = {"calm", "angry"}, .comment = "How they are"}},
          .tables = {{.name = "teams",
                      .comment = "Who",
                      .columns = {{.name = "id", .type = "bigint"},
                                  {.name = "name", .type = "text"},
                                  {.name = "size", .type = "integer", .nullable = true},
                                  {.name = "mood", .type = "mood", .default_value = "'calm'"},
                                  {.name = "moods", .type = "mood[]", .default_value = "'{calm}'"},
                                  {.name = "created_at", .type = "timestamptz", .default_value = "now()"}},
                      .primary_key = {"id"},
                      .uniques = {{.columns = {"name"}}},
                      .checks = {{.label = "mood", .expression = "mood <> 'angry' OR size > 0"}},
                      .indexes = {{.columns = {"size DESC"}, .where = "mood = 'calm'", .label = "calm"}}},
                     {.name = "members",
                      .columns = {{.name = "id", .type = "bigint", .identity = IdentityKind::always},
                                  {.name = "team_id", .type = "bigint"},
                                  {.name = "team", .type = "text", .nullable = true},
                                  {.name = "slug", .type = "text", .nullable = true, .generated = "lower(team)"}},
                      .primary_key = {"id"},
                      .foreign_keys = {{.columns = {"team_id"}, .table = "teams", .on_delete = Action::cascade},
                                       {.columns = {"team"}, .table = "teams", .references = {"name"}}}},
                     {.name = "events",
                      .columns = {{.name = "day", .type = "date"},
                                  {.name = "team_id", .type = "bigint"},
                                  {.name = "note", .type = "text", .nullable = true}},
                      .primary_key = {"team_id", "day"},
                      .foreign_keys = {{.columns = {"team_id"}, .table = "teams"}},
                      .indexes = {{.columns = {"day"}, .method = "brin"}},
                      .partition_by = "RANGE (day)"}}};
}

constexpr const char* rows =
    "INSERT INTO teams (id, name, size) SELECT n, 'team ' || n, n FROM generate_series(1, 3) n;\n"
    "INSERT INTO members (team_id, team) SELECT id, name FROM teams;\n"
    "CREATE TABLE events_of_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');\n"
    "INSERT INTO events (day, team_id) SELECT '2026-03-04', id FROM teams;\n";

Table& teams(Model& model) {
  return model.tables[0];
}
Table& members(Model& model) {
  return model.tables[1];
}
Table& events(Model& model) {
  return model.tables[2];
}
Column& column(Table& of, std::string_view name) {
  return *std::ranges::find(of.columns, name, &Column::name);
}

struct Case {
  std::string name;
  std::function<void(Model&)> edit;
  bool as_made = true;  // what is renamed keeps the names of its sequences
};

const std::vector<Case> cases = {
    {"columns",
     [](Model& m) {
       teams(m).columns.push_back({.name = "order", .type = "text", .default_value = "'it''s \\ ;'", .comment = "c;"});
       teams(m).columns.push_back({.name = "token", .type = "uuid", .default_value = "gen_random_uuid()"});
       members(m).columns.push_back({.name = "weight", .type = "integer", .nullable = true});
     }},
    {"types",
     [](Model& m) {
       column(teams(m), "size") = {.name = "size", .type = "bigint", .nullable = true, .default_value = "7"};
       column(teams(m), "id").type = "integer";
       column(members(m), "team_id").type = "integer";
     }},
    {"enum_values", [](Model& m) { m.enums[0].values = {"first", "calm", "wild", "angry", "last"}; }},
    {"enum_rename",
     [](Model& m) {
       m.enums[0].name = "temper";
       m.enums[0].renamed_from = "mood";
       column(teams(m), "mood").type = "temper";
       column(teams(m), "moods").type = "temper[]";
     }},
    {"renames",
     [](Model& m) {
       auto& crew = members(m);
       crew.name = "crew";
       crew.renamed_from = "members";
       column(crew, "team").renamed_from = "team";
       column(crew, "team").name = "group";
       column(crew, "slug").generated = R"(lower("group"))";
       crew.foreign_keys[1].columns = {"group"};
     },
     false},
    {"keys_and_checks",
     [](Model& m) {
       teams(m).uniques.push_back({.columns = {"name", "size"}, .nulls_not_distinct = true});
       teams(m).uniques.push_back({.columns = {"created_at", "id"}, .label = "when"});
       teams(m).checks.push_back({.label = "name", .expression = "name <> '' AND length(name) < 99"});
       members(m).foreign_keys.push_back({.columns = {"id"},
                                          .table = "members",
                                          .on_delete = Action::restrict_,
                                          .on_update = Action::cascade,
                                          .initially_deferred = true});
     }},
    {"key_that_somebody_refers_to",
     [](Model& m) { teams(m).uniques = {{.columns = {"name"}, .nulls_not_distinct = true, .label = "other"}}; }},
    {"indexes",
     [](Model& m) {
       teams(m).indexes[0].where = "mood = 'angry'";
       teams(m).indexes.push_back({.columns = {"lower(name)"}, .unique = true, .label = "lower_name", .comment = "c"});
       teams(m).indexes.push_back({.columns = {"name"}, .include = {"size"}, .with = "fillfactor = 70"});
       events(m).indexes.push_back({.columns = {"note"}, .where = "note <> ''"});
     }},
    {"nullability_and_identity",
     [](Model& m) {
       column(teams(m), "size").nullable = false;
       column(teams(m), "created_at").nullable = true;
       column(teams(m), "id").identity = IdentityKind::by_default;
       column(members(m), "id").identity = IdentityKind::by_default;
       column(events(m), "note").default_value = "'none'";
     }},
    {"comments_and_collations",
     [](Model& m) {
       m.enums[0].comment = "";
       teams(m).comment = "It's them";
       column(teams(m), "size").comment = "How; many";
       column(teams(m), "name").collation = "C";
       column(members(m), "team").comment = "Which";
     }},
    {"tables",
     [](Model& m) {
       m.enums.push_back({.name = "State", .values = {"draft", "it's done"}});
       m.tables.push_back({.name = "order",
                           .columns = {{.name = "id", .type = "bigint", .identity = IdentityKind::always},
                                       {.name = "state", .type = "\"State\"", .default_value = "'draft'"},
                                       {.name = "team_id", .type = "bigint"},
                                       {.name = "double_id", .type = "bigint", .generated = "team_id * 2"}},
                           .primary_key = {"id"},
                           .uniques = {{.columns = {"team_id", "state"}}},
                           .foreign_keys = {{.columns = {"team_id"}, .table = "teams"}},
                           .indexes = {{.columns = {"state"}, .where = "state <> 'it''s done'"}}});
       m.tables.push_back({.name = "points",
                           .columns = {{.name = "day", .type = "date"}, {.name = "x", .type = "integer"}},
                           .indexes = {{.columns = {"x"}}},
                           .partition_by = "RANGE (day)"});
     }},
    {"what_partitions_inherit",
     [](Model& m) {
       events(m).columns.push_back({.name = "weight", .type = "integer", .default_value = "1"});
       events(m).checks.push_back({.label = "weight", .expression = "weight > 0"});
       events(m).uniques.push_back({.columns = {"weight", "day", "team_id"}});
     }},
};

class Dump : public ::testing::TestWithParam<Case> {};

TEST_P(Dump, of_a_changed_database_is_that_of_one_made_from_the_model) {
  if (!GetParam().as_made) GTEST_SKIP();
  auto changed = base();
  GetParam().edit(changed);
  on_an_empty_database([&](pg::Connection& connection) -> Async<> {
    co_await run_sql(connection, create_statements(changed));
    const auto anew = dumped();
    co_await empty_database(connection);
    co_await run_sql(connection, create_statements(base()));
    const auto history = history_of(co_await difference_of(connection, changed));
    co_await stamp_at_first(history);
    EXPECT_EQ(co_await upgrade(history), "");
    EXPECT_EQ(dumped(), anew);
  });
}

TEST_P(Dump, is_the_same_after_the_way_back) {
  auto changed = base();
  GetParam().edit(changed);
  on_an_empty_database([&](pg::Connection& connection) -> Async<> {
    co_await run_sql(connection, create_statements(base()) + rows);
    static const auto before = dumped();  // the same for all
    const auto history = history_of(co_await difference_of(connection, changed));
    co_await stamp_at_first(history);
    EXPECT_EQ(co_await upgrade(history), "");
    EXPECT_EQ(co_await downgrade(history, std::string(first_revision().id)), "");
    EXPECT_EQ(dumped(), before);
    EXPECT_EQ(co_await ask_sql(connection,
                               "SELECT (SELECT count(*) FROM teams)::text || (SELECT count(*) FROM members) "
                               "|| (SELECT count(*) FROM events)"),
              std::vector<std::string>{"333"});
  });
}

INSTANTIATE_TEST_SUITE_P(OfDifferences, Dump, ::testing::ValuesIn(cases),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace cognive::schema
