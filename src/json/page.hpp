// Lists: newest first, stable under inserts, continued by an opaque cursor.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.hpp"
#include "base/uuid.hpp"
#include "json/fields.hpp"

namespace cognive::json {

// Where a page ends: the creation time and id of its last item. Rows are ordered by both, descending.
struct PagePosition {
  Timestamp created_at;
  Uuid id;

  [[nodiscard]] std::string cursor() const;
  // Nothing for anything that is not one of our cursors.
  static std::optional<PagePosition> parse(std::string_view cursor);
};

inline constexpr Rules page_limit_rules{.min = 1, .max = 500, .optional = true};

template <typename T>
struct Page {
  std::vector<T> items;
  std::optional<std::string> next_cursor;

  static constexpr auto fields() {
    return json::fields(field("items", &Page::items, "Newest first."),
                        field("next_cursor", &Page::next_cursor, "Continues the list; null on its last page."));
  }
};

// Turns `limit + 1` fetched rows into a page of `limit`; `position` tells where an item stands.
template <typename T, typename Position>
Page<T> page_of(std::vector<T> rows, std::int64_t limit, Position position) {
  Page<T> page;
  if (rows.size() > static_cast<std::size_t>(limit)) {
    rows.resize(static_cast<std::size_t>(limit));
    page.next_cursor = position(rows.back()).cursor();
  }
  page.items = std::move(rows);
  return page;
}

}  // namespace cognive::json
