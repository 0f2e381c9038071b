// The tables of rollups.
#pragma once

#include <vector>

#include "schema/table.hpp"

namespace cognive::rollups {

std::vector<schema::Table> tables();

}  // namespace cognive::rollups
