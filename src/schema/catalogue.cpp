#include "schema/catalogue.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "schema/table.hpp"

namespace cognive::schema {
namespace {

#define COGNIVE_TABLES_OF_SCHEMA                                                                        \
  "FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace "                                      \
  "WHERE n.nspname = $1 AND t.relkind IN ('r', 'p') AND NOT t.relispartition "                          \
  "AND t.relname NOT IN ('alembic_version', 'alembic_revision_log') "                                   \
  "AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = t.oid " \
  "AND d.deptype = 'e') "

constexpr pg::Query enums_query{
    "catalogue_enums",
    "SELECT t.typname::text, array(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid "
    "ORDER BY e.enumsortorder), coalesce(obj_description(t.oid, 'pg_type'), '') FROM pg_type t "
    "JOIN pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname = $1 AND t.typtype = 'e' "
    "AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = "
    "'e') ORDER BY 1"};

constexpr pg::Query tables_query{
    "catalogue_tables",
    "SELECT t.relname::text, coalesce(pg_get_partkeydef(t.oid), ''), coalesce(obj_description(t.oid, 'pg_class'), "
    "'') " COGNIVE_TABLES_OF_SCHEMA "ORDER BY 1"};

// A hypertable is an ordinary table to PostgreSQL; its first dimension is always a range. Only asked where the view is.
constexpr pg::Query has_hypertables_query{"catalogue_has_hypertables",
                                          "SELECT to_regclass('timescaledb_information.dimensions') IS NOT NULL"};
constexpr pg::Query hypertables_query{
    "catalogue_hypertables",
    "SELECT hypertable_name::text, column_name::text FROM timescaledb_information.dimensions "
    "WHERE hypertable_schema = $1 AND dimension_number = 1 ORDER BY 1"};

constexpr pg::Query columns_query{
    "catalogue_columns",
    "SELECT t.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull, "
    "CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END, "
    "CASE WHEN a.attgenerated <> '' THEN pg_get_expr(d.adbin, d.adrelid) END, a.attidentity::text, "
    "CASE WHEN a.attcollation <> y.typcollation THEN coalesce((SELECT c.collname::text FROM pg_collation c WHERE c.oid "
    "= a.attcollation), '') ELSE '' END, coalesce(col_description(t.oid, a.attnum), '') "
    "FROM (SELECT t.oid, t.relname " COGNIVE_TABLES_OF_SCHEMA
    ") t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped "
    "JOIN pg_type y ON y.oid = a.atttypid LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum "
    "ORDER BY 1, a.attnum"};

constexpr pg::Query constraints_query{
    "catalogue_constraints",
    "SELECT t.relname::text, c.conname::text, c.contype::text, pg_get_constraintdef(c.oid), c.convalidated, "
    "array(SELECT a.attname::text FROM unnest(c.conkey) WITH ORDINALITY AS k(number, position) "
    "JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.number ORDER BY k.position), "
    "coalesce((SELECT r.relname::text FROM pg_class r WHERE r.oid = c.confrelid), ''), "
    "array(SELECT a.attname::text FROM unnest(c.confkey) WITH ORDINALITY AS k(number, position) "
    "JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.number ORDER BY k.position), "
    "coalesce(obj_description(c.oid, 'pg_constraint'), '') "
    "FROM (SELECT t.oid, t.relname " COGNIVE_TABLES_OF_SCHEMA
    ") t JOIN pg_constraint c ON c.conrelid = t.oid AND c.contype IN ('p', 'u', 'f', 'c', 'x') AND c.conparentid = 0 "
    "ORDER BY 1, 2"};

constexpr pg::Query beside_query{
    "catalogue_beside",
    "SELECT t.relname::text, b.what FROM (SELECT t.oid, t.relname, t.relpersistence, t.reloptions, "
    "t.relrowsecurity " COGNIVE_TABLES_OF_SCHEMA
    ") t CROSS JOIN LATERAL ("
    "SELECT 'trigger ' || g.tgname AS what FROM pg_trigger g WHERE g.tgrelid = t.oid AND NOT g.tgisinternal "
    "UNION ALL SELECT 'rule ' || r.rulename FROM pg_rewrite r WHERE r.ev_class = t.oid "
    "UNION ALL SELECT 'policy ' || p.polname FROM pg_policy p WHERE p.polrelid = t.oid "
    "UNION ALL SELECT 'row security' WHERE t.relrowsecurity "
    "UNION ALL SELECT 'UNLOGGED' WHERE t.relpersistence = 'u' "
    "UNION ALL SELECT 'storage parameter ' || o FROM unnest(t.reloptions) AS o "
    "UNION ALL SELECT 'sequence ' || s.relname FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' "
    "WHERE d.classid = 'pg_class'::regclass AND d.refobjid = t.oid AND d.deptype = 'a') b ORDER BY 1, 2"};

// Of a partitioned table PostgreSQL prints an index ON ONLY the parent; it is wanted on the partitions as well.
constexpr pg::Query indexes_query{
    "catalogue_indexes",
    "SELECT t.relname::text, i.relname::text, CASE WHEN i.relkind = 'I' THEN regexp_replace(pg_get_indexdef("
    "x.indexrelid, 0, true), ' ON ONLY ', ' ON ') ELSE pg_get_indexdef(x.indexrelid, 0, true) END, x.indisunique, "
    "x.indisvalid, "
    "coalesce(obj_description(i.oid, 'pg_class'), '') "
    "FROM (SELECT t.oid, t.relname " COGNIVE_TABLES_OF_SCHEMA
    ") t JOIN pg_index x ON x.indrelid = t.oid JOIN pg_class i ON i.oid = x.indexrelid "
    "WHERE NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = x.indexrelid AND c.contype IN ('p', 'u', 'x')) "
    "ORDER BY 1, 2"};

#undef COGNIVE_TABLES_OF_SCHEMA

}  // namespace

const ColumnState* TableState::column(std::string_view name) const {
  const auto found = std::ranges::find(columns, name, &ColumnState::name);
  return found == columns.end() ? nullptr : &*found;
}

Async<Catalogue> read_catalogue(pg::Connection& connection, std::string schema, Deadline deadline) {
  Catalogue out;
  const auto params = pg::Params::of(schema);
  const auto enums = co_await connection.execute(enums_query, params, deadline);
  for (int i = 0; i < enums.size(); ++i) {
    std::string name;
    EnumState state;
    enums[i].read(name, state.values, state.comment);
    out.enums.emplace(std::move(name), std::move(state));
  }
  const auto tables = co_await connection.execute(tables_query, params, deadline);
  for (int i = 0; i < tables.size(); ++i) {
    std::string name;
    TableState state;
    tables[i].read(name, state.partition_key, state.comment);
    out.tables.emplace(std::move(name), std::move(state));
  }
  std::string table;
  const auto has_hypertables = co_await connection.execute(has_hypertables_query, {}, deadline);
  if (has_hypertables[0].at<bool>(0)) {
    const auto hypertables = co_await connection.execute(hypertables_query, params, deadline);
    for (int i = 0; i < hypertables.size(); ++i) {
      std::string column;
      hypertables[i].read(table, column);
      out.tables.at(table).partition_key = fmt::format("RANGE ({})", quoted_name(column));
      out.tables.at(table).hypertable = true;
    }
  }
  const auto columns = co_await connection.execute(columns_query, params, deadline);
  for (int i = 0; i < columns.size(); ++i) {
    ColumnState state;
    columns[i].read(table, state.name, state.type, state.not_null, state.default_value, state.generated, state.identity,
                    state.collation, state.comment);
    out.tables.at(table).columns.push_back(std::move(state));
  }
  const auto constraints = co_await connection.execute(constraints_query, params, deadline);
  for (int i = 0; i < constraints.size(); ++i) {
    std::string name;
    std::string kind;
    ConstraintState state;
    constraints[i].read(table, name, kind, state.definition, state.validated, state.columns, state.references,
                        state.reference_columns, state.comment);
    state.kind = kind.front();
    out.tables.at(table).constraints.emplace(std::move(name), std::move(state));
  }
  const auto beside = co_await connection.execute(beside_query, params, deadline);
  for (int i = 0; i < beside.size(); ++i) {
    std::string what;
    beside[i].read(table, what);
    out.tables.at(table).beside.push_back(std::move(what));
  }
  const auto indexes = co_await connection.execute(indexes_query, params, deadline);
  for (int i = 0; i < indexes.size(); ++i) {
    std::string name;
    IndexState state;
    indexes[i].read(table, name, state.definition, state.unique, state.valid, state.comment);
    out.tables.at(table).indexes.emplace(std::move(name), std::move(state));
  }
  co_return out;
}

}  // namespace cognive::schema
