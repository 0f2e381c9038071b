// The table of the root key, as code.
#pragma once

#include <vector>

#include "schema/table.hpp"

namespace cognive::keyring {

std::vector<schema::Table> tables();

}  // namespace cognive::keyring
