#include "commands/table.hpp"

#include <fmt/format.h>

namespace cognive::commands {
namespace {

// Terminal columns, counting code points: names here are not East Asian wide.
std::size_t width(const std::string& text) {
  std::size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
  return count;
}

// What comes from elsewhere must not speak to the terminal.
std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    out += byte < 0x20 || byte == 0x7F ? fmt::format("\\x{:02x}", byte) : std::string(1, c);
  }
  return out;
}

}  // namespace

void Table::add(std::vector<std::string> cells) {
  for (auto& cell : cells) cell = printable(cell);
  rows_.push_back(std::move(cells));
}

std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (const auto& column : columns_) widths.push_back(width(column.title));
  const auto measure = [&](const std::vector<std::string>& cells) {
    for (std::size_t i = 0; i < cells.size(); ++i) widths[i] = std::max(widths[i], width(cells[i]));
  };
  for (const auto& row : rows_) measure(row);
  measure(total_);

  std::string out;
  const auto line = [&](const std::vector<std::string>& cells) {
    std::string text;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const std::string cell = i < cells.size() ? cells[i] : "";
      const std::string padding(widths[i] - width(cell), ' ');
      if (i > 0) text += "  ";
      text += columns_[i].align == Align::right ? padding + cell : cell + padding;
    }
    text.resize(text.find_last_not_of(' ') + 1);
    out += text + "\n";
  };
  const auto rule = [&] {
    for (std::size_t i = 0; i < widths.size(); ++i) {
      if (i > 0) out += "  ";
      for (std::size_t j = 0; j < widths[i]; ++j) out += "─";
    }
    out += "\n";
  };
  std::vector<std::string> titles;
  for (const auto& column : columns_) titles.push_back(column.title);
  line(titles);
  rule();
  for (const auto& row : rows_) line(row);
  if (!total_.empty()) {
    rule();
    line(total_);
  }
  return out;
}

}  // namespace cognive::commands
