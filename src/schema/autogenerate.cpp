#include "schema/autogenerate.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <ranges>

namespace cognive::schema {
namespace {

// Not the name that anybody has; made and rolled back in one transaction.
constexpr const char* scratch_schema = "cognive_scratch";

constexpr pg::Query look_query{
    "compare_look",
    "SELECT coalesce(current_schema()::text, ''), has_database_privilege(current_database(), "
    "'CREATE'), current_setting('transaction_read_only') = 'on'"};

std::string commented(std::string_view statements) {
  std::string out;
  while (!statements.empty()) {
    const auto end = statements.find('\n');
    out += fmt::format("-- {}\n", statements.substr(0, end));
    statements = end == std::string_view::npos ? std::string_view{} : statements.substr(end + 1);
  }
  return out;
}

std::string section(const Change& change, bool up) {
  const auto& statements = up ? change.up : change.down;
  std::string out;
  if (up) {
    for (const auto& warning : change.warnings) out += "-- WARNING: " + warning + "\n";
  }
  if (!change.review || statements.empty()) return out + statements;
  out += up ? "-- REVIEW: this loses data. Take the comment marks away to do it, also on the way back below.\n"
            : "-- REVIEW: the way back of what is commented out above.\n";
  return out + commented(statements);
}

// Made within one minute, they differ in four random digits only, and must sort behind each other.
std::string id_behind(const std::string& before) {
  auto id = make_revision_id();
  for (int attempt = 0; id <= before && attempt < 100; ++attempt) id = make_revision_id();
  return id <= before ? before + "1" : id;
}

// What a schema of its own has after these statements; nothing of it remains. Functions, operator classes and types
// that are in nobody's model are found where they are, by `path`.
Async<Catalogue> created(pg::Connection& connection, std::string statements, std::string path, Deadline deadline) {
  Catalogue out;
  std::exception_ptr failure;
  co_await connection.run_script(
      fmt::format("BEGIN ISOLATION LEVEL REPEATABLE READ; CREATE SCHEMA {0}; SET LOCAL search_path = {0}, {1}",
                  scratch_schema, path),
      deadline);
  try {
    if (!statements.empty()) co_await connection.run_script(std::move(statements), deadline);
    out = co_await read_catalogue(connection, scratch_schema, deadline);
  } catch (const pg::SqlError&) {
    failure = std::current_exception();
  }
  co_await connection.run_script("ROLLBACK", deadline);
  if (failure) std::rethrow_exception(failure);
  co_return out;
}

// Otherwise they would be found in the live schema, and the model would only be right by chance.
std::vector<std::string> names_outside(const Model& model) {
  std::vector<std::string> out;
  for (const auto& table : model.tables) {
    for (const auto& key : table.foreign_keys) {
      if (std::ranges::find(model.tables, key.table, &Table::name) == model.tables.end()) out.push_back(key.table);
    }
  }
  return out;
}

}  // namespace

Async<Result<Difference>> compare_with(pg::Connection& connection, Model model, Deadline deadline) {
  std::string schema;
  bool may_create = false;
  bool read_only = false;
  const auto look = co_await connection.execute(look_query, {}, deadline);
  look[0].read(schema, may_create, read_only);
  if (read_only || !may_create) {
    co_return fail(Code::forbidden,
                   fmt::format("the model is created in a schema of its own to be compared, in a transaction that is "
                               "rolled back, but {}",
                               read_only ? "this database is read-only: use the primary"
                                         : "this role may not: GRANT CREATE ON DATABASE … TO it"));
  }
  if (schema.empty()) co_return fail(Code::conflict, "the search_path names no schema that exists");
  if (auto foreign = names_outside(model); !foreign.empty()) {
    co_return fail(Code::conflict,
                   fmt::format("the model refers to tables that it does not have: {}", fmt::join(foreign, ", ")));
  }
  // As the migrator sees it, and then the usual place of functions.
  const auto path = quoted_name(schema) + ", public";
  auto wanted = co_await created(connection, create_statements(model), path, deadline);
  co_await connection.run_script(fmt::format("BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL search_path = {}", path),
                                 deadline);
  auto live = co_await read_catalogue(connection, schema, deadline);
  co_await connection.run_script("ROLLBACK", deadline);
  auto difference = compare(live, wanted, model);
  if (difference.empty()) co_return difference;
  live = co_await settled(connection, std::move(live), path, deadline);
  wanted = co_await settled(connection, std::move(wanted), path, deadline);
  co_return compare(live, wanted, model);
}

Async<Catalogue> settled(pg::Connection& connection, Catalogue catalogue, std::string path, Deadline deadline) {
  std::string statements;
  for (const auto& change : compare({}, catalogue, {}).changes) statements += change.up;
  Catalogue out;
  try {
    out = co_await created(connection, std::move(statements), std::move(path), deadline);
  } catch (const pg::SqlError&) {
    co_return catalogue;
  }
  for (auto& [name, table] : out.tables) {
    auto& before = catalogue.tables.at(name);
    table.hypertable = before.hypertable;
    table.beside = std::move(before.beside);
    for (auto& [constraint, state] : table.constraints) {
      if (!before.constraints.at(constraint).validated) state = std::move(before.constraints.at(constraint));
    }
    for (auto& [index, state] : table.indexes) state.valid = before.indexes.at(index).valid;
  }
  co_return out;
}

std::vector<Revision> revisions_for(const Difference& difference, std::vector<std::string> down,
                                    const std::string& message) {
  struct Part {
    Stage stage;
    bool transaction;
    std::string_view suffix;
  };
  constexpr Part parts[] = {{Stage::enum_values, false, " (values of enums)"},
                            {Stage::structure, true, ""},
                            {Stage::online, false, " (without locks)"}};
  std::vector<Revision> out;
  for (const auto& part : parts) {
    const auto belongs = [&](const Change& change) { return change.stage == part.stage; };
    auto changes = difference.changes | std::views::filter(belongs);
    if (changes.empty()) continue;
    Revision revision;
    revision.id = out.empty() ? make_revision_id() : id_behind(out.back().id);
    revision.down = out.empty() ? down : std::vector{out.back().id};
    revision.message = message + std::string(part.suffix);
    revision.transaction = part.transaction;
    for (const auto& change : changes) revision.upgrade += section(change, true);
    std::vector<const Change*> reversed;
    for (const auto& change : changes) reversed.insert(reversed.begin(), &change);
    for (const auto* change : reversed) revision.downgrade += section(*change, false);
    out.push_back(std::move(revision));
  }
  return out;
}

}  // namespace cognive::schema
