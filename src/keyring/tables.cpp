#include "keyring/tables.hpp"

namespace cognive::keyring {

std::vector<schema::Table> tables() {
  return {{.name = "master_keys",
           .comment = "The root key, which all other keys follow from, encrypted under each master key that is in use",
           .columns = {{.name = "id", .type = "text", .comment = "Tells one master key from another"},
                       {.name = "sealed_root_key", .type = "bytea"},
                       {.name = "created_at", .type = "timestamptz", .default_value = "now()"},
                       {.name = "used_at",
                        .type = "timestamptz",
                        .nullable = true,
                        .comment = "By a process that runs, right to about ten minutes"}},
           .primary_key = {"id"}}};
}

}  // namespace cognive::keyring
