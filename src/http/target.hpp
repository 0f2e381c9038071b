// The request target (RFC 9112, section 3.2): path segments, query and a URI reference for problem documents.
#pragma once

#include <string_view>

#include "base/error.hpp"
#include "http/message.hpp"

namespace cognive::http {

// Fills segments, query and instance of `out`. Origin form and absolute form are read; segments are split before they
// are decoded, so that an encoded slash stays within its segment. Code::malformed for anything else, and for text that
// is not UTF-8.
Result<void> read_target(std::string_view target, Request& out);

// Whether it is ASCII without blanks and control characters.
bool is_visible(std::string_view text);

// The path of a target as a URI reference, whatever the target is: what a URI may not hold is percent-encoded.
std::string instance_of(std::string_view target);

}  // namespace cognive::http
