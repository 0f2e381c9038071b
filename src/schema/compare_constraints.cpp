#include "schema/comparison.hpp"

namespace cognive::schema {
namespace {

Phase dropping(char kind) {
  return kind == 'f' ? Phase::drop_foreign_keys : Phase::drop_constraints;
}
Phase adding(char kind) {
  return kind == 'f' ? Phase::add_foreign_keys : Phase::add_constraints;
}

void refuse_key(Findings& findings, const std::string& table) {
  findings.refuse(
      fmt::format("Table {}: its primary key cannot be changed by itself. By hand: create the new unique index "
                  "CONCURRENTLY, then in one transaction drop the old key and ADD PRIMARY KEY USING INDEX; foreign "
                  "keys that refer to it go first and come back afterwards.",
                  table));
}

bool uses_gone_column(const ConstraintState& state, const TableState& to) {
  return std::ranges::any_of(state.columns, [&](const std::string& column) { return to.column(column) == nullptr; });
}

// On a table that has rows already.
void constraint_comes(Findings& findings, const std::string& table, const std::string& name, const TableState& to,
                      const TableState& from) {
  const auto& state = to.constraints.at(name);
  const auto target = quoted_name(table);
  const auto object = quoted_name(name);
  const bool partitioned = !from.partition_key.empty();
  // Partitioned tables have no NOT VALID foreign keys, hypertables validate nothing later.
  const bool at_once = from.hypertable || (partitioned && state.kind == 'f');
  if ((state.kind == 'c' || state.kind == 'f') && !at_once) {
    // Holds for new rows at once; the old ones are looked at without keeping anybody out.
    findings.add(
        {.phase = adding(state.kind),
         .object = name,
         .up = fmt::format("ALTER TABLE {} ADD CONSTRAINT {} {} NOT VALID;\n", target, object, state.definition),
         .down = drop_constraint(table, name)});
    findings.add({.stage = Stage::online,
                  .phase = adding(state.kind),
                  .object = name,
                  .up = fmt::format("ALTER TABLE {} VALIDATE CONSTRAINT {};\n", target, object),
                  .down = "",
                  .order = 1});
    return;
  }
  if (state.kind == 'u' && !partitioned && state.definition.find("DEFERRABLE") == std::string::npos) {
    const auto columns = state.definition.substr(std::string_view("UNIQUE ").size());
    const auto not_distinct = columns.starts_with("NULLS NOT DISTINCT ");
    const auto list = not_distinct ? columns.substr(std::string_view("NULLS NOT DISTINCT ").size()) : columns;
    findings.add({.stage = Stage::online,
                  .phase = adding('u'),
                  .object = name,
                  .up = fmt::format(
                      "DROP INDEX CONCURRENTLY IF EXISTS {0};\nCREATE UNIQUE INDEX CONCURRENTLY {0} ON {1} {2}{3};\n"
                      "ALTER TABLE {1} ADD CONSTRAINT {0} UNIQUE USING INDEX {0};\n",
                      object, target, list, not_distinct ? " NULLS NOT DISTINCT" : ""),
                  .down = drop_constraint(table, name),
                  .warnings = {"Fails while there are duplicates."}});
    return;
  }
  findings.add({.phase = adding(state.kind),
                .object = name,
                .up = add_constraint(table, name, state),
                .down = drop_constraint(table, name),
                .warnings = {"Looks at all rows under a lock that keeps writers out."}});
}

void constraint_change(Findings& findings, const std::string& table, const std::string& name, const TableState& from,
                       const TableState& to, bool detached) {
  const auto& before = from.constraints.at(name);
  const auto& after = to.constraints.at(name);
  if (!detached && before.definition == after.definition && before.validated == after.validated) return;
  if (before.kind == 'p' || after.kind == 'p') return refuse_key(findings, table);
  constexpr std::string_view not_valid = " NOT VALID";
  if (!before.validated && after.validated && before.definition == after.definition + std::string(not_valid)) {
    findings.add({.stage = Stage::online,
                  .phase = adding(after.kind),
                  .object = name,
                  .up = fmt::format("ALTER TABLE {} VALIDATE CONSTRAINT {};\n", quoted_name(table), quoted_name(name)),
                  .down = ""});
    return;
  }
  findings.add({.phase = dropping(before.kind),
                .object = name,
                .up = drop_constraint(table, name),
                .down = add_constraint(table, name, before)});
  constraint_comes(findings, table, name, to, from);
}

// "CREATE INDEX name ON …": what remains is what it does.
std::string without_name(const std::string& definition, const std::string& name) {
  const auto marker = "INDEX " + quoted_name(name) + " ON ";
  const auto at = definition.find(marker);
  return at == std::string::npos ? definition : definition.substr(0, at) + definition.substr(at + marker.size());
}

// An object that has only another name is renamed.
template <typename Map, typename Rename>
void rename_alike(Findings& findings, Split<Map>& split, const Map& from, const Map& to, Rename rename) {
  for (auto fresh = split.fresh.begin(); fresh != split.fresh.end();) {
    const auto alike = std::ranges::find_if(split.gone, [&](const std::string& gone) {
      return without_name(from.at(gone).definition, gone) == without_name(to.at(*fresh).definition, *fresh) &&
             from.at(gone).comment == to.at(*fresh).comment;
    });
    if (alike == split.gone.end()) {
      ++fresh;
      continue;
    }
    findings.add({.phase = Phase::add_constraints,
                  .object = *fresh,
                  .up = rename(*alike, *fresh),
                  .down = rename(*fresh, *alike)});
    split.gone.erase(alike);
    fresh = split.fresh.erase(fresh);
  }
}

std::string drop_index(const std::string& name) {
  return fmt::format("DROP INDEX {};\n", quoted_name(name));
}

bool names_gone_column(const std::string& definition, const TableState& from, const TableState& to) {
  return std::ranges::any_of(from.columns, [&](const ColumnState& column) {
    if (to.column(column.name) != nullptr) return false;
    return mentions_name(definition.substr(definition.find(" USING ")), column.name);
  });
}

// `review`: a column that it uses goes, and takes it along.
void index_goes(Findings& findings, const std::string& name, const IndexState& state, bool review) {
  findings.add({.phase = Phase::drop_indexes,
                .object = name,
                .up = drop_index(name),
                .down = state.definition + ";\n" + index_comment(name, state),
                .review = review});
}

void index_comes(Findings& findings, const std::string& name, const IndexState& state, bool partitioned,
                 bool replaces) {
  Change change{.phase = Phase::add_indexes, .object = name};
  change.down = drop_index(name);
  if (partitioned) {
    change.up = state.definition + ";\n";
    change.warnings.emplace_back(
        "Keeps writers out of the table until it is built: a partitioned table has no CONCURRENTLY.");
  } else {
    change.stage = Stage::online;
    auto definition = state.definition;
    const std::string_view marker = " INDEX ";
    definition.replace(definition.find(marker), marker.size(), " INDEX CONCURRENTLY ");
    // What an attempt that was broken off left is invalid and of no use.
    change.up = fmt::format("DROP INDEX CONCURRENTLY IF EXISTS {};\n{};\n", quoted_name(name), definition);
  }
  change.up += index_comment(name, state);
  if (replaces) change.warnings.emplace_back("Until it is built, queries do without the index of this name.");
  if (state.unique) change.warnings.emplace_back("Fails while there are duplicates.");
  findings.add(std::move(change));
}

}  // namespace

void compare_constraints(Findings& findings, const std::string& table, const TableState& from, const TableState& to,
                         const std::set<std::string>& detached) {
  Split split(from.constraints, to.constraints);
  rename_alike(findings, split, from.constraints, to.constraints, [&](const std::string& a, const std::string& b) {
    return fmt::format("ALTER TABLE {} RENAME CONSTRAINT {} TO {};\n", quoted_name(table), quoted_name(a),
                       quoted_name(b));
  });
  for (const auto& name : split.gone) {
    const auto& state = from.constraints.at(name);
    if (state.kind == 'p') {
      refuse_key(findings, table);
      continue;
    }
    findings.add({.phase = dropping(state.kind),
                  .object = name,
                  .up = drop_constraint(table, name),
                  .down = add_constraint(table, name, state),
                  .review = uses_gone_column(state, to)});  // goes with its column, or stays with it
  }
  for (const auto& name : split.fresh) {
    if (to.constraints.at(name).kind == 'p') {
      refuse_key(findings, table);
    } else {
      constraint_comes(findings, table, name, to, from);
    }
  }
  for (const auto& name : split.kept) constraint_change(findings, table, name, from, to, detached.contains(name));
}

void compare_indexes(Findings& findings, const TableState& from, const TableState& to) {
  Split split(from.indexes, to.indexes);
  rename_alike(findings, split, from.indexes, to.indexes, [](const std::string& a, const std::string& b) {
    return fmt::format("ALTER INDEX {} RENAME TO {};\n", quoted_name(a), quoted_name(b));
  });
  const bool partitioned = !from.partition_key.empty();
  for (const auto& name : split.gone) {
    const auto& state = from.indexes.at(name);
    index_goes(findings, name, state, names_gone_column(state.definition, from, to));
  }
  for (const auto& name : split.fresh) index_comes(findings, name, to.indexes.at(name), partitioned, false);
  for (const auto& name : split.kept) {
    const auto& before = from.indexes.at(name);
    const auto& after = to.indexes.at(name);
    if (before.definition != after.definition || !before.valid) {
      index_goes(findings, name, before, false);
      index_comes(findings, name, after, partitioned, true);
    } else if (before.comment != after.comment) {
      findings.add({.phase = Phase::comments,
                    .object = name,
                    .up = comment_statement("INDEX", quoted_name(name), after.comment),
                    .down = comment_statement("INDEX", quoted_name(name), before.comment)});
    }
  }
}

}  // namespace cognive::schema
