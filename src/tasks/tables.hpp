// The tables of background work: tasks, what runs periodically, and the outbox.
#pragma once

#include <vector>

#include "schema/table.hpp"

namespace cognive::tasks {

std::vector<schema::Table> tables();

}  // namespace cognive::tasks
