// `cognive migrate`: Alembic's verbs.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "commands/command.hpp"
#include "commands/local.hpp"
#include "commands/model.hpp"
#include "commands/table.hpp"
#include "schema/autogenerate.hpp"
#include "schema/migrator.hpp"
#include "schema/statements.hpp"

namespace cognive::commands {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::seconds lock_timeout{60};
constexpr const char* usual_directory = "migrations";
constexpr const char* chain_file = "migrations.sum";

struct Flags {
  std::string target;
  std::string directory;
  std::string message;
  std::vector<std::string> revisions;
  bool autogenerate = false;
  bool sql = false;
  bool verbose = false;
};

// Whoever writes revisions works with the files before they are in a binary: those of --directory, or of ./migrations.
Result<schema::History> history_in_force(const Flags& flags) {
  auto directory = flags.directory;
  if (directory.empty() && fs::exists(fs::path(usual_directory) / chain_file)) directory = usual_directory;
  if (directory.empty()) return schema::History::embedded();
  auto history = schema::History::in_directory(directory);
  if (history && history->heads() != schema::History::embedded().heads())
    std::fprintf(stderr, "using the revisions of %s, which are not those of this binary\n", directory.c_str());
  return history;
}

std::string directory_of(const Flags& flags) {
  return flags.directory.empty() ? usual_directory : flags.directory;
}

Result<Settings> settings_in_force() {
  const auto variables = tool_variables("");
  if (!variables) return std::unexpected(variables.error());
  return load_settings(*variables);
}

std::string listed(const schema::RevisionIds& ids) {
  return ids.empty() ? "base" : fmt::format("{}", fmt::join(ids, ", "));
}

using MigratorTask = std::function<Async<Result<void>>(schema::Migrator&, const schema::History&)>;

int with_migrator(const Flags& flags, const MigratorTask& task) {
  const auto settings = settings_in_force();
  if (!settings) return explain(settings.error());
  const auto history = history_in_force(flags);
  if (!history) return explain(history.error());
  Result<void> done;
  const auto body = [&]() -> Async<> {
    const auto executor = co_await boost::asio::this_coro::executor;
    auto url = co_await primary_url(*settings);
    auto migrator = co_await schema::Migrator::open(executor, std::move(url), *history, Deadline::in(lock_timeout));
    done = co_await task(*migrator, *history);
  };
  try {
    run_to_end(body());
  } catch (const pg::SqlError& error) {
    return explain({Code::conflict, fmt::format("the database refused: {} [{}]", error.what(), error.state()), {}});
  }
  return done ? 0 : explain(done.error());
}

// Reads only, and waits for no migration.
using StateTask = std::function<Async<Result<void>>(pg::Connection&, const schema::History&)>;

int with_connection(const Flags& flags, const StateTask& task) {
  const auto settings = settings_in_force();
  if (!settings) return explain(settings.error());
  const auto history = history_in_force(flags);
  if (!history) return explain(history.error());
  Result<void> done;
  const auto body = [&]() -> Async<> {
    const auto executor = co_await boost::asio::this_coro::executor;
    auto url = co_await primary_url(*settings);
    const auto connection = co_await pg::Connection::open(executor, std::move(url), std::chrono::milliseconds{0},
                                                          Deadline::in(lock_timeout));
    done = co_await task(*connection, *history);
  };
  try {
    run_to_end(body());
  } catch (const pg::SqlError& error) {
    return explain({Code::conflict, fmt::format("the database refused: {} [{}]", error.what(), error.state()), {}});
  }
  return done ? 0 : explain(done.error());
}

std::string downs(const schema::Revision& revision) {
  return revision.down.empty() ? "base" : fmt::format("{}", fmt::join(revision.down, ", "));
}

// `from:to`, or `to` from the very beginning: the statements instead of running them.
int print_sql(const Flags& flags, bool up) {
  const auto history = history_in_force(flags);
  if (!history) return explain(history.error());
  const auto colon = flags.target.find(':');
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
  if (at.empty() && up)
    std::printf(
        "CREATE TABLE alembic_version (version_num varchar(32) NOT NULL, CONSTRAINT "
        "alembic_version_pkc PRIMARY KEY (version_num));\n\n");
  for (const auto* revision : *way) {
    const auto after = up ? schema::History::after_upgrade(at, *revision) : history->after_downgrade(at, *revision);
    std::printf("-- %s %s: %s\n", up ? "upgrade" : "downgrade", revision->id.c_str(), revision->message.c_str());
    if (revision->transaction) std::printf("BEGIN;\n");
    std::fputs((up ? revision->upgrade : revision->downgrade).c_str(), stdout);
    std::printf("DELETE FROM alembic_version;\n");
    for (const auto& id : after) std::printf("INSERT INTO alembic_version VALUES ('%s');\n", id.c_str());
    std::printf(revision->transaction ? "COMMIT;\n\n" : "\n");
    at = after;
  }
  return 0;
}

int upgrade(Flags flags) {
  if (flags.sql) return print_sql(flags, true);
  if (flags.target.empty()) flags.target = "head";
  int applied = 0;
  const int status = with_migrator(flags, [&](schema::Migrator& migrator, const schema::History&) {
    return migrator.upgrade(flags.target, [&applied](const schema::Revision& revision) {
      ++applied;
      std::printf("upgrade %s -> %s: %s\n", downs(revision).c_str(), revision.id.c_str(), revision.message.c_str());
    });
  });
  if (status == 0 && applied == 0) std::fputs("nothing to upgrade: the database is there already\n", stderr);
  return status;
}

int downgrade(const Flags& flags) {
  if (flags.sql) return print_sql(flags, false);
  return with_migrator(flags, [&](schema::Migrator& migrator, const schema::History&) {
    return migrator.downgrade(flags.target, [](const schema::Revision& revision) {
      std::printf("downgrade %s -> %s: %s\n", revision.id.c_str(), downs(revision).c_str(), revision.message.c_str());
    });
  });
}

int stamp(const Flags& flags) {
  return with_migrator(
      flags, [&](schema::Migrator& migrator, const schema::History&) { return migrator.stamp(flags.target); });
}

Async<Result<void>> print_current(pg::Connection& connection, const schema::History& history) {
  const auto state = co_await schema::read_state(connection, history, Deadline::in(lock_timeout));
  if (state.at.empty()) std::printf("base (the database is empty)\n");
  const auto heads = history.heads();
  for (const auto& id : state.at) std::printf("%s%s\n", id.c_str(), heads.contains(id) ? " (head)" : "");
  if (!state.unknown.empty()) {
    const auto fit = schema::fit_of(state, history);
    const auto* why =
        fit.detail.empty() ? "it belongs to a later version, which says that it is compatible" : fit.detail.c_str();
    co_return fail(Code::conflict, why);
  }
  co_return Result<void>{};
}

Result<void> print_history(const Flags& flags) {
  const auto history = history_in_force(flags);
  if (!history) return std::unexpected(history.error());
  const auto heads = history->heads();
  Table table({{"revision"}, {"after"}, {"message"}});
  for (auto revision = history->all().rbegin(); revision != history->all().rend(); ++revision) {
    table.add({revision->id + (heads.contains(revision->id) ? " (head)" : ""), downs(*revision), revision->message});
  }
  std::fputs(table.text().c_str(), stdout);
  return {};
}

Result<void> print_heads(const Flags& flags) {
  const auto history = history_in_force(flags);
  if (!history) return std::unexpected(history.error());
  for (const auto& id : history->heads()) std::printf("%s (head)\n", id.c_str());
  return {};
}

// Where the history parts: revisions that several others follow.
Result<void> print_branches(const Flags& flags) {
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

Result<void> show(const Flags& flags) {
  const auto history = history_in_force(flags);
  if (!history) return std::unexpected(history.error());
  const auto revision = history->resolve(flags.target);
  if (!revision) return std::unexpected(revision.error());
  std::fputs(schema::revision_text(**revision).c_str(), stdout);
  return {};
}

int no_database(const Flags& flags, Result<void> (*task)(const Flags&)) {
  const auto done = task(flags);
  return done ? 0 : explain(done.error());
}

// Writing revisions.

Result<void> write_file(const fs::path& path, const std::string& text) {
  std::ofstream out(path);
  out << text;
  out.close();
  if (!out) return fail(Code::unavailable, path.string() + " cannot be written");
  return {};
}

Result<void> write_revisions(const std::string& directory, const schema::History& history,
                             const std::vector<schema::Revision>& revisions) {
  auto all = history.all();
  for (const auto& revision : revisions) {
    const auto path = fs::path(directory) / schema::revision_file_name(revision);
    const auto text = schema::revision_text(revision);
    auto read_back = schema::parse_revision(path.string(), text);
    if (!read_back) return std::unexpected(read_back.error());
    all.push_back(std::move(*read_back));
    if (auto written = write_file(path, text); !written) return written;
    std::printf("%s\n", path.c_str());
  }
  return write_file(fs::path(directory) / chain_file, schema::chain_text(all));
}

Async<Result<void>> write_difference(pg::Connection& connection, const schema::History& history, const Flags& flags) {
  const auto state = co_await schema::read_state(connection, history, Deadline::in(lock_timeout));
  if (state.at != history.heads()) {
    co_return fail(Code::conflict, fmt::format("the database is at {}, the revisions end at {}: upgrade it first",
                                               listed(state.at), listed(history.heads())));
  }
  const auto difference = co_await schema::compare_with(connection, product_model(), Deadline::in(lock_timeout));
  for (const auto& skip : difference.skips) std::fprintf(stderr, "skipped: %s\n", skip.c_str());
  if (!difference.refusals.empty()) {
    co_return fail(Code::conflict, fmt::format("{}", fmt::join(difference.refusals, "\n")));
  }
  if (difference.changes.empty()) {
    std::fputs("nothing to do: the database is as the model says\n", stderr);
    co_return Result<void>{};
  }
  const std::vector<std::string> down(state.at.begin(), state.at.end());
  co_return write_revisions(directory_of(flags), history, schema::revisions_for(difference, down, flags.message));
}

int revision(const Flags& flags) {
  if (flags.message.empty() || flags.message.find('\n') != std::string::npos)
    return explain({Code::unprocessable, "say in one line what the revision does: -m \"agents get a colour\"", {}});
  if (!fs::exists(fs::path(directory_of(flags)) / chain_file)) {
    return explain({Code::not_found,
                    fmt::format("there is no {}/{}: run this where the revisions are, or say --directory",
                                directory_of(flags), chain_file),
                    {}});
  }
  if (flags.autogenerate) {
    return with_connection(flags, [&](pg::Connection& connection, const schema::History& history) {
      return write_difference(connection, history, flags);
    });
  }
  const auto history = schema::History::in_directory(directory_of(flags));
  if (!history) return explain(history.error());
  schema::Revision made;
  made.id = schema::make_revision_id();
  const auto heads = history->heads();
  if (heads.size() > 1) return explain({Code::conflict, "there are several heads: merge them first", {}});
  made.down.assign(heads.begin(), heads.end());
  made.message = flags.message;
  const auto done = write_revisions(directory_of(flags), *history, {made});
  return done ? 0 : explain(done.error());
}

int merge(const Flags& flags) {
  const auto history = schema::History::in_directory(directory_of(flags));
  if (!history) return explain(history.error());
  schema::RevisionIds merged = history->heads();
  if (!flags.revisions.empty() && flags.revisions != std::vector<std::string>{"heads"}) {
    merged.clear();
    for (const auto& name : flags.revisions) {
      const auto found = history->resolve(name);
      if (!found) return explain(found.error());
      merged.insert((*found)->id);
    }
  }
  if (merged.size() < 2)
    return explain({Code::conflict, "there is nothing to merge: " + listed(merged) + " is alone", {}});
  schema::Revision made;
  made.id = schema::make_revision_id();
  made.down.assign(merged.begin(), merged.end());
  made.message = flags.message.empty() ? "merge " + listed(merged) : flags.message;
  const auto done = write_revisions(directory_of(flags), *history, {made});
  return done ? 0 : explain(done.error());
}

// After a revision that nobody has applied yet was edited by hand.
int rehash(const Flags& flags) {
  std::vector<schema::Revision> all;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory_of(flags), error)) {
    if (entry.path().extension() != ".sql") continue;
    std::ifstream in(entry.path());
    std::stringstream content;
    content << in.rdbuf();
    auto parsed = schema::parse_revision(entry.path().string(), content.str());
    if (!parsed) return explain(parsed.error());
    all.push_back(std::move(*parsed));
  }
  if (error) return explain({Code::not_found, directory_of(flags) + " cannot be read: " + error.message(), {}});
  const auto done = write_file(fs::path(directory_of(flags)) / chain_file, schema::chain_text(all));
  return done ? 0 : explain(done.error());
}

Async<Result<void>> check_model(pg::Connection& connection, const schema::History& history) {
  const auto state = co_await schema::read_state(connection, history, Deadline::in(lock_timeout));
  if (!state.mismatched.empty()) {
    co_return fail(Code::conflict, fmt::format("applied with other content than this binary has: {}",
                                               fmt::join(state.mismatched, ", ")));
  }
  if (state.at != history.heads()) {
    co_return fail(Code::conflict,
                   fmt::format("the database is at {}, not at {}", listed(state.at), listed(history.heads())));
  }
  const auto difference = co_await schema::compare_with(connection, product_model(), Deadline::in(lock_timeout));
  for (const auto& skip : difference.skips) std::fprintf(stderr, "skipped: %s\n", skip.c_str());
  if (difference.empty()) {
    std::printf("the database is as the model says\n");
    co_return Result<void>{};
  }
  std::string text = "the database is not as the model says:";
  for (const auto& change : difference.changes) text += "\n" + change.up;
  for (const auto& refusal : difference.refusals) text += "\n" + refusal;
  co_return fail(Code::conflict, std::move(text));
}

CLI::App* add_verb(CLI::App& parent, const char* name, const char* description, const std::shared_ptr<Flags>& flags,
                   Action& chosen, std::function<int(const Flags&)> action) {
  auto* verb = parent.add_subcommand(name, description);
  verb->add_option(
      "--directory", flags->directory,
      "Where the revisions are as files; else ./migrations if there is such a directory, else those of this "
      "binary");
  verb->callback([flags, &chosen, action = std::move(action)] { chosen = [flags, action] { return action(*flags); }; });
  return verb;
}

}  // namespace

void add_migrate_verbs(CLI::App& parent, Action& chosen) {
  const auto flags = std::make_shared<Flags>();
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
  add_verb(parent, "current", "Show the revision of the database", flags, chosen,
           [](const Flags& f) { return with_connection(f, print_current); });
  add_verb(parent, "history", "List the revisions", flags, chosen,
           [](const Flags& f) { return no_database(f, print_history); });
  add_verb(parent, "heads", "List the revisions that none follows", flags, chosen,
           [](const Flags& f) { return no_database(f, print_heads); });
  add_verb(parent, "branches", "List the revisions that several follow", flags, chosen,
           [](const Flags& f) { return no_database(f, print_branches); });
  add_verb(parent, "show", "Print one revision", flags, chosen, [](const Flags& f) { return no_database(f, show); })
      ->add_option("revision", flags->target, "head, an id, its beginning, or its random end")
      ->required();
  auto* make =
      add_verb(parent, "revision", "Write a new revision, empty or from what the model says", flags, chosen, revision);
  make->add_option("-m,--message", flags->message, "What it does, in one line")->required();
  make->add_flag("--autogenerate", flags->autogenerate, "Compare the database with the model and write what differs");
  auto* join = add_verb(parent, "merge", "Write a revision that joins several heads", flags, chosen, merge);
  join->add_option("revisions", flags->revisions, "Which; all heads when absent");
  join->add_option("-m,--message", flags->message, "What it does, in one line");
  add_verb(parent, "stamp", "Say that the database is at a revision, without running anything", flags, chosen, stamp)
      ->add_option("revision", flags->target, "head, heads, base or a revision")
      ->required();
  add_verb(parent, "check", "Fail when the database is not as the model says", flags, chosen,
           [](const Flags& f) { return with_connection(f, check_model); });
  add_verb(parent, "rehash", "Write migrations.sum anew, after a revision that nobody has applied yet was edited",
           flags, chosen, rehash);
  parent.require_subcommand(1);
}

void add_migrate(CLI::App& root, Action& chosen) {
  add_migrate_verbs(*root.add_subcommand("migrate", "Move the database (DATABASE_URL) along its revisions"), chosen);
}

}  // namespace cognive::commands
