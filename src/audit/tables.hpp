// The tables of the audit trail, as code.
#pragma once

#include <vector>

#include "schema/table.hpp"

namespace cognive::audit {

std::vector<schema::Table> tables();

}  // namespace cognive::audit
