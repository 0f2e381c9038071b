// Entity tags (RFC 9110, section 8.8.3): which state of a resource somebody has seen. It follows from the JSON of the
// resource, so it is the same on every node, and changes with whatever the resource says.
#pragma once

#include <string>
#include <string_view>

#include "base/error.hpp"
#include "json/bind.hpp"

namespace cognive::json {

// With its quotes.
std::string entity_tag(std::string_view representation);

// Whether the value of an If-Match or If-None-Match names this tag, or is "*". Tags of compressed answers name what was
// compressed.
bool names_tag(std::string_view header, std::string_view tag);

// Before a change of `stored`: Code::precondition_failed when the caller, by If-Match, wants another state changed.
// `stored` has to be what GET shows the caller.
template <typename T>
Result<void> check_match(std::string_view if_match, const T& stored) {
  if (if_match.empty() || names_tag(if_match, entity_tag(encode(stored)))) return {};
  return fail(Code::precondition_failed,
              "It is not what If-Match names any more: somebody has changed it. GET it and decide again.");
}

}  // namespace cognive::json
