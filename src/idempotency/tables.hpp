// The table of idempotency keys, as code.
#pragma once

#include <vector>

#include "schema/table.hpp"

namespace cognive::idempotency {

std::vector<schema::Table> tables();

}  // namespace cognive::idempotency
