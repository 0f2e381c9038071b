// The tables of agents, as code.
#pragma once

#include <vector>

#include "schema/table.hpp"

namespace cognive::agents {

std::vector<schema::Table> tables();

}  // namespace cognive::agents
