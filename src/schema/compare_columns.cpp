#include "schema/comparison.hpp"

namespace cognive::schema {
namespace {

bool is_volatile(const std::string& expression) {
  for (const std::string_view word : {"gen_random_uuid", "clock_timestamp", "random(", "nextval", "uuid_generate"}) {
    if (expression.find(word) != std::string::npos) return true;
  }
  return false;
}

// Changes of type that touch the catalogue only (https://www.postgresql.org/docs/15/sql-altertable.html, notes).
bool rewrites(const std::string& from, const std::string& to) {
  const auto is_text = [](const std::string& type) { return type == "text" || type == "character varying"; };
  const auto length = [](const std::string& type) {
    constexpr std::string_view prefix = "character varying(";
    return type.starts_with(prefix) ? std::stol(type.substr(prefix.size())) : -1L;
  };
  if (is_text(to) && (is_text(from) || length(from) >= 0)) return false;
  return !(length(from) >= 0 && length(to) >= length(from));
}

void add_column(Findings& findings, const std::string& table, const ColumnState& column, int position) {
  // Generated ones after the changes to what they are generated from.
  Change change{.phase = column.generated ? Phase::add_generated_columns : Phase::add_columns,
                .object = table + "." + column.name,
                .order = position};
  change.up = fmt::format("ALTER TABLE {} ADD COLUMN {};\n", quoted_name(table), column_definition(column)) +
              column_comment(table, column);
  change.down = fmt::format("ALTER TABLE {} DROP COLUMN {};\n", quoted_name(table), quoted_name(column.name));
  if (column.not_null && !column.default_value && !column.generated && column.identity.empty()) {
    change.warnings.emplace_back(
        "Fails when the table has rows: give it a default, or add it nullable, fill it, and make it NOT NULL later.");
  }
  if (column.generated || !column.identity.empty() || (column.default_value && is_volatile(*column.default_value)))
    change.warnings.emplace_back("Rewrites the whole table under an exclusive lock.");
  findings.add(std::move(change));
}

std::string alter(const std::string& table, const std::string& column, const std::string& what) {
  return fmt::format("ALTER TABLE {} ALTER COLUMN {} {};\n", quoted_name(table), quoted_name(column), what);
}

std::string set_default(const std::string& table, const ColumnState& column) {
  return alter(table, column.name,
               column.default_value ? "SET DEFAULT " + *column.default_value : std::string("DROP DEFAULT"));
}

std::string change_type(const std::string& table, const ColumnState& from, const ColumnState& to) {
  std::string out;
  // The default is converted by itself or not at all; between two types it does not have to make sense.
  if (from.default_value) out += alter(table, to.name, "DROP DEFAULT");
  auto type = "TYPE " + to.type;
  if (!to.collation.empty()) type += " COLLATE " + quoted_name(to.collation);
  if (from.type != to.type && !to.generated) type += " USING " + quoted_name(to.name) + "::" + to.type;
  out += alter(table, to.name, type);
  if (to.default_value) out += set_default(table, to);
  return out;
}

void type_change(Findings& findings, const std::string& table, const TableState& owner, const ColumnState& from,
                 const ColumnState& to) {
  if (mentions_name(owner.partition_key, to.name)) {
    findings.refuse(
        fmt::format("Column {}.{}: the table is partitioned by it, so its type cannot be changed. By hand: create the "
                    "new table beside it, copy the rows, swap the names.",
                    table, to.name));
    return;
  }
  for (const auto& column : owner.columns) {
    if (!column.generated || !mentions_name(*column.generated, to.name)) continue;
    findings.refuse(
        fmt::format("Column {}.{}: column {} is generated from it, so its type cannot be changed. By hand: drop {} "
                    "first and add it again afterwards.",
                    table, to.name, column.name, column.name));
    return;
  }
  Change change{.phase = Phase::change_columns, .object = table + "." + to.name + " type"};
  change.up = change_type(table, from, to);
  change.down = change_type(table, to, from);
  if (rewrites(from.type, to.type))
    change.warnings.emplace_back("Rewrites the whole table and its indexes under an exclusive lock.");
  if (from.type != to.type)
    change.warnings.emplace_back("Check the conversion: a value that cannot be converted makes it fail.");
  findings.add(std::move(change));
}

void identity_change(Findings& findings, const std::string& table, const ColumnState& from, const ColumnState& to) {
  const auto statement = [&](const ColumnState& a, const ColumnState& b) {
    const std::string kind = b.identity == "a" ? "ALWAYS" : "BY DEFAULT";
    if (b.identity.empty()) return alter(table, b.name, "DROP IDENTITY");
    return alter(table, b.name,
                 a.identity.empty() ? "ADD GENERATED " + kind + " AS IDENTITY" : "SET GENERATED " + kind);
  };
  // An identity needs NOT NULL and bears no default: it comes after everything else and goes before.
  findings.add({.phase = Phase::change_columns,
                .object = table + "." + to.name + " identity",
                .up = statement(from, to),
                .down = statement(to, from),
                .order = to.identity.empty() ? -1 : 1});
}

void nullability_change(Findings& findings, const std::string& table, const TableState& owner, const ColumnState& from,
                        const ColumnState& to) {
  const bool in_key = std::ranges::any_of(owner.constraints, [&](const auto& entry) {
    return entry.second.kind == 'p' && std::ranges::find(entry.second.columns, to.name) != entry.second.columns.end();
  });
  if (in_key) return;  // the primary key sees to it
  if (from.not_null) {
    findings.add({.phase = Phase::change_columns,
                  .object = table + "." + to.name + " nullability",
                  .up = alter(table, to.name, "DROP NOT NULL"),
                  .down = alter(table, to.name, "SET NOT NULL")});
    return;
  }
  if (!to.identity.empty() && from.identity != to.identity) {
    findings.add({.phase = Phase::change_columns,
                  .object = table + "." + to.name + " nullability",
                  .up = alter(table, to.name, "SET NOT NULL"),
                  .down = alter(table, to.name, "DROP NOT NULL")});
    return;
  }
  // A validated check spares SET NOT NULL its look at all rows under an exclusive lock.
  const auto check = quoted_name(object_name(table, {to.name, "present"}, "check"));
  const auto target = quoted_name(table);
  findings.add({.stage = Stage::online,
                .phase = Phase::change_columns,
                .object = table + "." + to.name + " nullability",
                .up = fmt::format("ALTER TABLE {0} DROP CONSTRAINT IF EXISTS {1};\n"
                                  "ALTER TABLE {0} ADD CONSTRAINT {1} CHECK ({2} IS NOT NULL) NOT VALID;\n"
                                  "ALTER TABLE {0} VALIDATE CONSTRAINT {1};\n"
                                  "ALTER TABLE {0} ALTER COLUMN {2} SET NOT NULL;\n"
                                  "ALTER TABLE {0} DROP CONSTRAINT {1};\n",
                                  target, check, quoted_name(to.name)),
                .down = alter(table, to.name, "DROP NOT NULL"),
                .warnings = {"Fails while a row has NULL there: fill it first."}});
}

void column_change(Findings& findings, const std::string& table, const TableState& owner, const ColumnState& from,
                   const ColumnState& to) {
  const auto object = table + "." + to.name;
  if (from.comment != to.comment) {
    const auto name = quoted_name(table) + "." + quoted_name(to.name);
    findings.add({.phase = Phase::comments,
                  .object = object,
                  .up = comment_statement("COLUMN", name, to.comment),
                  .down = comment_statement("COLUMN", name, from.comment)});
  }
  if (from.generated != to.generated) {
    findings.refuse(
        fmt::format("Column {}: what it is generated from cannot be changed. By hand: drop the column and add it "
                    "again, which rewrites the table.",
                    object));
    return;
  }
  if (from.type != to.type || from.collation != to.collation) {
    type_change(findings, table, owner, from, to);
  } else if (from.default_value != to.default_value) {
    findings.add({.phase = Phase::change_columns,
                  .object = object + " default",
                  .up = set_default(table, to),
                  .down = set_default(table, from)});
  }
  if (from.identity != to.identity) identity_change(findings, table, from, to);
  if (from.not_null != to.not_null) nullability_change(findings, table, owner, from, to);
}

}  // namespace

void compare_columns(Findings& findings, const std::string& table, const TableState& from, const TableState& to) {
  std::vector<const ColumnState*> gone;
  std::vector<const ColumnState*> fresh;
  for (const auto& column : from.columns) {
    if (to.column(column.name) == nullptr) gone.push_back(&column);
  }
  for (const auto& column : to.columns) {
    const auto* before = from.column(column.name);
    if (before == nullptr) {
      fresh.push_back(&column);
    } else {
      column_change(findings, table, from, *before, column);
    }
  }
  for (const auto* lost : gone) {
    for (const auto* found : fresh) {
      if (lost->type != found->type) continue;
      findings.refuse(
          fmt::format("Table {0}: column {1} disappears and {2} appears, both {3}. If it is the same column, say "
                      ".renamed_from = \"{1}\"; if not, make two revisions, one for each.",
                      table, lost->name, found->name, lost->type));
      return;
    }
  }
  int position = 0;
  for (const auto* column : fresh) add_column(findings, table, *column, position++);
  for (const auto* column : gone) {
    findings.add(
        {.phase = Phase::drop_columns,
         .object = table + "." + column->name,
         .up = fmt::format("ALTER TABLE {} DROP COLUMN {};\n", quoted_name(table), quoted_name(column->name)),
         .down = fmt::format("ALTER TABLE {} ADD COLUMN {};\n", quoted_name(table), column_definition(*column)) +
                 column_comment(table, *column),
         .review = true,
         .order = column->generated ? -1 : 0});  // before what it is generated from
  }
  if (gone.empty() && fresh.empty()) {
    const bool same_order = std::ranges::equal(from.columns, to.columns, {}, &ColumnState::name, &ColumnState::name);
    if (!same_order) findings.skip("Table " + table + ": the order of its columns differs, which cannot be changed.");
  }
}

}  // namespace cognive::schema
