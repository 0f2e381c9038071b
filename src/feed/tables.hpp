// The tables of the feed.
#pragma once

#include <vector>

#include "schema/table.hpp"

namespace cognive::feed {

std::vector<schema::Table> tables();

}  // namespace cognive::feed
