// What has to be done to bring a database to its model: one catalogue against another. Knows nothing of files.
#pragma once

#include <string>
#include <vector>

#include "schema/catalogue.hpp"
#include "schema/table.hpp"

namespace cognive::schema {

// Which revision a statement belongs to. Values of enums cannot be used in the transaction that adds them; indexes and
// validations of existing tables must not hold a lock while they read all rows.
enum class Stage {
  enum_values,  // before, each statement by itself
  structure,    // one transaction
  online,       // afterwards, each statement by itself
};

// The order within a stage; the way back is the reverse. Constraints go before the columns that they use.
enum class Phase {
  rename,
  drop_foreign_keys,
  drop_constraints,
  drop_indexes,
  create_types,
  create_tables,
  add_columns,
  change_columns,
  add_generated_columns,
  add_constraints,
  add_indexes,
  add_foreign_keys,
  comments,
  drop_columns,
  drop_tables,
  drop_types,
};

// One difference as statements, there and back.
struct Change {
  Stage stage = Stage::structure;
  Phase phase = Phase::comments;
  std::string object;  // "agents.name", "agents_name_idx": for sorting and for people
  std::string up;      // one or several statements, each ending in ";\n"
  std::string down;
  bool review = false;                  // loses data: written as a comment, for a person to decide
  std::vector<std::string> warnings{};  // of what it does to a large table
  int order = 0;                        // among those of one table or object, before the name decides
};

struct Difference {
  std::vector<Change> changes;        // in the order in which they are to be done
  std::vector<std::string> refusals;  // what cannot be done, each with a way to do it by hand
  std::vector<std::string> skips;     // what is different and stays so, each with the reason

  [[nodiscard]] bool empty() const { return changes.empty() && refusals.empty(); }
};

// `live` is the database's, `wanted` the model's catalogue; the model itself is asked for `renamed_from` only.
Difference compare(const Catalogue& live, const Catalogue& wanted, const Model& model);

// The statement that creates a table as the catalogue has it, without foreign keys, indexes and comments.
std::string create_table_statement(const std::string& name, const TableState& table);

}  // namespace cognive::schema
