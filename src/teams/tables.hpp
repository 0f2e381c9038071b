// The tables of teams, as code.
#pragma once

#include <vector>

#include "schema/table.hpp"

namespace cognive::teams {

std::vector<schema::Table> tables();

}  // namespace cognive::teams
