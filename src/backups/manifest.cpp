#include "backups/manifest.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace cognive::backups {

std::int64_t Manifest::rows() const {
  std::int64_t out = 0;
  for (const auto& table : tables) out += table.rows;
  return out;
}

std::string difference(const std::vector<TableContent>& dumped, const std::vector<TableContent>& restored) {
  for (const auto& table : dumped) {
    const auto found = std::ranges::find(restored, table.name, &TableContent::name);
    if (found == restored.end()) return fmt::format("Table {} is missing.", table.name);
    if (found->rows != table.rows)
      return fmt::format("Table {} has {} rows in place of {}.", table.name, found->rows, table.rows);
    if (found->checksum != table.checksum) return fmt::format("Table {} has other rows than were dumped.", table.name);
  }
  for (const auto& table : restored) {
    if (std::ranges::find(dumped, table.name, &TableContent::name) == dumped.end())
      return fmt::format("Table {} was not dumped.", table.name);
  }
  return {};
}

}  // namespace cognive::backups
