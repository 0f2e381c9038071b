// `cognive tasks`: background work and its dead letters, straight in the database.
#include "tasks/inspection.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/text.hpp"
#include "commands/command.hpp"
#include "commands/local.hpp"
#include "commands/table.hpp"

namespace cognive::commands {
namespace {

constexpr std::chrono::seconds timeout{60};
constexpr std::size_t error_length = 80;

struct Flags {
  std::string data;
  std::string state = "all";
  std::string queue;
  std::string name;
  std::int64_t limit = 50;
  std::vector<std::string> ids;
  bool all = false;
  bool json = false;
};

int with_tasks(const Flags& flags, const DatabaseTask& task) {
  const auto variables = tool_variables(flags.data);
  if (!variables) return explain(variables.error());
  const auto settings = load_settings(*variables);
  if (!settings) return explain(settings.error());
  return with_database(*settings, timeout, task);
}

std::optional<std::string> given(const std::string& text) {
  return text.empty() ? std::nullopt : std::optional(text);
}

std::string to_second(Timestamp time) {
  return time.text().substr(0, 19) + "Z";
}

// What matters about the time of a task in its state.
std::string when(const tasks::ListedTask& task) {
  switch (task.state) {
    case tasks::TaskState::waiting:
      return "due " + to_second(task.due_at);
    case tasks::TaskState::running:
      return "since " + to_second(task.claimed_at.value_or(task.due_at));
    case tasks::TaskState::dead:
      return "died " + to_second(task.died_at.value_or(task.due_at));
  }
  return {};
}

Async<int> list(pg::Cluster& database, const Call& call, const Flags& flags) {
  tasks::TaskFilter filter{.queue = given(flags.queue), .name = given(flags.name), .limit = flags.limit};
  if (tasks::TaskState state{}; json::enum_parse(flags.state, state)) filter.state = state;
  const auto found = co_await tasks::list(database, std::move(filter), call.deadline);
  if (flags.json) {
    std::printf("%s\n", json::encode(found).c_str());
    co_return 0;
  }
  Table table({{"id"}, {"state"}, {"queue"}, {"name"}, {"attempts", Table::Align::right}, {"when"}, {"last error"}});
  for (const auto& task : found.items) {
    table.add({task.id.text(), std::string(json::enum_text(task.state)), task.queue, task.name,
               fmt::format("{} of {}", task.attempts, task.attempts_max), when(task),
               shortened(task.last_error.value_or(""), error_length)});
  }
  std::fputs(table.text().c_str(), stdout);
  if (const auto rest = found.total - std::ssize(found.items); rest > 0)
    std::fprintf(stderr, "%s more; see them with --limit, or choose with --state, --queue and --name\n",
                 grouped(rest).c_str());
  co_return 0;
}

Result<std::vector<Uuid>> ids_of(const std::vector<std::string>& texts) {
  std::vector<Uuid> out;
  for (const auto& text : texts) {
    const auto id = Uuid::parse(text);
    if (!id) return fail(Code::unprocessable, text + " is no task's id; see `cognive tasks list`");
    out.push_back(*id);
  }
  return out;
}

Async<int> show(pg::Cluster& database, const Call& call, const Flags& flags) {
  const auto ids = ids_of(flags.ids);
  if (!ids) co_return explain(ids.error());
  const auto task = co_await tasks::find(database, ids->front(), call.deadline);
  if (!task) co_return explain({Code::not_found, "there is no such task: it is done, was discarded, or never was", {}});
  if (flags.json) {
    std::printf("%s\n", json::encode(*task).c_str());
    co_return 0;
  }
  Table table({{"field"}, {"value"}});
  const auto add_time = [&](const char* field, const std::optional<Timestamp>& time) {
    if (time) table.add({field, time->text()});
  };
  table.add({"id", task->id.text()});
  table.add({"state", std::string(json::enum_text(task->state))});
  table.add({"queue", task->queue});
  table.add({"name", task->name});
  table.add({"payload", task->payload.text});
  if (task->key) table.add({"key", *task->key});
  table.add({"attempts", fmt::format("{} of {}", task->attempts, task->attempts_max)});
  table.add({"time limit", fmt::format("{} ms", task->time_limit_ms)});
  add_time("created", task->created_at);
  add_time("due", task->due_at);
  add_time("expires", task->expires_at);
  if (task->worker) table.add({"worker", *task->worker});
  add_time("claimed", task->claimed_at);
  add_time("claimed until", task->claimed_until);
  add_time("died", task->died_at);
  if (task->last_error) table.add({"last error", *task->last_error});
  std::fputs(table.text().c_str(), stdout);
  co_return 0;
}

// Why one that was named by its id was passed over.
Async<std::string> reason_kept(pg::Cluster& database, Uuid id, Deadline deadline) {
  const auto task = co_await tasks::find(database, id, deadline);
  if (!task) co_return "there is no such task: it is done, was discarded, or never was";
  if (task->state != tasks::TaskState::dead)
    co_return fmt::format("it is no dead letter, but {}", json::enum_text(task->state));
  co_return "another task with its name and key waits or runs, and does its work; discard this one";
}

using Change = Async<std::vector<Uuid>> (*)(pg::Cluster&, tasks::Selection, Deadline);

// Retry or discard: of the tasks named, or of all dead letters.
Async<int> change(pg::Cluster& database, const Call& call, const Flags& flags, Change what, const char* done) {
  if (flags.all == !flags.ids.empty())
    co_return explain({Code::unprocessable, "name tasks by their ids, or choose all dead letters with --all", {}});
  if (!flags.ids.empty() && !flags.name.empty())
    co_return explain({Code::unprocessable, "--name goes with --all; ids name their tasks by themselves", {}});
  const auto ids = ids_of(flags.ids);
  if (!ids) co_return explain(ids.error());
  tasks::Selection selection{.ids = *ids, .name = given(flags.name)};
  const auto changed = co_await what(database, std::move(selection), call.deadline);
  int status = 0;
  for (const auto& id : *ids) {
    if (std::ranges::find(changed, id) != changed.end()) continue;
    const auto reason = co_await reason_kept(database, id, call.deadline);
    status = explain({Code::conflict, id.text() + ": " + reason, {}});
  }
  std::printf("%s %s\n", grouped(std::ssize(changed)).c_str(), done);
  co_return status;
}

Async<int> schedule(pg::Cluster& database, const Call& call, const Flags& flags) {
  const auto found = co_await tasks::list_schedules(database, call.deadline);
  if (flags.json) {
    std::printf("%s\n", json::encode(found).c_str());
    co_return 0;
  }
  Table table({{"name"}, {"task"}, {"every", Table::Align::right}, {"last slot"}, {"next due"}, {"now"}});
  for (const auto& one : found.items) {
    std::string now(one.state ? json::enum_text(*one.state) : "");
    if (one.failed) now += now.empty() ? "a dead letter" : ", a dead letter";
    table.add({one.name, one.task, fmt::format("{} s", one.interval_s), to_second(one.last_slot),
               to_second(one.next_due_at), now});
  }
  std::fputs(table.text().c_str(), stdout);
  if (found.leader) {
    std::printf("leader: %s\n", found.leader->c_str());
  } else {
    std::fprintf(stderr, "no process leads: start `cognive serve` or `cognive worker` (or this role may not see it)\n");
  }
  co_return 0;
}

}  // namespace

void add_tasks(CLI::App& root, Action& chosen) {
  auto* tasks = root.add_subcommand("tasks", "Background work: what waits, runs and has failed; retry it, discard it");
  const auto flags = std::make_shared<Flags>();
  tasks->add_option("--data", flags->data, "Data directory of a `cognive up` on this machine");
  tasks->require_subcommand(1);
  tasks->fallthrough();  // --data may stand behind the verb, too
  const auto on_call = [&chosen, flags](CLI::App* command,
                                        Async<int> (*verb)(pg::Cluster&, const Call&, const Flags&)) {
    command->callback([flags, verb, &chosen] {
      chosen = [flags, verb] {
        return with_tasks(
            *flags, [flags, verb](pg::Cluster& database, const Call& call) { return verb(database, call, *flags); });
      };
    });
  };
  auto* list_command = tasks->add_subcommand("list", "List tasks: running, waiting, dead letters");
  list_command->add_option("--state", flags->state, "waiting, running, dead or all")
      ->check(CLI::IsMember({"waiting", "running", "dead", "all"}));
  list_command->add_option("--queue", flags->queue, "Only tasks of this queue");
  list_command->add_option("--name", flags->name, "Only tasks of this name");
  list_command->add_option("--limit", flags->limit, "At most so many")->check(CLI::Range(1, 10'000));
  list_command->add_flag("--json", flags->json, "As JSON");
  on_call(list_command, list);
  auto* show_command = tasks->add_subcommand("show", "Show one task");
  show_command->add_option("id", flags->ids, "Its id")->required()->expected(1);
  show_command->add_flag("--json", flags->json, "As JSON");
  on_call(show_command, show);
  const auto add_selection = [&flags](CLI::App* command) {
    command->add_option("id", flags->ids, "Ids of dead letters");
    command->add_flag("--all", flags->all, "All dead letters");
    command->add_option("--name", flags->name, "With --all: only those of this name");
  };
  auto* retry_command = tasks->add_subcommand("retry", "Let dead letters be tried again, with all their attempts");
  add_selection(retry_command);
  on_call(retry_command, [](pg::Cluster& database, const Call& call, const Flags& given_flags) {
    return change(database, call, given_flags, tasks::retry, "to be tried again");
  });
  auto* discard_command = tasks->add_subcommand("discard", "Delete dead letters");
  add_selection(discard_command);
  on_call(discard_command, [](pg::Cluster& database, const Call& call, const Flags& given_flags) {
    return change(database, call, given_flags, tasks::discard, "discarded");
  });
  auto* schedule_command = tasks->add_subcommand("schedule", "What runs periodically, and who leads");
  schedule_command->add_flag("--json", flags->json, "As JSON");
  on_call(schedule_command, schedule);
}

}  // namespace cognive::commands
