// What operators see of background work, and do about its dead letters.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "json/bind.hpp"
#include "pg/cluster.hpp"

namespace cognive::tasks {

// Running: a worker has it, and is not lost.
enum class TaskState { waiting, running, dead };

constexpr auto enum_names(TaskState) {
  return std::array{json::name(TaskState::waiting, "waiting"), json::name(TaskState::running, "running"),
                    json::name(TaskState::dead, "dead")};
}

struct ListedTask {
  Uuid id;
  TaskState state = TaskState::waiting;
  std::string queue;
  std::string name;
  json::Object payload;
  std::optional<std::string> key;
  std::int64_t attempts = 0;
  std::int64_t attempts_max = 0;
  std::int64_t time_limit_ms = 0;
  Timestamp created_at;
  Timestamp due_at;
  std::optional<Timestamp> expires_at;
  std::optional<std::string> worker;
  std::optional<Timestamp> claimed_at;
  std::optional<Timestamp> claimed_until;
  std::optional<Timestamp> died_at;
  std::optional<std::string> last_error;

  static constexpr std::string_view schema_name = "Task";
  static constexpr auto fields() {
    return json::fields(
        json::field("id", &ListedTask::id, ""), json::field("state", &ListedTask::state, ""),
        json::field("queue", &ListedTask::queue, ""), json::field("name", &ListedTask::name, ""),
        json::field("payload", &ListedTask::payload, ""), json::field("key", &ListedTask::key, ""),
        json::field("attempts", &ListedTask::attempts, ""), json::field("attempts_max", &ListedTask::attempts_max, ""),
        json::field("time_limit_ms", &ListedTask::time_limit_ms, ""),
        json::field("created_at", &ListedTask::created_at, ""), json::field("due_at", &ListedTask::due_at, ""),
        json::field("expires_at", &ListedTask::expires_at, ""), json::field("worker", &ListedTask::worker, ""),
        json::field("claimed_at", &ListedTask::claimed_at, ""),
        json::field("claimed_until", &ListedTask::claimed_until, ""), json::field("died_at", &ListedTask::died_at, ""),
        json::field("last_error", &ListedTask::last_error, ""));
  }
};

struct TaskFilter {
  std::optional<TaskState> state;
  std::optional<std::string> queue;
  std::optional<std::string> name;
  std::int64_t limit = 50;
};

struct TaskList {
  std::vector<ListedTask> items;
  std::int64_t total = 0;  // that there are

  static constexpr std::string_view schema_name = "TaskList";
  static constexpr auto fields() {
    return json::fields(json::field("items", &TaskList::items, ""), json::field("total", &TaskList::total, ""));
  }
};

// Running ones first, then those that wait, the first due first, then dead letters, the latest first.
Async<TaskList> list(pg::Cluster& database, TaskFilter filter, Deadline deadline);
Async<std::optional<ListedTask>> find(pg::Cluster& database, Uuid id, Deadline deadline);

// Which dead letters are meant: those with these ids, or all, of one name or any.
struct Selection {
  std::vector<Uuid> ids;  // empty: all
  std::optional<std::string> name;
};

// Lets dead letters wait again, as if they had never been begun. Those that are done. A dead letter stays when another
// task of its name and key waits or runs, which does its work.
Async<std::vector<Uuid>> retry(pg::Cluster& database, Selection selection, Deadline deadline);
// Deletes dead letters. Those that are gone.
Async<std::vector<Uuid>> discard(pg::Cluster& database, Selection selection, Deadline deadline);

struct ListedSchedule {
  std::string name;
  std::string task;
  std::int64_t interval_s = 0;
  Timestamp last_slot;
  Timestamp next_due_at;
  std::optional<TaskState> state;  // of its task, when there is one
  bool failed = false;             // there is a dead letter of it

  static constexpr std::string_view schema_name = "TaskSchedule";
  static constexpr auto fields() {
    return json::fields(json::field("name", &ListedSchedule::name, ""), json::field("task", &ListedSchedule::task, ""),
                        json::field("interval_s", &ListedSchedule::interval_s, ""),
                        json::field("last_slot", &ListedSchedule::last_slot, ""),
                        json::field("next_due_at", &ListedSchedule::next_due_at, ""),
                        json::field("state", &ListedSchedule::state, ""),
                        json::field("failed", &ListedSchedule::failed, ""));
  }
};

struct ScheduleList {
  std::vector<ListedSchedule> items;
  std::optional<std::string> leader;  // host:process; nothing when there is none, or the role may not see it

  static constexpr std::string_view schema_name = "TaskScheduleList";
  static constexpr auto fields() {
    return json::fields(json::field("items", &ScheduleList::items, ""),
                        json::field("leader", &ScheduleList::leader, ""));
  }
};

Async<ScheduleList> list_schedules(pg::Cluster& database, Deadline deadline);

}  // namespace cognive::tasks
