// The tables of budgets, as code.
#pragma once

#include <vector>

#include "schema/table.hpp"

namespace cognive::budgets {

std::vector<schema::Table> tables();

}  // namespace cognive::budgets
