// What a database has, in PostgreSQL's own words. A model is read the same way, after it was created in a scratch
// schema: two texts of one origin can be compared, a text that a person wrote and one that PostgreSQL prints cannot.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "pg/connection.hpp"

namespace cognive::schema {

struct ColumnState {
  std::string name;
  std::string type;  // format_type: bigint, numeric(20,4), timestamp with time zone
  bool not_null = false;
  std::optional<std::string> default_value;
  std::optional<std::string> generated;
  std::string identity;   // "a": always, "d": by default, empty: none
  std::string collation;  // empty: that of the type
  std::string comment;

  bool operator==(const ColumnState&) const = default;
};

struct ConstraintState {
  char kind = 'c';         // p: primary key, u: unique, f: foreign key, c: check, x: exclusion
  std::string definition;  // pg_get_constraintdef
  bool validated = true;
  std::vector<std::string> columns;
  std::string references;  // the table that a foreign key refers to
  std::vector<std::string> reference_columns;
  std::string comment;

  bool operator==(const ConstraintState&) const = default;
};

struct IndexState {
  std::string definition;  // pg_get_indexdef, from CREATE on
  bool unique = false;
  bool valid = true;
  std::string comment;

  bool operator==(const IndexState&) const = default;
};

struct TableState {
  std::string partition_key;  // "RANGE (bucket)", also of a hypertable; empty: not partitioned
  bool hypertable = false;    // of TimescaleDB, which can do less to it later
  std::string comment;
  std::vector<ColumnState> columns;  // in their order
  std::map<std::string, ConstraintState> constraints;
  std::map<std::string, IndexState> indexes;  // without those of constraints
  // What it has that no model describes, for a person to know of: "trigger t", "sequence s", "row security", …
  std::vector<std::string> beside;

  [[nodiscard]] const ColumnState* column(std::string_view name) const;
  bool operator==(const TableState&) const = default;
};

struct EnumState {
  std::vector<std::string> values;
  std::string comment;

  bool operator==(const EnumState&) const = default;
};

struct Catalogue {
  std::map<std::string, EnumState> enums;
  std::map<std::string, TableState> tables;

  bool operator==(const Catalogue&) const = default;
};

// Tables that belong to the migrations themselves, and are nobody's model.
inline constexpr const char* version_table = "alembic_version";
inline constexpr const char* log_table = "alembic_revision_log";

// Reads one schema: ordinary and partitioned tables, without partitions and without what belongs to extensions or to
// the migrations. The connection's search_path must be that schema alone, so that no name is printed with it.
Async<Catalogue> read_catalogue(pg::Connection& connection, std::string schema, Deadline deadline);

}  // namespace cognive::schema
