// The tables of artifacts.
#pragma once

#include <vector>

#include "schema/table.hpp"

namespace cognive::artifacts {

std::vector<schema::Table> tables();

}  // namespace cognive::artifacts
