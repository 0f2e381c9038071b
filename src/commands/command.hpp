// The subcommands of `cognive`. Each file registers one and says, by setting `chosen`, what to do when it was given.
#pragma once

#include <functional>

namespace CLI {
class App;
}

namespace cognive::commands {

// Exit status of a process: 0 is success, 1 a failure that has been explained on standard error. Wrong usage is CLI11's
// business.
using Action = std::function<int()>;

void add_up(CLI::App& root, Action& chosen);
void add_serve(CLI::App& root, Action& chosen);
void add_worker(CLI::App& root, Action& chosen);
void add_budgets(CLI::App& root, Action& chosen);
void add_audit(CLI::App& root, Action& chosen);
void add_rollups(CLI::App& root, Action& chosen);
void add_tasks(CLI::App& root, Action& chosen);
void add_migrate(CLI::App& root, Action& chosen);
// The same verbs without `migrate` before them: for the name `alembic`.
void add_migrate_verbs(CLI::App& parent, Action& chosen);
void add_replication(CLI::App& root, Action& chosen);
void add_keys(CLI::App& root, Action& chosen);
void add_users(CLI::App& root, Action& chosen);
void add_master_key(CLI::App& root, Action& chosen);
void add_prices(CLI::App& root, Action& chosen);
// What goes through the API: show, set, reprice.
void add_price_overrides(CLI::App& prices, Action& chosen);
void add_import(CLI::App& root, Action& chosen);
void add_storage(CLI::App& root, Action& chosen);
void add_backup(CLI::App& root, Action& chosen);
void add_costs(CLI::App& root, Action& chosen);
void add_openapi(CLI::App& root, Action& chosen);
void add_healthcheck(CLI::App& root, Action& chosen);

}  // namespace cognive::commands
