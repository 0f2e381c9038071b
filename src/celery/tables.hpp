// The tables of tasks that come from Celery's clients.
#pragma once

#include <vector>

#include "schema/table.hpp"

namespace cognive::celery {

std::vector<schema::Table> tables();

}  // namespace cognive::celery
