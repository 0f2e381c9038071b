// The tables of the live stream, as code.
#pragma once

#include <vector>

#include "schema/table.hpp"

namespace cognive::stream {

std::vector<schema::Table> tables();

}  // namespace cognive::stream
