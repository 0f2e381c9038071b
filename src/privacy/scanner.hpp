// The pass over one text. `phone_named`: it is the value of something that is called a phone, so that a bare number at
// its start is one. Nothing is returned when nothing was masked.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "privacy/redactor.hpp"

namespace cognive::privacy {

std::optional<std::string> scan(std::string_view text, bool phone_named, Counts& counts);

}  // namespace cognive::privacy
