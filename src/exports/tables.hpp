// The table of exports.
#pragma once

#include <vector>

#include "schema/table.hpp"

namespace cognive::exports {

std::vector<schema::Table> tables();

}  // namespace cognive::exports
