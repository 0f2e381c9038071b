// Random edits of random models, each through the whole cycle: written as revisions, applied, compared, taken back,
// applied again. COGNIVE_TEST_SEED repeats a run, COGNIVE_TEST_STEPS makes it longer.
#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "schema/compare.hpp"
#include "schema/database_test.hpp"

namespace cognive::schema {
namespace {

// Tables without rows, so that what depends on them cannot fail; types that can be converted into each other.
const std::vector<std::string> convertible = {"integer", "bigint", "numeric(12,2)", "text", "varchar(20)"};
const std::vector<std::string> others = {"uuid", "boolean", "timestamptz", "date", "jsonb", "text[]"};

class Author {
 public:
  explicit Author(std::uint64_t seed) : random_(seed) {
    for (int i = 0; i < 3; ++i) add_table();
    model_.enums.push_back({.name = name("e"), .values = {name("v"), name("v")}});
  }

  [[nodiscard]] const Model& model() const { return model_; }

  // One to three edits. What was renamed before is an old story.
  Model edited() {
    for (auto& table : model_.tables) {
      table.renamed_from.clear();
      for (auto& column : table.columns) column.renamed_from.clear();
    }
    const auto before = model_;
    for (auto count = 1 + below(3); count > 0; --count) edit();
    return before;
  }
  void take_back(Model before) { model_ = std::move(before); }

 private:
  std::size_t below(std::size_t end) {
    return end == 0 ? 0 : std::uniform_int_distribution<std::size_t>(0, end - 1)(random_);
  }
  bool chance(std::size_t one_in) { return below(one_in) == 0; }
  template <typename T>
  T& one_of(std::vector<T>& all) {
    return all[below(all.size())];
  }
  template <typename T>
  const T& one_of(const std::vector<T>& all) {
    return all[below(all.size())];
  }
  template <typename T>
  void remove_one(std::vector<T>& all) {
    if (!all.empty()) all.erase(all.begin() + static_cast<std::ptrdiff_t>(below(all.size())));
  }

  // Never again, and never a part of another one: it can be looked for as text.
  std::string name(std::string_view kind) { return fmt::format("{}{}x", kind, ++names_); }
  std::string remark() { return chance(2) ? "" : "It's " + name("remark"); }

  static bool is_number(const Column& column) {
    return column.type == "integer" || column.type == "bigint" || column.type.starts_with("numeric");
  }
  static bool is_text(const Column& column) { return column.type == "text" || column.type.starts_with("varchar"); }
  static bool is_free(const Column& column) { return column.generated.empty() && column.name != "id"; }

  std::string some_default(const Column& column) {
    if (is_number(column)) return chance(2) ? "1" : "2 + 3";
    if (is_text(column)) return chance(2) ? "'a;b'" : "lower('X')";
    if (column.type == "uuid") return "gen_random_uuid()";
    if (column.type == "boolean") return "false";
    if (column.type == "timestamptz") return "now()";
    if (column.type == "jsonb" || column.type == "text[]") return "'{}'";
    for (const auto& type : model_.enums) {
      if (type.name == column.type) return "'" + one_of(type.values) + "'";
    }
    return "";
  }

  Column new_column() {
    Column out{.name = name("c")};
    if (chance(5) && !model_.enums.empty()) {
      out.type = one_of(model_.enums).name;
    } else {
      out.type = chance(3) ? one_of(others) : one_of(convertible);
    }
    out.nullable = chance(2);
    if (is_text(out) && chance(4)) out.collation = "C";
    if (is_number(out) && !out.type.starts_with("numeric") && chance(6)) {
      out.identity = chance(2) ? IdentityKind::always : IdentityKind::by_default;
      out.nullable = false;
    } else if (chance(3)) {
      out.default_value = some_default(out);
    }
    out.comment = remark();
    return out;
  }

  void add_table() {
    Table out{.name = name("t"), .comment = remark()};
    out.columns.push_back({.name = "id", .type = "bigint"});
    for (auto count = 1 + below(4); count > 0; --count) out.columns.push_back(new_column());
    out.primary_key = {"id"};
    model_.tables.push_back(std::move(out));
  }

  // What mentions a column goes with it.
  static bool mentions(const std::string& text, const std::string& what) {
    return text.find(what) != std::string::npos;
  }
  static bool mentions(const std::vector<std::string>& texts, const std::string& what) {
    return std::ranges::any_of(texts, [&](const auto& text) { return mentions(text, what); });
  }
  void forget_column(Table& table, const std::string& column) {
    std::erase_if(table.uniques, [&](const Unique& one) { return mentions(one.columns, column); });
    std::erase_if(table.foreign_keys, [&](const ForeignKey& one) { return mentions(one.columns, column); });
    std::erase_if(table.checks, [&](const Check& one) { return mentions(one.expression, column); });
    std::erase_if(table.indexes, [&](const Index& one) {
      return mentions(one.columns, column) || mentions(one.include, column) || mentions(one.where, column);
    });
    std::vector<std::string> generated;
    for (const auto& one : table.columns) {
      if (mentions(one.generated, column)) generated.push_back(one.name);
    }
    for (const auto& one : generated) {
      forget_column(table, one);
      std::erase_if(table.columns, [&](const Column& other) { return other.name == one; });
    }
  }
  static void replace(std::string& text, const std::string& from, const std::string& to) {
    for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
      text.replace(at, from.size(), to);
  }
  static void replace(std::vector<std::string>& texts, const std::string& from, const std::string& to) {
    for (auto& text : texts) replace(text, from, to);
  }

  void rename_column(Table& table, Column& column) {
    const auto from = column.name;
    const auto to = name("r");
    column.name = to;
    column.renamed_from = from;
    for (auto& one : table.uniques) replace(one.columns, from, to);
    for (auto& one : table.foreign_keys) replace(one.columns, from, to);
    for (auto& one : table.checks) replace(one.expression, from, to);
    for (auto& one : table.columns) replace(one.generated, from, to);
    for (auto& one : table.indexes) {
      replace(one.columns, from, to);
      replace(one.include, from, to);
      replace(one.where, from, to);
    }
  }

  void rename_table(Table& table) {
    if (!table.renamed_from.empty()) return;
    const auto from = table.name;
    table.renamed_from = from;
    table.name = name("t");
    for (auto& other : model_.tables) {
      for (auto& key : other.foreign_keys) {
        if (key.table == from) key.table = table.name;
      }
    }
  }

  void remove_table() {
    if (model_.tables.size() < 3) return;
    const auto gone = one_of(model_.tables).name;
    std::erase_if(model_.tables, [&](const Table& table) { return table.name == gone; });
    for (auto& table : model_.tables)
      std::erase_if(table.foreign_keys, [&](const ForeignKey& key) { return key.table == gone; });
  }

  void change_column(Table& table, Column& column) {
    switch (below(7)) {
      case 0:
        if (!is_number(column) && !is_text(column)) return;
        forget_references(table, column.name);
        column.type = one_of(convertible);
        column.collation = is_text(column) && chance(3) ? "C" : "";
        column.identity = IdentityKind::none;
        column.default_value = chance(2) ? "" : some_default(column);
        // What was said about the column may make no sense for its new type.
        std::erase_if(table.checks, [&](const Check& one) { return mentions(one.expression, column.name); });
        std::erase_if(table.indexes, [&](const Index& one) {
          return mentions(one.columns, "(" + column.name) || mentions(one.where, column.name);
        });
        return;
      case 1:
        if (column.identity == IdentityKind::none) column.nullable = !column.nullable;
        return;
      case 2:
        if (column.identity == IdentityKind::none) column.default_value = chance(3) ? "" : some_default(column);
        return;
      case 3:
        column.comment = remark();
        return;
      case 4:
        if (is_text(column)) column.collation = column.collation.empty() ? "C" : "";
        return;
      case 5:
        if (column.type != "integer" && column.type != "bigint") return;
        column.identity = static_cast<IdentityKind>(below(3));
        column.default_value.clear();
        if (column.identity != IdentityKind::none) column.nullable = false;
        return;
      default:
        if (column.renamed_from.empty()) rename_column(table, column);
    }
  }

  void forget_references(Table& table, const std::string& column) {
    std::erase_if(table.foreign_keys, [&](const ForeignKey& one) { return mentions(one.columns, column); });
  }

  void add_generated(Table& table) {
    const auto source = one_of(table.columns);
    if (!source.generated.empty()) return;
    Column out{.name = name("g"), .nullable = true, .comment = remark()};
    if (is_number(source)) {
      out.type = "numeric";
      out.generated = source.name + " * 2";
    } else if (is_text(source)) {
      out.type = "text";
      out.generated = "lower(" + source.name + ")";
    } else {
      return;
    }
    table.columns.push_back(std::move(out));
  }

  void add_check(Table& table) {
    const auto& column = one_of(table.columns);
    Check out{.label = name("k")};
    if (is_number(column)) {
      out.expression = column.name + (chance(2) ? " > 0" : " IN (1, 2, 3)");
    } else if (is_text(column)) {
      out.expression = column.name + (chance(2) ? " != ''" : " IN ('a', 'b')");
    } else {
      out.expression = column.name + " IS NOT NULL";
    }
    table.checks.push_back(std::move(out));
  }

  void add_index(Table& table) {
    const auto column = one_of(table.columns);
    const auto second = one_of(table.columns);
    Index out{.columns = {column.name}, .label = name("i"), .comment = remark()};
    if (column.type == "jsonb") {
      out.method = "gin";
      if (chance(2)) out.columns = {column.name + " jsonb_path_ops"};
    } else if (chance(6)) {
      if (column.type != "uuid" && column.type != "boolean" && column.type != "text[]" && !mentions(column.type, "e")) {
        out.method = "brin";
        out.with = chance(2) ? "pages_per_range = 16" : "";
      }
    } else {
      if (is_text(column) && chance(3))
        out.columns = {"(" + column.name + " || 'x')"};
      else if (chance(4))
        out.columns = {column.name + " DESC"};
      out.unique = chance(3);
      out.nulls_not_distinct = out.unique && chance(2);
      if (chance(3) && second.name != column.name) out.include = {second.name};
    }
    if (chance(3)) out.where = second.name + " IS NOT NULL";
    table.indexes.push_back(std::move(out));
  }

  void add_unique(Table& table) {
    std::vector<std::string> columns;
    for (const auto& column : table.columns) {
      if (columns.size() < 3 && column.type != "jsonb" && chance(2)) columns.push_back(column.name);
    }
    if (columns.empty()) return;
    table.uniques.push_back({.columns = columns, .nulls_not_distinct = chance(2), .label = name("u")});
  }

  void add_reference(Table& table) {
    const auto target = one_of(model_.tables).name;
    const auto column = std::ranges::find_if(table.columns, [&](const Column& one) {
      return one.type == "bigint" && is_free(one) && one.identity == IdentityKind::none;
    });
    std::string from = "id";
    if (column != table.columns.end()) {
      from = column->name;
    } else if (chance(2)) {
      table.columns.push_back({.name = name("c"), .type = "bigint", .nullable = true});
      from = table.columns.back().name;
    }
    table.foreign_keys.push_back({.columns = {from},
                                  .table = target,
                                  .on_delete = static_cast<Action>(below(5)),
                                  .on_update = static_cast<Action>(below(3)),
                                  .initially_deferred = chance(4),
                                  .label = name("f")});
  }

  void change_enum() {
    if (model_.enums.empty() || chance(4)) {
      model_.enums.push_back({.name = name("e"), .values = {name("v")}, .comment = remark()});
      return;
    }
    auto& type = one_of(model_.enums);
    if (chance(4)) {
      type.comment = remark();
    } else if (chance(6)) {
      const auto gone = type.name;
      for (auto& table : model_.tables) {
        std::vector<std::string> columns;
        for (const auto& column : table.columns) {
          if (column.type == gone) columns.push_back(column.name);
        }
        for (const auto& column : columns) {
          forget_column(table, column);
          std::erase_if(table.columns, [&](const Column& one) { return one.name == column; });
        }
      }
      std::erase_if(model_.enums, [&](const Enum& one) { return one.name == gone; });
    } else {
      const auto at = static_cast<std::ptrdiff_t>(below(type.values.size() + 1));
      type.values.insert(type.values.begin() + at, name("v"));
    }
  }

  void edit() {
    auto& table = one_of(model_.tables);
    auto& column = one_of(table.columns);
    switch (below(22)) {
      case 0:
        return add_table();
      case 1:
        return remove_table();
      case 2:
        return rename_table(table);
      case 3:
        table.comment = remark();
        return;
      case 4:
      case 5:
        table.columns.push_back(new_column());
        return;
      case 6:
        if (column.name == "id" || !column.renamed_from.empty()) return;
        {
          const auto gone = column.name;
          forget_column(table, gone);
          std::erase_if(table.columns, [&](const Column& one) { return one.name == gone; });
        }
        return;
      case 7:
      case 8:
      case 9:
      case 10:
        if (is_free(column)) change_column(table, column);
        return;
      case 11:
        return add_generated(table);
      case 12:
        return add_check(table);
      case 13:
        return remove_one(table.checks);
      case 14:
      case 15:
        return add_index(table);
      case 16:
        return remove_one(table.indexes);
      case 17:
        return add_unique(table);
      case 18:
        if (!table.uniques.empty() && chance(2)) {
          auto& unique = one_of(table.uniques);
          unique.nulls_not_distinct = !unique.nulls_not_distinct;
          return;
        }
        return remove_one(table.uniques);
      case 19:
        return add_reference(table);
      case 20:
        if (!table.foreign_keys.empty() && chance(2)) {
          one_of(table.foreign_keys).on_delete = static_cast<Action>(below(5));
          return;
        }
        return remove_one(table.foreign_keys);
      default:
        return change_enum();
    }
  }

  std::mt19937_64 random_;
  Model model_;
  int names_ = 0;
};

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* text = std::getenv(variable);  // NOLINT(concurrency-mt-unsafe)
  return text == nullptr ? otherwise : std::stoull(text);
}

TEST(RandomEdits, are_applied_and_taken_back_without_a_remainder) {
  const auto first_seed = number_from("COGNIVE_TEST_SEED", 20260101);
  const auto steps = number_from("COGNIVE_TEST_STEPS", 240);
  constexpr std::uint64_t steps_per_model = 30;
  std::size_t changes = 0;
  std::size_t refused = 0;
  const auto life_of = [&](std::uint64_t seed) -> Async<> {
    Author author(seed);
    const auto connection = co_await connect();
    co_await empty_database(*connection);
    Difference difference;
    std::string fault = co_await round_trip(*connection, author.model(), difference);
    for (std::uint64_t step = 0; step < steps_per_model && fault.empty(); ++step) {
      auto before = author.edited();
      try {
        fault = co_await round_trip(*connection, author.model(), difference);
      } catch (const std::exception& error) {
        fault = error.what();
      }
      changes += difference.changes.size();
      if (!difference.refusals.empty()) {
        ++refused;
        author.take_back(std::move(before));
      }
      if (!fault.empty())
        fault = fmt::format("seed {} step {}: {}\nmodel:\n{}", seed, step, fault, create_statements(author.model()));
    }
    EXPECT_EQ(fault, "");
  };
  for (std::uint64_t done = 0; done < steps && !HasFailure(); done += steps_per_model)
    run_to_end(life_of(first_seed + done));
  // It is no proof when nothing happens, or mostly refusals.
  EXPECT_GT(changes, steps);
  EXPECT_LT(refused, steps / 4);
}

}  // namespace
}  // namespace cognive::schema
