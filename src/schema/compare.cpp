#include "schema/compare.hpp"

#include <fmt/ranges.h>

#include <set>

#include "schema/comparison.hpp"

namespace cognive::schema {
namespace {

class Comparison {
 public:
  Comparison(const Catalogue& live, const Catalogue& wanted, const Model& model)
      : live_(live), wanted_(wanted), model_(model) {}

  Difference run() {
    rename_tables(findings_, live_, wanted_, model_);
    rename_columns(findings_, live_, wanted_, model_);
    enums();
    tables();
    // By stage and phase; within a phase tables are in the order of their dependencies, everything else by name.
    std::ranges::sort(out_.changes, {}, [&](const Change& change) {
      return std::tuple(change.stage, change.phase, change.phase == Phase::create_tables ? rank(change.object) : 0,
                        change.object);
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

  static std::string create_enum(const std::string& name, const EnumState& state) {
    std::vector<std::string> values;
    for (const auto& value : state.values) values.push_back(quoted_text(value));
    auto out = fmt::format("CREATE TYPE {} AS ENUM ({});\n", quoted_name(name), fmt::join(values, ", "));
    if (!state.comment.empty()) out += comment_statement("TYPE", quoted_name(name), state.comment);
    return out;
  }

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
        } else if (next != to.values.end()) {
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

  // The way back from added values: a new type under the old name. Fails, rightly, while a row has one of them.
  std::string shrink_enum(const std::string& name, const EnumState& to) const {
    const auto old_name = quoted_name(name + "_larger");
    auto out = fmt::format("ALTER TYPE {} RENAME TO {};\n", quoted_name(name), old_name) + create_enum(name, to);
    for (const auto& [table, state] : live_.tables) {
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
    return out + fmt::format("DROP TYPE {};\n", old_name);
  }

  // Tables.

  void tables() {
    const Split split(live_.tables, wanted_.tables);
    for (const auto& name : split.fresh) whole_table(name, wanted_.tables.at(name), true);
    for (const auto& name : split.gone) whole_table(name, live_.tables.at(name), false);
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
      compare_columns(findings_, name, from, to);
      compare_constraints(findings_, name, from, to);
      compare_indexes(findings_, from, to);
    }
  }

  // A table that comes (with everything of its own), or one that goes.
  void whole_table(const std::string& name, const TableState& table, bool comes) {
    const auto drop = fmt::format("DROP TABLE {};\n", quoted_name(name));
    auto create = create_table_statement(name, table);
    for (const auto& [index, state] : table.indexes) create += state.definition + ";\n" + index_comment(index, state);
    if (!table.comment.empty()) create += comment_statement("TABLE", quoted_name(name), table.comment);
    for (const auto& column : table.columns) {
      if (column.comment.empty()) continue;
      create += comment_statement("COLUMN", quoted_name(name) + "." + quoted_name(column.name), column.comment);
    }
    findings_.add({.phase = comes ? Phase::create_tables : Phase::drop_tables,
                   .object = name,
                   .up = comes ? create : drop,
                   .down = comes ? drop : create,
                   .review = !comes});
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
