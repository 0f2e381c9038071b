// The tables of runs, as code.
#pragma once

#include <vector>

#include "schema/table.hpp"

namespace cognive::runs {

std::vector<schema::Table> tables();

}  // namespace cognive::runs
