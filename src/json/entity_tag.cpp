#include "json/entity_tag.hpp"

#include "base/crypto.hpp"
#include "base/text.hpp"

namespace cognive::json {
namespace {

constexpr std::size_t tag_digits = 32;

}  // namespace

std::string entity_tag(std::string_view representation) {
  return '"' + to_hex(sha256(representation)).substr(0, tag_digits) + '"';
}

bool names_tag(std::string_view header, std::string_view tag) {
  const auto opaque = tag.substr(0, tag.size() - 1);  // without the last quote
  while (!header.empty()) {
    const auto end = header.find(',');
    auto one = trim(header.substr(0, end));
    header = end == std::string_view::npos ? std::string_view{} : header.substr(end + 1);
    if (one == "*") return true;
    if (one.starts_with("W/")) one.remove_prefix(2);
    if (!one.starts_with(opaque)) continue;
    const auto rest = one.substr(opaque.size());
    if (rest == "\"" || rest == "-gzip\"") return true;
  }
  return false;
}

}  // namespace cognive::json
