#include "teams/tables.hpp"

namespace cognive::teams {

std::vector<schema::Table> tables() {
  return {{.name = "teams",
           .comment = "Owners of agents and budgets",
           .columns = {{.name = "id", .type = "uuid"},
                       {.name = "name", .type = "text"},
                       {.name = "created_at", .type = "timestamptz", .default_value = "now()"}},
           .primary_key = {"id"},
           .uniques = {{.columns = {"name"}}}}};
}

}  // namespace cognive::teams
