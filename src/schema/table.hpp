// The language of tables as code: what a word of the product stores, declared once, in tables.cpp of its folder.
//
//   schema::Table teams() {
//     return {.name = "teams",
//             .comment = "Owners of agents and budgets",
//             .columns = {{.name = "id", .type = "uuid"},
//                         {.name = "name", .type = "text"},
//                         {.name = "created_at", .type = "timestamptz", .default_value = "now()"}},
//             .primary_key = {"id"},
//             .uniques = {{.columns = {"name"}}}};
//   }
//
// Columns are NOT NULL unless they say otherwise. Expressions and types are PostgreSQL's own text; whether they are
// right is found out when the model is created in a scratch schema. No object is given a name: all names follow from
// the table, the columns or a label, and the kind (object_name).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace cognive::schema {

enum class IdentityKind { none, always, by_default };

struct Column {
  std::string name;
  std::string type;  // "uuid", "text[]", "numeric(20, 4)", an enum's name
  bool nullable = false;
  std::string default_value{};  // an SQL expression; empty: none
  std::string generated{};      // GENERATED ALWAYS AS (…) STORED; empty: an ordinary column
  IdentityKind identity = IdentityKind::none;
  std::string collation{};     // empty: that of the type
  std::string comment{};       // empty: none
  std::string renamed_from{};  // the name under which databases may still have it
};

struct Unique {
  std::vector<std::string> columns;
  bool nulls_not_distinct = false;
  std::string label{};  // in the name in place of the columns
};

enum class Action { no_action, restrict_, cascade, set_null, set_default };

struct ForeignKey {
  std::vector<std::string> columns;
  std::string table;
  std::vector<std::string> references{};  // empty: its primary key
  Action on_delete = Action::no_action;
  Action on_update = Action::no_action;
  bool initially_deferred = false;
  std::string label{};
};

struct Check {
  std::string label;  // usually the column's name
  std::string expression;
};

struct Index {
  std::vector<std::string> columns;  // or expressions in parentheses; "created_at DESC", "labels jsonb_path_ops"
  std::string method = "btree";      // brin, gin, gist, hash
  bool unique = false;
  bool nulls_not_distinct = false;
  std::vector<std::string> include{};
  std::string where{};
  std::string with{};   // storage parameters: "pages_per_range = 32"
  std::string label{};  // needed when `columns` are more than names
  std::string comment{};
};

struct Table {
  std::string name;
  std::string comment{};
  std::vector<Column> columns;
  std::vector<std::string> primary_key{};
  std::vector<Unique> uniques{};
  std::vector<ForeignKey> foreign_keys{};
  std::vector<Check> checks{};
  std::vector<Index> indexes{};
  std::string partition_by{};  // "RANGE (bucket)"; empty: not partitioned
  std::string renamed_from{};
};

struct Enum {
  std::string name;
  std::vector<std::string> values;
  std::string comment{};
  std::string renamed_from{};
};

struct Model {
  std::vector<Enum> enums{};
  std::vector<Table> tables{};
};

// `<table>_<parts>_<kind>`: teams_name_key, agent_runs_active_idx. Names over PostgreSQL's 63 bytes end in a hash of
// the whole instead.
std::string object_name(std::string_view table, const std::vector<std::string>& parts, std::string_view kind);

// A name as it must stand in SQL, quoted when it has to be: PostgreSQL does the same in what it prints.
std::string quoted_name(std::string_view name);
// A text as an SQL literal.
std::string quoted_text(std::string_view text);

// The statements that create the whole model in an empty schema, in an order that works: types, tables, foreign keys,
// indexes, comments.
std::string create_statements(const Model& model);

}  // namespace cognive::schema
