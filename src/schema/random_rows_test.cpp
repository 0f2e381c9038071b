// Random edits of tables that have rows: no row gets lost, and no value changes that was not to, on the way there, back
// and there again. COGNIVE_TEST_SEED repeats a run, COGNIVE_TEST_STEPS makes it longer.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <random>

#include "schema/compare.hpp"
#include "schema/database_test.hpp"

namespace cognive::schema {
namespace {

// Small numbers are the same text in each of them.
const std::vector<std::string> types = {"smallint", "integer", "bigint", "numeric", "text", "varchar(9)", "varchar"};

// A model with one table, whose columns change under its rows.
class Author {
 public:
  explicit Author(std::uint64_t seed) : random_(seed) {
    model_.tables.push_back({.name = "t", .columns = {{.name = "id", .type = "bigint"}}, .primary_key = {"id"}});
    for (int i = 0; i < 4; ++i) add_column();
  }

  [[nodiscard]] const Model& model() const { return model_; }
  Table& table() { return model_.tables[0]; }

  void edit() {
    for (auto& column : table().columns) column.renamed_from.clear();
    for (auto count = 1 + below(3); count > 0; --count) edit_once();
  }

 private:
  std::size_t below(std::size_t end) { return std::uniform_int_distribution<std::size_t>(0, end - 1)(random_); }
  std::string name() { return fmt::format("c{}x", ++names_); }
  static bool is_whole(const Column& column) {
    return column.type == "smallint" || column.type == "integer" || column.type == "bigint";
  }

  void add_column() {
    Column out{.name = name(), .type = types[below(types.size())], .nullable = true};
    if (below(2) == 0) {
      out.nullable = false;
      out.default_value = "'7'";
    }
    table().columns.push_back(std::move(out));
  }

  void edit_once() {
    auto& columns = table().columns;
    const auto at = 1 + below(columns.size() - 1);  // never the key
    auto& column = columns[at];
    switch (below(8)) {
      case 0:
        return add_column();
      case 1:
        // One that only just came or was renamed would ask whether it is the same.
        if (columns.size() > 4 &&
            std::ranges::all_of(columns, [](const Column& one) { return one.renamed_from.empty(); }))
          columns.erase(columns.begin() + static_cast<std::ptrdiff_t>(at));
        return;
      case 2:
      case 3:
        column.identity = IdentityKind::none;
        column.type = types[below(types.size())];
        return;
      case 4:
        if (column.identity == IdentityKind::none) column.nullable = !column.nullable;
        return;
      case 5:
        if (column.identity == IdentityKind::none) column.default_value = below(2) == 0 ? "" : "'5'";
        return;
      case 6:
        if (!is_whole(column)) return;
        column.identity = static_cast<IdentityKind>(below(3));
        column.default_value.clear();
        if (column.identity != IdentityKind::none) column.nullable = false;
        return;
      default:
        if (!column.renamed_from.empty()) return;
        column.renamed_from = column.name;
        column.name = name();
    }
  }

  std::mt19937_64 random_;
  Model model_;
  int names_ = 0;
};

using Rows = std::map<std::string, std::vector<std::string>>;  // of each column, in the order of the key

Async<Rows> read_rows(pg::Connection& connection) {
  Rows out;
  const auto names =
      co_await ask_sql(connection,
                       "SELECT attname::text FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum "
                       "> 0 AND NOT attisdropped");
  for (const auto& name : names) {
    out[name] =
        co_await ask_sql(connection, fmt::format("SELECT coalesce({}::text, '(null)') FROM t ORDER BY id", name));
  }
  co_return out;
}

// Each column has a value everywhere, so that it may become mandatory; then one more row.
Async<> fill(pg::Connection& connection, const Table& table, std::uint64_t id) {
  std::string given = "id";
  for (std::size_t i = 1; i < table.columns.size(); ++i) {
    const auto& column = table.columns[i];
    if (column.identity != IdentityKind::none) continue;
    const auto type = column.type.starts_with("varchar") ? "text" : column.type;
    co_await run_sql(connection, fmt::format("UPDATE t SET {0} = id::{1} WHERE {0} IS NULL", column.name, type));
    given += ", " + column.name;
  }
  const auto values = std::ranges::count(given, ',');
  std::string list = std::to_string(id);
  for (std::ptrdiff_t i = 0; i < values; ++i)
    list += fmt::format(", '{}'", (id * 3 + static_cast<std::uint64_t>(i)) % 90);
  co_await run_sql(connection, fmt::format("INSERT INTO t ({}) VALUES ({})", given, list));
}

// Columns that were there before, under their names of today, have the values that they had.
std::string lost(const Rows& before, const Rows& after, const std::map<std::string, std::string>& new_names) {
  for (const auto& [name, values] : before) {
    const auto renamed = new_names.find(name);
    if (renamed == new_names.end()) continue;
    const auto now = after.find(renamed->second);
    if (now == after.end()) return fmt::format("{} is not there any more as {}", name, renamed->second);
    if (now->second.size() != values.size()) return fmt::format("{} rows became {}", values.size(), now->second.size());
    if (now->second != values) return fmt::format("values of {} changed", name);
  }
  return "";
}

struct Kept {
  std::map<std::string, std::string> there;
  std::map<std::string, std::string> back;
};

Kept kept_columns(const Table& before, const Table& after) {
  Kept out;
  for (const auto& column : after.columns) {
    const auto old_name = column.renamed_from.empty() ? column.name : column.renamed_from;
    if (std::ranges::find(before.columns, old_name, &Column::name) == before.columns.end()) continue;
    out.there[old_name] = column.name;
    out.back[old_name] = old_name;
  }
  return out;
}

bool kept_all(const Table& before, const Kept& kept) {
  return std::ranges::all_of(before.columns, [&](const Column& one) { return kept.there.contains(one.name); });
}

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);  // NOLINT(concurrency-mt-unsafe)
  return text == nullptr ? otherwise : std::stoull(text);
}

TEST(RandomEditsOfTablesWithRows, lose_no_row_and_change_no_value) {
  const auto first_seed = number_from("COGNIVE_TEST_SEED", 20260101);
  const auto steps = number_from("COGNIVE_TEST_STEPS", 40);
  constexpr std::uint64_t steps_per_model = 20;
  std::size_t changes = 0;
  std::size_t refused = 0;
  const auto step_of = [&](pg::Connection& connection, Author& author, std::uint64_t number) -> Async<std::string> {
    co_await fill(connection, author.table(), number + 1);
    const auto model_before = author.model();
    author.edit();
    const auto rows_before = co_await read_rows(connection);
    const auto difference = co_await difference_of(connection, author.model());
    if (!difference.refusals.empty()) {
      ++refused;
      author.table() = model_before.tables[0];
      co_return "";
    }
    changes += difference.changes.size();
    const auto kept = kept_columns(model_before.tables[0], author.table());
    const auto history = history_of(difference);
    const auto explained = [&](const std::string& what) {
      return what.empty() ? "" : fmt::format("{}\n{}", what, text_of(difference));
    };
    co_await stamp_at_first(history);
    if (auto said = co_await upgrade(history); !said.empty()) co_return explained("the way up: " + said);
    auto rows = co_await read_rows(connection);
    if (auto what = lost(rows_before, rows, kept.there); !what.empty()) co_return explained("there: " + what);
    if (const auto left = co_await difference_of(connection, author.model()); !left.empty())
      co_return explained("is left: " + text_of(left));
    // A mandatory column without a default that was dropped cannot come back to rows.
    if (!kept_all(model_before.tables[0], kept)) co_return "";
    if (auto said = co_await downgrade(history, first_revision().id); !said.empty())
      co_return explained("the way back: " + said);
    rows = co_await read_rows(connection);
    if (auto what = lost(rows_before, rows, kept.back); !what.empty()) co_return explained("back: " + what);
    if (auto said = co_await upgrade(history); !said.empty()) co_return explained("again: " + said);
    rows = co_await read_rows(connection);
    co_return explained(lost(rows_before, rows, kept.there));
  };
  const auto life_of = [&](std::uint64_t seed) -> Async<> {
    Author author(seed);
    const auto connection = co_await connect();
    co_await empty_database(*connection);
    co_await run_sql(*connection, create_statements(author.model()));
    for (std::uint64_t step = 0; step < steps_per_model; ++step) {
      std::string fault;
      try {
        fault = co_await step_of(*connection, author, step);
      } catch (const std::exception& error) {
        fault = error.what();
      }
      EXPECT_EQ(fault, "") << "seed " << seed << " step " << step << "\n" << create_statements(author.model());
      if (!fault.empty()) co_return;
    }
  };
  for (std::uint64_t done = 0; done < steps && !HasFailure(); done += steps_per_model)
    run_to_end(life_of(first_seed + done));
  EXPECT_GT(changes, steps / 2);
  EXPECT_LT(refused, steps / 4);
}

}  // namespace
}  // namespace cognive::schema
