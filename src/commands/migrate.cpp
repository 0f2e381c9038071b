// `cognive migrate`: Alembic's verbs.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "commands/command.hpp"
#include "commands/local.hpp"
#include "commands/table.hpp"
#include "schema/migrator.hpp"

namespace cognive::commands {
namespace {

constexpr std::chrono::seconds lock_timeout{60};

Result<Settings> settings_in_force() {
  const auto variables = tool_variables("");
  if (!variables) return std::unexpected(variables.error());
  return load_settings(*variables);
}

using MigratorTask = std::function<Async<Result<void>>(schema::Migrator&)>;

int with_migrator(const MigratorTask& task) {
  const auto settings = settings_in_force();
  if (!settings) return explain(settings.error());
  Result<void> done;
  const auto body = [&]() -> Async<> {
    const auto executor = co_await boost::asio::this_coro::executor;
    auto url = co_await primary_url(*settings);
    auto migrator = co_await schema::Migrator::open(executor, std::move(url), Deadline::in(lock_timeout));
    done = co_await task(*migrator);
  };
  run_to_end(body());
  return done ? 0 : explain(done.error());
}

int upgrade(const std::string& target) {
  int applied = 0;
  const int status = with_migrator([&](schema::Migrator& migrator) {
    return migrator.upgrade(target, [&applied](const schema::Revision& revision) {
      ++applied;
      std::printf("upgrade %s -> %s: %s\n", revision.down.value_or("base").c_str(), revision.id.c_str(),
                  revision.message.c_str());
    });
  });
  if (status == 0 && applied == 0) std::fputs("nothing to upgrade: the database is there already\n", stderr);
  return status;
}

int downgrade(const std::string& target) {
  return with_migrator([target](schema::Migrator& migrator) {
    return migrator.downgrade(target, [](const schema::Revision& revision) {
      std::printf("downgrade %s -> %s: %s\n", revision.id.c_str(), revision.down.value_or("base").c_str(),
                  revision.message.c_str());
    });
  });
}

int print_current() {
  const auto settings = settings_in_force();
  if (!settings) return explain(settings.error());
  Result<std::optional<std::string>> current;
  const auto body = [&]() -> Async<> {
    const auto executor = co_await boost::asio::this_coro::executor;
    auto url = co_await primary_url(*settings);
    current = co_await schema::current_revision(executor, std::move(url), Deadline::in(lock_timeout));
  };
  run_to_end(body());
  if (!current) return explain(current.error());
  if (*current) {
    std::printf("%s%s\n", (*current)->c_str(), **current == schema::revisions().back().id ? " (head)" : "");
  } else {
    std::printf("base (the database is empty)\n");
  }
  return 0;
}

int history() {
  Table table({{"revision"}, {"after"}, {"message"}});
  const auto& all = schema::revisions();
  for (auto revision = all.rbegin(); revision != all.rend(); ++revision) {
    table.add({revision->id + (revision == all.rbegin() ? " (head)" : ""), revision->down.value_or("base"),
               revision->message});
  }
  std::fputs(table.text().c_str(), stdout);
  return 0;
}

}  // namespace

void add_migrate_verbs(CLI::App& parent, Action& chosen) {
  const auto target = std::make_shared<std::string>();
  auto* up = parent.add_subcommand("upgrade", "Apply revisions: head, +N or a revision's id");
  up->add_option("target", *target, "head (when absent), +N or a revision's id");
  up->callback([target, &chosen] { chosen = [target] { return upgrade(target->empty() ? "head" : *target); }; });
  auto* down = parent.add_subcommand("downgrade", "Take revisions back: -N, base or a revision's id");
  // `-1` is a target here, not an option.
  down->add_option("target", *target, "-N, base or a revision's id");
  down->allow_extras()->prefix_command();
  down->callback([target, down, &chosen] {
    if (target->empty() && !down->remaining().empty()) *target = down->remaining().front();
    if (target->empty()) throw CLI::RequiredError("target");
    chosen = [target] { return downgrade(*target); };
  });
  auto* current = parent.add_subcommand("current", "Show the revision of the database");
  current->callback([&chosen] { chosen = print_current; });
  auto* list = parent.add_subcommand("history", "List the revisions of this binary");
  list->callback([&chosen] { chosen = history; });
  parent.require_subcommand(1);
}

void add_migrate(CLI::App& root, Action& chosen) {
  add_migrate_verbs(*root.add_subcommand("migrate", "Move the database (DATABASE_URL) along its revisions"), chosen);
}

}  // namespace cognive::commands
