// What the parts of the comparison share: where their findings go, and the statements that several of them write.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "schema/compare.hpp"

namespace cognive::schema {

class Findings {
 public:
  explicit Findings(Difference& out) : out_(out) {}

  void add(Change change) { out_.changes.push_back(std::move(change)); }
  void refuse(std::string text) { out_.refusals.push_back(std::move(text)); }
  void skip(std::string text) { out_.skips.push_back(std::move(text)); }

 private:
  Difference& out_;
};

// Names that only one side has, in order, and those of both.
template <typename Map>
struct Split {
  std::vector<std::string> gone;
  std::vector<std::string> fresh;
  std::vector<std::string> kept;

  Split(const Map& live, const Map& wanted) {
    for (const auto& [name, state] : live) (wanted.contains(name) ? kept : gone).push_back(name);
    for (const auto& [name, state] : wanted) {
      if (!live.contains(name)) fresh.push_back(name);
    }
  }
};

// The parts, for a table that both sides have. Renames are done: both sides have the same names where they mean the
// same.
// `enums`: the types that are enums, before or after, as they stand in SQL.
void compare_columns(Findings& findings, const std::string& table, const TableState& from, const TableState& to,
                     const std::set<std::string>& enums);
// `detached`: foreign keys that stay as they are, but cannot stay where they are while other things change.
void compare_constraints(Findings& findings, const std::string& table, const TableState& from, const TableState& to,
                         const std::set<std::string>& detached);
void compare_indexes(Findings& findings, const TableState& from, const TableState& to);

// Applies `renamed_from` of the model to the catalogue of the database, as PostgreSQL will when it runs the statements.
void rename_enums(Findings& findings, Catalogue& live, const Catalogue& wanted, const Model& model);
void rename_tables(Findings& findings, Catalogue& live, const Catalogue& wanted, const Model& model);
void rename_columns(Findings& findings, Catalogue& live, const Catalogue& wanted, const Model& model);

// Puts one column's name in the place of another, in an expression: whole words outside of string literals that are not
// the names of types or functions. `marker`: only behind its first occurrence.
void replace_name(std::string& text, const std::string& from, const std::string& to);
void replace_name_after(std::string& text, std::string_view marker, const std::string& from, const std::string& to);
bool mentions_name(std::string text, const std::string& name);
// Where, from `begin` on, a type's name stands behind `::` as PostgreSQL prints it, outside of string literals.
std::size_t find_type(const std::string& text, const std::string& type, std::size_t begin);

// Statements.
std::string create_enum(const std::string& name, const EnumState& state);
std::string column_definition(const ColumnState& column);
std::string comment_statement(std::string_view kind, const std::string& object, const std::string& text);
std::string column_comment(const std::string& table, const ColumnState& column);
std::string index_comment(const std::string& name, const IndexState& state);
std::string drop_constraint(const std::string& table, const std::string& name);
std::string add_constraint(const std::string& table, const std::string& name, const ConstraintState& state);

}  // namespace cognive::schema
