// `cognive migrate`: Alembic's verbs.
#include "commands/migrate.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "commands/command.hpp"
#include "commands/local.hpp"
#include "commands/table.hpp"
#include "json/writer.hpp"

namespace cognive::commands {
namespace {

Result<Settings> settings_in_force() {
  const auto variables = tool_variables("");
  if (!variables) return std::unexpected(variables.error());
  return load_settings(*variables);
}

// Runs a task against the primary; what the database refuses is told.
using DatabaseTask = std::function<Async<Result<void>>(Executor, std::string url, const schema::History&)>;

int with_database(const MigrateFlags& flags, const DatabaseTask& task) {
  const auto settings = settings_in_force();
  if (!settings) return explain(settings.error());
  const auto history = history_in_force(flags);
  if (!history) return explain(history.error());
  Result<void> done;
  const auto body = [&]() -> Async<> {
    const auto executor = co_await boost::asio::this_coro::executor;
    auto url = co_await primary_url(*settings);
    done = co_await task(executor, std::move(url), *history);
  };
  try {
    run_to_end(body());
  } catch (const pg::SqlError& error) {
    return explain({Code::conflict, fmt::format("the database refused: {} [{}]", error.what(), error.state()), {}});
  }
  return done ? 0 : explain(done.error());
}

using MigratorTask = std::function<Async<Result<void>>(schema::Migrator&)>;

int with_migrator(const MigrateFlags& flags, const MigratorTask& task) {
  return with_database(
      flags, [&](Executor executor, std::string url, const schema::History& history) -> Async<Result<void>> {
        const auto migrator = co_await schema::Migrator::open(
            std::move(executor), std::move(url), history, Deadline::in(std::chrono::seconds{flags.wait_seconds}),
            [] { std::fputs("waiting for another migration of this database to end\n", stderr); });
        co_return co_await task(*migrator);
      });
}

std::string downs(const schema::Revision& revision) {
  return revision.down.empty() ? "base" : fmt::format("{}", fmt::join(revision.down, ", "));
}

// `from:to`, or on the way up `to` from the very beginning: the statements instead of running them.
int print_sql(const MigrateFlags& flags, bool up) {
  const auto history = history_in_force(flags);
  if (!history) return explain(history.error());
  const auto colon = flags.target.find(':');
  if (!up && colon == std::string::npos)
    return explain({Code::unprocessable, "say from where to where, for instance head:9c41", {}});
  const auto from = colon == std::string::npos ? std::string() : flags.target.substr(0, colon);
  const auto to = colon == std::string::npos ? flags.target : flags.target.substr(colon + 1);
  schema::RevisionIds at;
  if (!from.empty() && from != "base") {
    const auto revision = history->resolve(from);
    if (!revision) return explain(revision.error());
    at = {(*revision)->id};
  }
  const auto way = up ? history->way_up(at, to.empty() ? "head" : to) : history->way_down(at, to);
  if (!way) return explain(way.error());
  if (up && at.empty()) std::fputs(schema::own_tables_sql().c_str(), stdout);
  for (const auto* revision : *way) {
    at = up ? schema::History::after_upgrade(at, *revision) : history->after_downgrade(at, *revision);
    const auto* verb = up ? "upgrade" : "downgrade";
    std::printf("\n-- %s %s: %s\n%s%s%s%s%s", verb, revision->id.c_str(), revision->message.c_str(),
                revision->transaction ? "BEGIN;\n" : "", (up ? revision->upgrade : revision->downgrade).c_str(),
                schema::versions_sql(at).c_str(), schema::log_row_sql(*revision, verb).c_str(),
                revision->transaction ? "COMMIT;\n" : "");
  }
  return 0;
}

int upgrade(MigrateFlags flags) {
  if (flags.sql) return print_sql(flags, true);
  if (flags.target.empty()) flags.target = "head";
  int applied = 0;
  const int status = with_migrator(flags, [&](schema::Migrator& migrator) {
    return migrator.upgrade(flags.target, [&applied](const schema::Revision& revision) {
      ++applied;
      std::printf("upgrade %s -> %s: %s\n", downs(revision).c_str(), revision.id.c_str(), revision.message.c_str());
    });
  });
  if (status == 0 && applied == 0) std::fputs("nothing to upgrade: the database is there already\n", stderr);
  return status;
}

int downgrade(const MigrateFlags& flags) {
  if (flags.sql) return print_sql(flags, false);
  int taken_back = 0;
  const int status = with_migrator(flags, [&](schema::Migrator& migrator) {
    return migrator.downgrade(flags.target, [&taken_back](const schema::Revision& revision) {
      ++taken_back;
      std::printf("downgrade %s -> %s: %s\n", revision.id.c_str(), downs(revision).c_str(), revision.message.c_str());
    });
  });
  if (status == 0 && taken_back == 0) std::fputs("nothing to downgrade: the database is there already\n", stderr);
  return status;
}

int stamp(const MigrateFlags& flags) {
  return with_migrator(flags, [&](schema::Migrator& migrator) -> Async<Result<void>> {
    const auto purge = flags.purge ? schema::Migrator::Purge::yes : schema::Migrator::Purge::no;
    const auto at = co_await migrator.stamp(flags.target, purge);
    if (!at) co_return std::unexpected(at.error());
    std::printf("stamped: the database is said to be at %s\n", listed(*at).c_str());
    co_return Result<void>{};
  });
}

void print_current_json(const schema::DatabaseState& state, const schema::History& history) {
  const auto heads = history.heads();
  json::Writer out;
  out.begin_object();
  out.key("current");
  out.begin_array();
  for (const auto& id : state.at) out.string(id);
  out.end_array();
  out.key("heads");
  out.begin_array();
  for (const auto& id : heads) out.string(id);
  out.end_array();
  out.key("at_head");
  out.boolean(state.at == heads);
  out.key("usable");
  out.boolean(schema::fit_of(state, history).usable());
  out.key("unfinished");
  out.begin_array();
  for (const auto& one : state.unfinished) out.string(one.text());
  out.end_array();
  out.end_object();
  std::printf("%s\n", out.text().c_str());
}

Async<Result<void>> print_current(pg::Connection& connection, const schema::History& history, bool as_json) {
  const auto state = co_await schema::read_state(connection, history, Deadline::in(look_timeout));
  const auto fit = schema::fit_of(state, history);
  if (as_json) {
    print_current_json(state, history);
  } else {
    if (state.at.empty()) std::printf("base (no revision has been applied)\n");
    const auto heads = history.heads();
    for (const auto& id : state.at) std::printf("%s%s\n", id.c_str(), heads.contains(id) ? " (head)" : "");
    if (fit.kind == schema::Fit::Kind::newer) std::printf("of a later version, with which this one can work as well\n");
  }
  if (!state.unknown.empty() && !fit.usable()) co_return fail(Code::conflict, fit.detail);
  if (!state.unfinished.empty() && !as_json) co_return fail(Code::conflict, state.unfinished.front().text());
  co_return Result<void>{};
}

void print_history_json(const schema::History& history) {
  const auto heads = history.heads();
  json::Writer out;
  out.begin_array();
  for (auto revision = history.all().rbegin(); revision != history.all().rend(); ++revision) {
    out.begin_object();
    out.field("revision", revision->id);
    out.key("down");
    out.begin_array();
    for (const auto& id : revision->down) out.string(id);
    out.end_array();
    out.field("message", revision->message);
    out.field("file", revision->file);
    out.key("transaction");
    out.boolean(revision->transaction);
    out.key("compatible_from");
    if (revision->compatible_from) {
      out.string(*revision->compatible_from);
    } else {
      out.null();
    }
    out.key("head");
    out.boolean(heads.contains(revision->id));
    out.end_object();
  }
  out.end_array();
  std::printf("%s\n", out.text().c_str());
}

Result<void> print_history(const MigrateFlags& flags) {
  const auto history = history_in_force(flags);
  if (!history) return std::unexpected(history.error());
  if (flags.json) {
    print_history_json(*history);
    return {};
  }
  const auto heads = history->heads();
  Table table({{"revision"}, {"after"}, {"message"}});
  for (auto revision = history->all().rbegin(); revision != history->all().rend(); ++revision) {
    table.add({revision->id + (heads.contains(revision->id) ? " (head)" : ""), downs(*revision), revision->message});
  }
  std::fputs(table.text().c_str(), stdout);
  return {};
}

Result<void> print_heads(const MigrateFlags& flags) {
  const auto history = history_in_force(flags);
  if (!history) return std::unexpected(history.error());
  for (const auto& id : history->heads()) std::printf("%s (head)\n", id.c_str());
  return {};
}

// Where the history parts: revisions that several others follow.
Result<void> print_branches(const MigrateFlags& flags) {
  const auto history = history_in_force(flags);
  if (!history) return std::unexpected(history.error());
  for (const auto& revision : history->all()) {
    const auto children = history->children(revision.id);
    if (children.size() < 2) continue;
    std::printf("%s (branchpoint)\n", revision.id.c_str());
    for (const auto* child : children) std::printf("  -> %s: %s\n", child->id.c_str(), child->message.c_str());
  }
  return {};
}

Result<void> show(const MigrateFlags& flags) {
  const auto history = history_in_force(flags);
  if (!history) return std::unexpected(history.error());
  const auto revision = history->resolve(flags.target);
  if (!revision) return std::unexpected(revision.error());
  std::fputs(schema::revision_text(**revision).c_str(), stdout);
  return {};
}

int no_database(const MigrateFlags& flags, Result<void> (*task)(const MigrateFlags&)) {
  const auto done = task(flags);
  return done ? 0 : explain(done.error());
}

CLI::App* add_verb(CLI::App& parent, const char* name, const char* description,
                   const std::shared_ptr<MigrateFlags>& flags, Action& chosen,
                   std::function<int(const MigrateFlags&)> action) {
  auto* verb = parent.add_subcommand(name, description);
  verb->add_option(
      "--directory", flags->directory,
      "Where the revisions are as files; else ./migrations if there is such a directory, else those of this "
      "binary");
  verb->callback([flags, &chosen, action = std::move(action)] { chosen = [flags, action] { return action(*flags); }; });
  return verb;
}

}  // namespace

Result<schema::History> history_in_force(const MigrateFlags& flags) {
  auto directory = flags.directory;
  if (directory.empty() && std::filesystem::exists(std::filesystem::path(schema::usual_directory) / schema::chain_file))
    directory = schema::usual_directory;
  if (directory.empty()) return schema::History::embedded();
  auto history = schema::History::in_directory(directory);
  const auto same = [](const schema::Revision& a, const schema::Revision& b) { return a.hash == b.hash; };
  if (history && !std::ranges::equal(history->all(), schema::History::embedded().all(), same))
    std::fprintf(stderr, "using the revisions of %s, which are not those of this binary\n", directory.c_str());
  return history;
}

std::string listed(const schema::RevisionIds& ids) {
  return ids.empty() ? "base" : fmt::format("{}", fmt::join(ids, ", "));
}

int with_connection(const MigrateFlags& flags, const StateTask& task) {
  return with_database(
      flags, [&](Executor executor, std::string url, const schema::History& history) -> Async<Result<void>> {
        const auto connection = co_await pg::Connection::open(std::move(executor), std::move(url),
                                                              std::chrono::milliseconds{0}, Deadline::in(look_timeout));
        co_return co_await task(*connection, history);
      });
}

void add_migrate_verbs(CLI::App& parent, Action& chosen) {
  // Whoever follows it through a pipe sees each step as it begins.
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const auto flags = std::make_shared<MigrateFlags>();
  auto* up = add_verb(parent, "upgrade", "Apply revisions", flags, chosen, upgrade);
  up->add_option("target", flags->target, "head (when absent), heads, +N, a revision, or with --sql from:to");
  up->add_flag("--sql", flags->sql, "Print the statements instead of running them");
  auto* down = add_verb(parent, "downgrade", "Take revisions back", flags, chosen, downgrade);
  // `-1` is a target here, not an option.
  down->add_option("target", flags->target, "-N, base or a revision, or with --sql from:to");
  down->add_flag("--sql", flags->sql, "Print the statements instead of running them");
  down->allow_extras()->prefix_command();
  down->callback([flags, down, &chosen] {
    if (flags->target.empty() && !down->remaining().empty()) flags->target = down->remaining().front();
    if (flags->target.empty()) throw CLI::RequiredError("target");
    chosen = [flags] { return downgrade(*flags); };
  });
  auto* current =
      add_verb(parent, "current", "Show the revision of the database", flags, chosen, [](const MigrateFlags& f) {
        return with_connection(f, [&f](pg::Connection& connection, const schema::History& history) {
          return print_current(connection, history, f.json);
        });
      });
  current->add_flag("--json", flags->json, "Print JSON");
  auto* history = add_verb(parent, "history", "List the revisions", flags, chosen,
                           [](const MigrateFlags& f) { return no_database(f, print_history); });
  history->add_flag("--json", flags->json, "Print JSON");
  add_verb(parent, "heads", "List the revisions that none follows", flags, chosen,
           [](const MigrateFlags& f) { return no_database(f, print_heads); });
  add_verb(parent, "branches", "List the revisions that several follow", flags, chosen,
           [](const MigrateFlags& f) { return no_database(f, print_branches); });
  add_verb(parent, "show", "Print one revision", flags, chosen,
           [](const MigrateFlags& f) { return no_database(f, show); })
      ->add_option("revision", flags->target, "head, an id, its beginning, or its random end")
      ->required();
  auto* make = add_verb(parent, "revision", "Write a new revision, empty or from what the model says", flags, chosen,
                        write_revision);
  make->add_option("-m,--message", flags->message, "What it does, in one line")->required();
  make->add_flag("--autogenerate", flags->autogenerate, "Compare the database with the model and write what differs");
  auto* join = add_verb(parent, "merge", "Write a revision that joins several heads", flags, chosen, merge_revisions);
  join->add_option("revisions", flags->revisions, "Which; all heads when absent");
  join->add_option("-m,--message", flags->message, "What it does, in one line");
  auto* mark = add_verb(parent, "stamp", "Say that the database is at a revision, without running anything", flags,
                        chosen, stamp);
  mark->add_option("revision", flags->target, "head, heads, base or a revision")->required();
  mark->add_flag("--purge", flags->purge, "Also when the database is at a revision that nobody here knows");
  add_verb(parent, "check", "Fail when the database is not as the model says", flags, chosen, check_model)
      ->add_flag("--json", flags->json, "Print JSON");
  for (auto* verb : {up, down, mark}) {
    verb->add_option("--wait", flags->wait_seconds, "How long to wait for another migration to end, in seconds")
        ->check(CLI::Range(1, 86'400))
        ->capture_default_str();
  }
  add_verb(parent, "rehash", "Write migrations.sum anew, after a revision that nobody has applied yet was edited",
           flags, chosen, rehash_revisions);
  parent.require_subcommand(1);
}

void add_migrate(CLI::App& root, Action& chosen) {
  add_migrate_verbs(*root.add_subcommand("migrate", "Move the database (DATABASE_URL) along its revisions"), chosen);
}

}  // namespace cognive::commands
