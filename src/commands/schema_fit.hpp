// Whether the tables of a database are such that this version of the product can work with them.
#pragma once

#include "base/error.hpp"
#include "config/settings.hpp"

namespace cognive::commands {

// A database that is away is no reason not to start: readiness tells of it, and looks again each time. One that is to
// be brought forward first (`migrate`) is, and throws Unavailable. The error says what to do.
Result<void> check_tables(const Settings& settings, bool migrate);

}  // namespace cognive::commands
