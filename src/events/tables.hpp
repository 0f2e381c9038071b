// The tables of steps, LLM calls and tool invocations, as code.
#pragma once

#include <vector>

#include "schema/table.hpp"

namespace cognive::events {

std::vector<schema::Table> tables();

}  // namespace cognive::events
