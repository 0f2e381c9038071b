// The tables of prices, as code.
#pragma once

#include <vector>

#include "schema/table.hpp"

namespace cognive::prices {

std::vector<schema::Table> tables();

}  // namespace cognive::prices
