#include "json/page.hpp"

#include <charconv>

namespace cognive::json {

std::string PagePosition::cursor() const {
  return fmt::format("{:x}.{}", created_at.micros, id.text());
}

std::optional<PagePosition> PagePosition::parse(std::string_view cursor) {
  PagePosition out;
  const auto dot = cursor.find('.');
  if (dot != std::string_view::npos) {
    const auto id = Uuid::parse(cursor.substr(dot + 1));
    const auto [end, error] = std::from_chars(cursor.data(), cursor.data() + dot, out.created_at.micros, 16);
    if (id && error == std::errc{} && end == cursor.data() + dot) {
      out.id = *id;
      return out;
    }
  }
  return std::nullopt;
}

}  // namespace cognive::json
