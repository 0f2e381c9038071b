#include "schema/compare.hpp"

#include <fmt/ranges.h>

#include <set>

#include "schema/comparison.hpp"

namespace cognive::schema {
namespace {

class Comparison {
 public:
  Comparison(const Catalogue& live, const Catalogue& wanted, const Model& model)
      : before_(live), live_(live), wanted_(wanted), model_(model) {}

  Difference run() {
    rename_enums(findings_, live_, wanted_, model_);
    rename_tables(findings_, live_, wanted_, model_);
    rename_columns(findings_, live_, wanted_, model_);
    enums();
    tables();
    wait_for_late_keys();
    // By stage and phase; within a phase tables are in the order of their dependencies, everything else by name.
    std::ranges::sort(out_.changes, {}, [&](const Change& change) {
      return std::tuple(change.stage, change.phase, change.phase == Phase::create_tables ? rank(change.object) : 0,
                        change.object.substr(0, change.object.find('.')), change.order, change.object);
    });
    return std::move(out_);
  }

 private:
  // Tables after those that they refer to; a circle is broken at the name that sorts first, which does no harm: foreign
  // keys are added after all tables.
  std::size_t rank(const std::string& table) {
    if (ranks_.empty()) {
      std::set<std::string> visiting;
      for (const auto& [name, state] : wanted_.tables) visit(name, visiting);
    }
    const auto found = ranks_.find(table);
    return found == ranks_.end() ? 0 : found->second;
  }

  void visit(const std::string& name, std::set<std::string>& visiting) {
    const auto table = wanted_.tables.find(name);
    if (table == wanted_.tables.end() || ranks_.contains(name) || !visiting.insert(name).second) return;
    for (const auto& [constraint, state] : table->second.constraints) {
      if (state.kind == 'f') visit(state.references, visiting);
    }
    ranks_.emplace(name, ranks_.size() + 1);
  }

  // Enums.

  void enums() {
    const Split split(live_.enums, wanted_.enums);
    for (const auto& name : split.fresh) {
      findings_.add({.phase = Phase::create_types,
                     .object = name,
                     .up = create_enum(name, wanted_.enums.at(name)),
                     .down = fmt::format("DROP TYPE {};\n", quoted_name(name))});
    }
    for (const auto& name : split.gone) {
      findings_.add({.phase = Phase::drop_types,
                     .object = name,
                     .up = fmt::format("DROP TYPE {};\n", quoted_name(name)),
                     .down = create_enum(name, live_.enums.at(name)),
                     .review = true});
    }
    for (const auto& name : split.kept) enum_values(name, live_.enums.at(name), wanted_.enums.at(name));
  }

  void enum_values(const std::string& name, const EnumState& from, const EnumState& to) {
    if (from.comment != to.comment) {
      findings_.add({.phase = Phase::comments,
                     .object = name,
                     .up = comment_statement("TYPE", quoted_name(name), to.comment),
                     .down = comment_statement("TYPE", quoted_name(name), from.comment)});
    }
    if (from.values == to.values) return;
    std::vector<std::string> kept;
    for (const auto& value : to.values) {
      if (std::ranges::find(from.values, value) != from.values.end()) kept.push_back(value);
    }
    if (!before_.enums.contains(name)) {
      findings_.refuse(
          fmt::format("Enum {}: it is renamed and gets values. Make two revisions, the rename first.", name));
      return;
    }
    if (kept != from.values) {
      findings_.refuse(fmt::format(
          "Enum {}: values were removed or reordered, which PostgreSQL cannot do. By hand: create a type with the "
          "values wanted, ALTER each column TYPE it USING column::text::it, drop the old type, rename the new one.",
          name));
      return;
    }
    std::string up;
    std::string previous;
    for (const auto& value : to.values) {
      if (std::ranges::find(from.values, value) == from.values.end()) {
        const auto next = std::ranges::find(to.values, value) + 1;
        up += fmt::format("ALTER TYPE {} ADD VALUE IF NOT EXISTS {}", quoted_name(name), quoted_text(value));
        if (!previous.empty()) {
          up += " AFTER " + quoted_text(previous);
        } else if (next != to.values.end() && !from.values.empty()) {
          up += " BEFORE " + quoted_text(from.values.front());
        }
        up += ";\n";
      }
      previous = value;
    }
    findings_.add({.stage = Stage::enum_values,
                   .phase = Phase::create_types,
                   .object = name,
                   .up = std::move(up),
                   .down = shrink_enum(name, from)});
  }

  // The way back from added values: a new type under the old name. Fails while a row has one of them.
  std::string shrink_enum(const std::string& name, const EnumState& to) const {
    const auto old_name = quoted_name(name + "_larger");
    // As one statement, so that a row in the way leaves everything as it was.
    std::string out = "DO $shrink$ BEGIN\n";
    out += fmt::format("ALTER TYPE {} RENAME TO {};\n", quoted_name(name), old_name) + create_enum(name, to);
    std::string afterwards;
    // At that moment everything else is as it was before, names included.
    for (const auto& [table, state] : before_.tables) {
      // What compares with a value of the type cannot follow it from one type to the other.
      for (const auto& [constraint, check] : state.constraints) {
        if (check.kind != 'c' || !mentions_type(check.definition, name)) continue;
        out += drop_constraint(table, constraint);
        afterwards += add_constraint(table, constraint, check);
      }
      for (const auto& [index, definition] : state.indexes) {
        if (!mentions_type(definition.definition, name)) continue;
        out += fmt::format("DROP INDEX {};\n", quoted_name(index));
        afterwards += definition.definition + ";\n" + index_comment(index, definition);
      }
      for (const auto& column : state.columns) {
        const bool is_array = column.type == quoted_name(name) + "[]";
        if (column.type != quoted_name(name) && !is_array) continue;
        const auto target = quoted_name(table);
        const auto which = quoted_name(column.name);
        const std::string array = is_array ? "[]" : "";
        if (column.default_value) out += fmt::format("ALTER TABLE {} ALTER COLUMN {} DROP DEFAULT;\n", target, which);
        out += fmt::format("ALTER TABLE {} ALTER COLUMN {} TYPE {}{} USING {}::text{}::{}{};\n", target, which,
                           quoted_name(name), array, which, array, quoted_name(name), array);
        if (column.default_value) {
          out += fmt::format("ALTER TABLE {} ALTER COLUMN {} SET DEFAULT {};\n", target, which, *column.default_value);
        }
      }
    }
    return out + afterwards + fmt::format("DROP TYPE {};\nEND $shrink$;\n", old_name);
  }

  static bool mentions_type(const std::string& text, const std::string& type) {
    return find_type(text, quoted_name(type), 0) != std::string::npos;
  }

  // Tables.

  void tables() {
    const Split split(live_.tables, wanted_.tables);
    for (const auto& name : split.fresh) whole_table(name, wanted_.tables.at(name), true);
    for (const auto& name : split.gone) whole_table(name, live_.tables.at(name), false);
    for (const auto& name : split.gone) {
      for (const auto& other : split.fresh) ask_for_rename(name, other);
    }
    for (const auto& name : split.kept) {
      const auto& from = live_.tables.at(name);
      const auto& to = wanted_.tables.at(name);
      if (from.partition_key != to.partition_key) {
        findings_.refuse(
            fmt::format("Table {}: its partitioning ({} in the database, {} in the model) cannot be changed. By "
                        "hand: create the new table beside it, copy the rows, swap the names.",
                        name, from.partition_key.empty() ? "none" : from.partition_key,
                        to.partition_key.empty() ? "none" : to.partition_key));
        continue;
      }
      if (from.comment != to.comment) {
        findings_.add({.phase = Phase::comments,
                       .object = name,
                       .up = comment_statement("TABLE", quoted_name(name), to.comment),
                       .down = comment_statement("TABLE", quoted_name(name), from.comment)});
      }
      compare_columns(findings_, name, from, to, enum_types());
      compare_constraints(findings_, name, from, to, detached(from, to));
      compare_indexes(findings_, from, to);
    }
  }

  [[nodiscard]] std::set<std::string> enum_types() const {
    std::set<std::string> out;
    for (const auto* side : {&live_, &wanted_}) {
      for (const auto& [name, state] : side->enums) out.insert(quoted_name(name));
    }
    return out;
  }

  void ask_for_rename(const std::string& gone, const std::string& fresh) {
    const auto same = [](const ColumnState& a, const ColumnState& b) { return a.name == b.name && a.type == b.type; };
    if (!std::ranges::equal(live_.tables.at(gone).columns, wanted_.tables.at(fresh).columns, same)) return;
    findings_.refuse(
        fmt::format("Table {0} disappears and {1} appears, with the same columns. If it is the same table, say "
                    ".renamed_from = \"{0}\"; if not, make two revisions, one for each.",
                    gone, fresh));
  }

  // Foreign keys that are the same before and after, but not in between: a column at one of their ends changes its
  // type, or the key at the other end is made anew.
  std::set<std::string> detached(const TableState& from, const TableState& to) const {
    std::set<std::string> out;
    for (const auto& [name, key] : from.constraints) {
      if (key.kind != 'f' || !to.constraints.contains(name)) continue;
      const auto target = live_.tables.find(key.references);
      const auto target_after = wanted_.tables.find(key.references);
      if (target == live_.tables.end() || target_after == wanted_.tables.end()) continue;
      const bool moves = types_change(key.columns, from, to) ||
                         types_change(key.reference_columns, target->second, target_after->second) ||
                         unique_changes(key.reference_columns, target->second, target_after->second) ||
                         unique_index_changes(key.reference_columns, target->second, target_after->second);
      if (moves) out.insert(name);
    }
    return out;
  }

  static bool types_change(const std::vector<std::string>& columns, const TableState& from, const TableState& to) {
    return std::ranges::any_of(columns, [&](const std::string& name) {
      const auto* before = from.column(name);
      const auto* after = to.column(name);
      return before != nullptr && after != nullptr &&
             (before->type != after->type || before->collation != after->collation);
    });
  }

  // Of a unique index over plain columns: whether it is over these.
  static bool is_unique_over(const IndexState& index, const std::vector<std::string>& columns) {
    if (!index.unique) return false;
    const auto open = index.definition.find('(', index.definition.find(" USING "));
    const auto close = index.definition.find(')', open);
    if (open == std::string::npos || close == std::string::npos) return false;
    auto wanted = columns;
    for (auto& name : wanted) name = quoted_name(name);
    std::ranges::sort(wanted);
    std::vector<std::string> found;
    std::string_view rest(index.definition.data() + open + 1, close - open - 1);
    for (;;) {
      const auto comma = rest.find(", ");
      found.emplace_back(rest.substr(0, comma));
      if (comma == std::string_view::npos) break;
      rest.remove_prefix(comma + 2);
    }
    std::ranges::sort(found);
    return found == wanted;
  }

  static bool unique_index_changes(const std::vector<std::string>& columns, const TableState& from,
                                   const TableState& to) {
    return std::ranges::any_of(from.indexes, [&](const auto& entry) {
      const auto& [name, state] = entry;
      if (!is_unique_over(state, columns)) return false;
      const auto after = to.indexes.find(name);
      return after == to.indexes.end() || after->second.definition != state.definition;
    });
  }

  static bool unique_changes(const std::vector<std::string>& columns, const TableState& from, const TableState& to) {
    return std::ranges::any_of(from.constraints, [&](const auto& entry) {
      const auto& [name, state] = entry;
      if (state.kind != 'u' || !std::ranges::is_permutation(state.columns, columns)) return false;
      const auto after = to.constraints.find(name);
      return after == to.constraints.end() || after->second.definition != state.definition;
    });
  }

  // A unique key of a table that has rows is made without locks, last of all; what refers to it comes after it.
  void wait_for_late_keys() {
    std::set<std::string> waiting;
    for (const auto& [table, state] : wanted_.tables) {
      for (const auto& [name, key] : state.constraints) {
        if (key.kind == 'f' && gets_unique(key.references, key.reference_columns)) waiting.insert(name);
      }
    }
    for (auto& change : out_.changes) {
      if (change.phase == Phase::add_foreign_keys && waiting.contains(change.object)) change.stage = Stage::online;
    }
  }

  [[nodiscard]] bool gets_unique(const std::string& table, const std::vector<std::string>& columns) const {
    const auto before = live_.tables.find(table);
    const auto after = wanted_.tables.find(table);
    if (before == live_.tables.end() || after == wanted_.tables.end()) return false;
    if (unique_index_changes(columns, after->second, before->second)) return true;
    return std::ranges::any_of(after->second.constraints, [&](const auto& entry) {
      const auto& [name, state] = entry;
      if (state.kind != 'u' || !std::ranges::is_permutation(state.columns, columns)) return false;
      const auto old = before->second.constraints.find(name);
      return old == before->second.constraints.end() || old->second.definition != state.definition;
    });
  }

  static std::vector<std::string> goes_along(const TableState& table) {
    if (table.beside.empty()) return {};
    return {
        fmt::format("Does not come back on the way back, write it there by hand: {}.", fmt::join(table.beside, ", "))};
  }

  // A table that comes (with everything of its own), or one that goes.
  void whole_table(const std::string& name, const TableState& table, bool comes) {
    const auto drop = fmt::format("DROP TABLE {};\n", quoted_name(name));
    auto create = create_table_statement(name, table);
    for (const auto& [index, state] : table.indexes) create += state.definition + ";\n" + index_comment(index, state);
    if (!table.comment.empty()) create += comment_statement("TABLE", quoted_name(name), table.comment);
    for (const auto& column : table.columns) create += column_comment(name, column);
    findings_.add({.phase = comes ? Phase::create_tables : Phase::drop_tables,
                   .object = name,
                   .up = comes ? create : drop,
                   .down = comes ? drop : create,
                   .review = !comes,
                   .warnings = comes ? std::vector<std::string>{} : goes_along(table)});
    for (const auto& [constraint, state] : table.constraints) {
      if (state.kind != 'f') continue;
      auto adding = add_constraint(name, constraint, state);
      auto dropping = drop_constraint(name, constraint);
      findings_.add({.phase = comes ? Phase::add_foreign_keys : Phase::drop_foreign_keys,
                     .object = constraint,
                     .up = comes ? adding : dropping,
                     .down = comes ? dropping : adding,
                     .review = !comes});
    }
  }

  const Catalogue& before_;
  Catalogue live_;  // a copy: renames are applied to it
  const Catalogue& wanted_;
  const Model& model_;
  Difference out_;
  Findings findings_{out_};
  std::map<std::string, std::size_t> ranks_;
};

}  // namespace

Difference compare(const Catalogue& live, const Catalogue& wanted, const Model& model) {
  return Comparison(live, wanted, model).run();
}

}  // namespace cognive::schema
