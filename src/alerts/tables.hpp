// The tables of this folder. Alerts themselves are written where budgets are charged, and belong there.
#pragma once

#include <vector>

#include "schema/table.hpp"

namespace cognive::alerts {

std::vector<schema::Table> tables();

}  // namespace cognive::alerts
