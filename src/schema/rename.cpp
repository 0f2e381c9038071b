#include "schema/comparison.hpp"

namespace cognive::schema {
namespace {

constexpr std::string_view references_marker = " REFERENCES ";

void refuse_two_steps(Findings& findings, const std::string& object, const std::string& old_name) {
  findings.refuse(
      fmt::format("{0}: it is to be renamed from {1}, but the model has something called {1} too, so that "
                  "nobody can tell which of them the database has. Make two revisions: first the rename "
                  "alone (two names change places by way of a third), then what is called {1}.",
                  object, old_name));
}

// PostgreSQL prints the names of today; so must we, of tomorrow.
void rename_reference(ConstraintState& state, const std::string& from, const std::string& to) {
  if (state.references != from) return;
  state.references = to;
  const auto old_text = " REFERENCES " + quoted_name(from) + "(";
  if (const auto at = state.definition.find(old_text); at != std::string::npos)
    state.definition.replace(at, old_text.size(), " REFERENCES " + quoted_name(to) + "(");
}

void rename_index_table(IndexState& state, const std::string& from, const std::string& to, const std::string& table) {
  if (table != to) return;
  for (const std::string_view word : {" ON ", " ON ONLY "}) {
    const auto old_text = std::string(word) + quoted_name(from) + " USING ";
    if (const auto at = state.definition.find(old_text); at != std::string::npos)
      state.definition.replace(at, old_text.size(), std::string(word) + quoted_name(to) + " USING ");
  }
}

void replace_type(std::string& text, const std::string& from, const std::string& to) {
  for (auto at = find_type(text, from, 0); at != std::string::npos; at = find_type(text, from, at + to.size()))
    text.replace(at, from.size(), to);
}

void rename_columns_of(Findings& findings, Catalogue& live, const Table& model, TableState& from,
                       const TableState& to) {
  const auto& table = model.name;
  for (const auto& column : model.columns) {
    const auto& old_name = column.renamed_from;
    if (old_name.empty() || from.column(old_name) == nullptr) continue;
    if (to.column(old_name) != nullptr) {
      const auto* other = &*std::ranges::find(model.columns, old_name, &Column::name);
      if (from.column(column.name) == nullptr || other->renamed_from == column.name)
        refuse_two_steps(findings, "Column " + table + "." + column.name, old_name);
      continue;
    }
    if (from.column(column.name) != nullptr) continue;  // it was renamed long ago
    std::ranges::find(from.columns, old_name, &ColumnState::name)->name = column.name;
    const auto rename = [&](const std::string& a, const std::string& b) {
      return fmt::format("ALTER TABLE {} RENAME COLUMN {} TO {};\n", quoted_name(table), quoted_name(a),
                         quoted_name(b));
    };
    // What PostgreSQL prints of constraints and indexes will have the new name.
    for (auto& [name, state] : from.constraints) {
      // Columns of the table that a foreign key refers to may have the same name.
      const auto own = state.kind == 'f' ? state.definition.find(references_marker) : std::string::npos;
      auto text = state.definition.substr(0, own);
      replace_name(text, old_name, column.name);
      state.definition.replace(0, own, text);
      std::ranges::replace(state.columns, old_name, column.name);
    }
    for (auto& [name, state] : from.indexes) replace_name_after(state.definition, " USING ", old_name, column.name);
    for (auto& [other, state] : live.tables) {
      for (auto& [name, key] : state.constraints) {
        if (key.kind != 'f' || key.references != table) continue;
        // Behind the table's own name, which may be that of the column.
        replace_name_after(key.definition, fmt::format("{}{}(", references_marker, quoted_name(table)), old_name,
                           column.name);
        std::ranges::replace(key.reference_columns, old_name, column.name);
      }
    }
    replace_name_after(from.partition_key, "(", old_name, column.name);
    for (auto& one : from.columns) {
      if (one.generated) replace_name(*one.generated, old_name, column.name);
    }
    findings.add({.phase = Phase::rename,
                  .object = table + "." + column.name,
                  .up = rename(old_name, column.name),
                  .down = rename(column.name, old_name),
                  .warnings = {"Processes of the version before do not find the column under its new name."}});
  }
}

}  // namespace

// PostgreSQL prints values of a type as 'value'::type, and its arrays as type[].
void rename_enums(Findings& findings, Catalogue& live, const Catalogue& wanted, const Model& model) {
  for (const auto& type : model.enums) {
    const auto& old_name = type.renamed_from;
    if (old_name.empty() || !live.enums.contains(old_name)) continue;
    if (wanted.enums.contains(old_name)) {
      const auto other = std::ranges::find(model.enums, old_name, &Enum::name);
      if (!live.enums.contains(type.name) || other->renamed_from == type.name)
        refuse_two_steps(findings, "Enum " + type.name, old_name);
      continue;
    }
    if (live.enums.contains(type.name)) continue;  // it was renamed long ago
    auto node = live.enums.extract(old_name);
    node.key() = type.name;
    live.enums.insert(std::move(node));
    const auto a = quoted_name(old_name);
    const auto b = quoted_name(type.name);
    for (auto& [table, state] : live.tables) {
      for (auto& column : state.columns) {
        if (column.type == a || column.type == a + "[]") column.type.replace(0, a.size(), b);
        if (column.default_value) replace_type(*column.default_value, a, b);
        if (column.generated) replace_type(*column.generated, a, b);
      }
      for (auto& [name, constraint] : state.constraints) replace_type(constraint.definition, a, b);
      for (auto& [name, index] : state.indexes) replace_type(index.definition, a, b);
    }
    const auto rename = [](const std::string& from, const std::string& to) {
      return fmt::format("ALTER TYPE {} RENAME TO {};\n", from, to);
    };
    findings.add(
        {.phase = Phase::rename, .object = "type " + type.name, .up = rename(a, b), .down = rename(b, a), .order = -2});
  }
}

// Everything after this sees the table under its new name.
void rename_tables(Findings& findings, Catalogue& live, const Catalogue& wanted, const Model& model) {
  for (const auto& table : model.tables) {
    const auto& old_name = table.renamed_from;
    if (old_name.empty() || !live.tables.contains(old_name)) continue;
    if (wanted.tables.contains(old_name)) {
      const auto other = std::ranges::find(model.tables, old_name, &Table::name);
      if (!live.tables.contains(table.name) || other->renamed_from == table.name)
        refuse_two_steps(findings, "Table " + table.name, old_name);
      continue;
    }
    if (live.tables.contains(table.name)) continue;  // it was renamed long ago
    auto node = live.tables.extract(old_name);
    node.key() = table.name;
    live.tables.insert(std::move(node));
    for (auto& [name, state] : live.tables) {
      for (auto& [constraint, definition] : state.constraints) rename_reference(definition, old_name, table.name);
      for (auto& [index, definition] : state.indexes) rename_index_table(definition, old_name, table.name, name);
    }
    findings.add({.phase = Phase::rename,
                  .object = " " + table.name,  // before its columns
                  .up = fmt::format("ALTER TABLE {} RENAME TO {};\n", quoted_name(old_name), quoted_name(table.name)),
                  .down = fmt::format("ALTER TABLE {} RENAME TO {};\n", quoted_name(table.name), quoted_name(old_name)),
                  .warnings = {"Processes of the version before do not find the table under its new name."}});
  }
}

void rename_columns(Findings& findings, Catalogue& live, const Catalogue& wanted, const Model& model) {
  for (const auto& table : model.tables) {
    const auto from = live.tables.find(table.name);
    const auto to = wanted.tables.find(table.name);
    if (from != live.tables.end() && to != wanted.tables.end())
      rename_columns_of(findings, live, table, from->second, to->second);
  }
}

std::size_t find_type(const std::string& text, const std::string& type, std::size_t begin) {
  bool in_literal = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\'') in_literal = !in_literal;
    if (in_literal || i < begin || i < 2 || text.compare(i - 2, 2, "::") != 0 ||
        text.compare(i, type.size(), type) != 0)
      continue;
    const auto end = i + type.size();
    if (end >= text.size() || (std::isalnum(static_cast<unsigned char>(text[end])) == 0 && text[end] != '_')) return i;
  }
  return std::string::npos;
}

bool mentions_name(std::string text, const std::string& name) {
  const auto before = text;
  replace_name(text, name, name + "_");
  return text != before;
}

void replace_name_after(std::string& text, std::string_view marker, const std::string& from, const std::string& to) {
  const auto at = text.find(marker);
  if (at == std::string::npos) return;
  auto tail = text.substr(at + marker.size());
  replace_name(tail, from, to);
  text.replace(at + marker.size(), std::string::npos, tail);
}

void replace_name(std::string& text, const std::string& from, const std::string& to) {
  const auto is_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '"'; };
  const auto old_text = quoted_name(from);
  bool in_literal = false;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] == '\'') in_literal = !in_literal;
    const bool starts =
        !in_literal && text.compare(i, old_text.size(), old_text) == 0 && (i == 0 || !is_word(text[i - 1]));
    const bool is_type = i >= 2 && text.compare(i - 2, 2, "::") == 0;
    const auto end = i + old_text.size();
    if (starts && !is_type && (end >= text.size() || (!is_word(text[end]) && text[end] != '('))) {
      const auto new_text = quoted_name(to);
      text.replace(i, old_text.size(), new_text);
      i += new_text.size();
    } else {
      ++i;
    }
  }
}

}  // namespace cognive::schema
