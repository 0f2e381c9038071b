// The tables of people, roles and API keys, as code.
#pragma once

#include <vector>

#include "schema/table.hpp"

namespace cognive::identity {

std::vector<schema::Table> tables();

}  // namespace cognive::identity
