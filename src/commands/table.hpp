// Tables for people: aligned columns on standard output.
#pragma once

#include <string>
#include <vector>

namespace cognive::commands {

class Table {
 public:
  enum class Align { left, right };
  struct Column {
    std::string title;
    Align align = Align::left;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  void add(std::vector<std::string> cells);
  // A row set off by a rule, for totals.
  void add_total(std::vector<std::string> cells) { total_ = std::move(cells); }

  [[nodiscard]] std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
  std::vector<std::string> total_;
};

}  // namespace cognive::commands
