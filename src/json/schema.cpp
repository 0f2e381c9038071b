#include "json/schema.hpp"

namespace cognive::json::detail {

void bounds(Writer& out, const Rules& rules) {
  const Rules none;
  if (rules.min != none.min) {
    out.key("minimum");
    out.integer(rules.min);
  }
  if (rules.max != none.max) {
    out.key("maximum");
    out.integer(rules.max);
  }
}

void lengths(Writer& out, std::string_view min, std::string_view max, const Rules& rules) {
  const Rules none;
  if (rules.min_length != none.min_length) {
    out.key(min);
    out.unsigned_integer(rules.min_length);
  }
  if (rules.max_length != none.max_length) {
    out.key(max);
    out.unsigned_integer(rules.max_length);
  }
}

}  // namespace cognive::json::detail
