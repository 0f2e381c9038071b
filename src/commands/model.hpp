// Every table of the product in one model: what `migrate revision --autogenerate` and `migrate check` compare with.
#pragma once

#include "schema/table.hpp"

namespace cognive::commands {

schema::Model product_model();

}  // namespace cognive::commands
