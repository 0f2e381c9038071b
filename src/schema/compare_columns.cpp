#include "schema/comparison.hpp"

namespace cognive::schema {
namespace {

// Whether each row may need a value of its own. Of functions only now() is known not to: any other may be somebody's
// own.
bool is_volatile(const std::string& expression) {
  return expression != "now()" && expression.find('(') != std::string::npos;
}

std::string_view without_modifier(std::string_view type) {
  return type.substr(0, type.find('('));
}

bool is_text(std::string_view type) {
  const auto plain = without_modifier(type);
  return plain == "text" || plain == "character varying" || plain == "character";
}

// "character varying(5)": 5; -1 without a length.
long length_of(std::string_view type) {
  const auto open = type.find('(');
  return open == std::string_view::npos ? -1 : std::stol(std::string(type.substr(open + 1)));
}

bool widens(std::string_view from, std::string_view to) {
  return without_modifier(from) == "character varying" && without_modifier(to) == "character varying" &&
         length_of(from) >= 0 && length_of(to) >= length_of(from);
}

bool keeps_all_of_a_text(std::string_view type) {
  for (const std::string_view exact : {"smallint", "integer", "bigint", "numeric", "uuid", "inet", "json"}) {
    if (type == exact) return true;
  }
  return false;
}

// How a type takes the values of another.
struct Conversion {
  bool by_assignment = false;  // PostgreSQL does it unasked, and refuses what does not fit
  bool loses = false;          // values may come out as others, without an error
};

// A wider number has a higher rank; each holds all values of those before it.
int number_rank(std::string_view type) {
  const std::string_view ranked[] = {"smallint", "integer", "bigint", "numeric"};
  const auto found = std::ranges::find(ranked, type);
  return found == std::end(ranked) ? -1 : static_cast<int>(found - std::begin(ranked));
}

// An explicit cast (USING) cuts texts off and rounds numbers silently; an assignment refuses texts that are too long
// and numbers that are too large, but rounds as well (https://www.postgresql.org/docs/15/typeconv-query.html).
Conversion conversion(const std::string& from, const std::string& to) {
  if (to == "text" || to == "character varying")
    return {.by_assignment = true, .loses = without_modifier(from) == "character"};
  // Blanks at the end are cut off or added without a word; what is longer otherwise is refused.
  if (is_text(to)) return {.by_assignment = true, .loses = is_text(from) && !widens(from, to)};
  // What is no such value is refused, but these also round, cut off or drop what they have no room for.
  if (is_text(from)) return {.loses = !keeps_all_of_a_text(to)};
  const auto a = without_modifier(from);
  const auto b = without_modifier(to);
  const bool exact_a = number_rank(a) >= 0;
  const bool exact_b = number_rank(b) >= 0;
  const bool float_a = a == "real" || a == "double precision";
  const bool float_b = b == "real" || b == "double precision";
  if (exact_a && exact_b) {
    // Whole numbers fit or fail; digits behind the point are rounded away.
    const bool rounds = a == "numeric" && (b != "numeric" || to != "numeric");
    return {.by_assignment = true, .loses = rounds};
  }
  if ((exact_a || float_a) && (exact_b || float_b)) {
    const bool widens = (a == "real" && b == "double precision") || (a == "smallint" && float_b) ||
                        (a == "integer" && b == "double precision");
    return {.by_assignment = true, .loses = !widens};
  }
  const auto is_time = [](std::string_view type) { return type.starts_with("timestamp") || type == "date"; };
  if (is_time(from) && is_time(to))
    return {.by_assignment = true, .loses = b == "date" || from.contains('(') || to.contains('(')};
  if (from == "json" && to == "jsonb") return {.by_assignment = true, .loses = true};  // order and repeats of keys
  if (from == "jsonb" && to == "json") return {.by_assignment = true};
  return {.loses = true};  // nobody knows
}

// Changes of type that touch the catalogue only (https://www.postgresql.org/docs/15/sql-altertable.html, notes).
bool rewrites(const std::string& from, const std::string& to) {
  const auto is_unlimited = [](const std::string& type) { return type == "text" || type == "character varying"; };
  if (is_unlimited(to) && without_modifier(from) != "character" && is_text(from)) return false;
  return !widens(from, to);
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
    change.warnings.emplace_back(
        "Rewrites the whole table under an exclusive lock, unless the default is not volatile.");
  findings.add(std::move(change));
}

std::string alter(const std::string& table, const std::string& column, const std::string& what) {
  return fmt::format("ALTER TABLE {} ALTER COLUMN {} {};\n", quoted_name(table), quoted_name(column), what);
}

std::string set_default(const std::string& table, const ColumnState& column) {
  return alter(table, column.name,
               column.default_value ? "SET DEFAULT " + *column.default_value : std::string("DROP DEFAULT"));
}

std::string change_type(const std::string& table, const ColumnState& from, const ColumnState& to, bool between_enums) {
  std::string out;
  // The default is converted by itself or not at all; between two types it does not have to make sense.
  if (from.default_value) out += alter(table, to.name, "DROP DEFAULT");
  auto type = "TYPE " + to.type;
  if (!to.collation.empty()) type += " COLLATE " + quoted_name(to.collation);
  if (from.type != to.type && !to.generated && !conversion(from.type, to.type).by_assignment)
    type += fmt::format(" USING {}{}::{}", quoted_name(to.name),
                        between_enums ? (to.type.ends_with("[]") ? "::text[]" : "::text") : "", to.type);
  out += alter(table, to.name, type);
  if (to.default_value) out += set_default(table, to);
  return out;
}

void type_change(Findings& findings, const std::string& table, const TableState& owner, const ColumnState& from,
                 const ColumnState& to, bool between_enums) {
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
  change.up = change_type(table, from, to, between_enums);
  change.down = change_type(table, to, from, between_enums);
  if (rewrites(from.type, to.type)) {
    change.warnings.emplace_back("Rewrites the whole table and its indexes under an exclusive lock.");
  } else if (from.collation != to.collation) {
    change.warnings.emplace_back("Builds the indexes of the column anew under an exclusive lock.");
  }
  change.review = from.type != to.type && !from.generated && !between_enums && conversion(from.type, to.type).loses;
  if (from.type != to.type && !change.review)
    change.warnings.emplace_back("Check the conversion: a value that does not fit makes it fail.");
  findings.add(std::move(change));
}

void identity_change(Findings& findings, const std::string& table, const ColumnState& from, const ColumnState& to) {
  const auto statement = [&](const ColumnState& a, const ColumnState& b) {
    const std::string kind = b.identity == "a" ? "ALWAYS" : "BY DEFAULT";
    if (b.identity.empty()) return alter(table, b.name, "DROP IDENTITY");
    if (!a.identity.empty()) return alter(table, b.name, "SET GENERATED " + kind);
    // Behind the values that are there already.
    return alter(table, b.name, "ADD GENERATED " + kind + " AS IDENTITY") +
           fmt::format(
               "SELECT setval(pg_get_serial_sequence({}, {}), greatest(coalesce(max({}), 0) + 1, 1), false) FROM {};\n",
               quoted_text(quoted_name(table)), quoted_text(b.name), quoted_name(b.name), quoted_name(table));
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
  if (owner.hypertable) {
    findings.add({.phase = Phase::change_columns,
                  .object = table + "." + to.name + " nullability",
                  .up = alter(table, to.name, "SET NOT NULL"),
                  .down = alter(table, to.name, "DROP NOT NULL"),
                  .warnings = {"Looks at all rows under an exclusive lock, and fails while one has NULL there."}});
    return;
  }
  // A validated check spares SET NOT NULL its look at all rows under an exclusive lock.
  const auto check = quoted_name(object_name(table, {to.name, "present"}, "check"));
  const auto target = quoted_name(table);
  findings.add(
      {.stage = Stage::online,
       .phase = Phase::change_columns,
       .object = table + "." + to.name + " nullability",
       .up = fmt::format("ALTER TABLE {0} DROP CONSTRAINT IF EXISTS {1};\n"
                         "ALTER TABLE {0} ADD CONSTRAINT {1} CHECK ({2} IS NOT NULL) NOT VALID;\n"
                         "ALTER TABLE {0} VALIDATE CONSTRAINT {1};\n"
                         "ALTER TABLE {0} ALTER COLUMN {2} SET NOT NULL;\n"
                         "ALTER TABLE {0} DROP CONSTRAINT {1};\n",
                         target, check, quoted_name(to.name)),
       .down = alter(table, to.name, "DROP NOT NULL"),
       .warnings = {"Fails while a row has NULL there: fill it first. The check that refuses new ones stays until "
                    "it succeeds."}});
}

void column_change(Findings& findings, const std::string& table, const TableState& owner, const ColumnState& from,
                   const ColumnState& to, bool between_enums) {
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
    type_change(findings, table, owner, from, to, between_enums);
  } else if (from.default_value != to.default_value) {
    findings.add({.phase = Phase::change_columns,
                  .object = object + " default",
                  .up = set_default(table, to),
                  .down = set_default(table, from)});
  }
  if (from.identity != to.identity) identity_change(findings, table, from, to);
  if (from.not_null != to.not_null) nullability_change(findings, table, owner, from, to);
}

void column_goes(Findings& findings, const std::string& table, const TableState& owner, const ColumnState& column) {
  auto returning = column;
  const bool in_key = std::ranges::any_of(owner.constraints, [&](const auto& entry) {
    return entry.second.kind == 'p' &&
           std::ranges::find(entry.second.columns, column.name) != entry.second.columns.end();
  });
  if (column.not_null && !column.default_value && !column.generated && column.identity.empty() && !in_key) {
    // Whoever does not know the column any more can write rows, even while nobody dares to drop it; and it can come
    // back to a table that has rows.
    returning.not_null = false;
    findings.add({.phase = Phase::change_columns,
                  .object = table + "." + column.name + " nullability",
                  .up = alter(table, column.name, "DROP NOT NULL"),
                  .down = alter(table, column.name, "SET NOT NULL")});
  }
  findings.add(
      {.phase = Phase::drop_columns,
       .object = table + "." + column.name,
       .up = fmt::format("ALTER TABLE {} DROP COLUMN {};\n", quoted_name(table), quoted_name(column.name)),
       .down = fmt::format("ALTER TABLE {} ADD COLUMN {};\n", quoted_name(table), column_definition(returning)) +
               column_comment(table, column),
       .review = true,
       .order = column.generated ? -1 : 0});  // before what it is generated from
}

}  // namespace

void compare_columns(Findings& findings, const std::string& table, const TableState& from, const TableState& to,
                     const std::set<std::string>& enums) {
  const auto is_enum = [&enums](const std::string& type) {
    return enums.contains(type.ends_with("[]") ? type.substr(0, type.size() - 2) : type);
  };
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
      column_change(
          findings, table, from, *before, column,
          is_enum(before->type) && is_enum(column.type) && before->type.ends_with("[]") == column.type.ends_with("[]"));
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
  for (const auto* column : gone) column_goes(findings, table, from, *column);
  if (gone.empty() && fresh.empty()) {
    const bool same_order = std::ranges::equal(from.columns, to.columns, {}, &ColumnState::name, &ColumnState::name);
    if (!same_order) findings.skip("Table " + table + ": the order of its columns differs, which cannot be changed.");
  }
}

}  // namespace cognive::schema
