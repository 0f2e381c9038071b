// Picks the command.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>

#include "base/error.hpp"
#include "commands/command.hpp"

int main(int argc, char** argv) {
  using namespace cognive;
  commands::Action chosen;
  // Installed under the name `alembic`, operators keep their habits.
  const bool as_alembic = argc > 0 && std::filesystem::path(argv[0]).filename() == "alembic";
  CLI::App app(as_alembic ? "Moves the database of Cognive along its revisions."
                          : "Cognive: the control plane for AI agents.\n\n"
                            "Start with `cognive up`: it brings its own PostgreSQL and needs no configuration.");
  app.set_version_flag("--version", COGNIVE_VERSION);
  app.require_subcommand(1);
  app.set_help_all_flag("--help-all", "Help of every subcommand");
  if (as_alembic) {
    commands::add_migrate_verbs(app, chosen);
  } else {
    commands::add_up(app, chosen);
    commands::add_serve(app, chosen);
    commands::add_worker(app, chosen);
    commands::add_tasks(app, chosen);
    commands::add_budgets(app, chosen);
    commands::add_audit(app, chosen);
    commands::add_rollups(app, chosen);
    commands::add_migrate(app, chosen);
    commands::add_replication(app, chosen);
    commands::add_users(app, chosen);
    commands::add_keys(app, chosen);
    commands::add_master_key(app, chosen);
    commands::add_prices(app, chosen);
    commands::add_import(app, chosen);
    commands::add_storage(app, chosen);
    commands::add_backup(app, chosen);
    commands::add_costs(app, chosen);
    commands::add_openapi(app, chosen);
    commands::add_healthcheck(app, chosen);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    constexpr int wrong_usage = 2;
    return app.exit(error) == 0 ? 0 : wrong_usage;  // 0: --help and --version
  }
  try {
    return chosen();
  } catch (const Unavailable& error) {
    std::fprintf(stderr, "cognive: the database is not available: %s\n", error.what());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cognive: %s\n", error.what());
  }
  return 1;
}
