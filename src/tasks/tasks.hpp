// Background work: tasks with a name and a JSON payload, the port through which they are handed over and taken, and the
// handlers that do them.
//
//   inline constexpr tasks::Definition compact{.name = "rollups.compact", .time_limit = std::chrono::minutes{2}};
//
//   co_await queue.enqueue(transaction, {tasks::NewTask::of(compact, R"({"day":"2026-11-24"})")});   // with its cause
//   handlers.add(compact, [&](const tasks::Task& task, Deadline deadline) { return rollups.compact(task, deadline); });
//
// A task is run at least once and must do no harm when it is run again: a worker may be lost after the work and before
// it could say so.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/time.hpp"
#include "base/uuid.hpp"
#include "pg/pool.hpp"
#include "runtime/async.hpp"

namespace cognive::tasks {

inline constexpr std::string_view default_queue = "default";

// What is known of all tasks of one name. Constants: both who enqueues and who handles use them.
struct Definition {
  std::string_view name;  // word of the product, verb: rollups.compact
  std::string_view queue = default_queue;
  std::int32_t attempts_max = 5;                   // ≥ 1; the last failure makes it a dead letter
  std::chrono::milliseconds time_limit{60'000};    // of one attempt; it is cancelled then, and has failed
  std::chrono::milliseconds backoff_first{1'000};  // the wait after the first failure is at most so long
  std::chrono::milliseconds backoff_max{300'000};  // that after the later ones doubles up to this
};

// A task to be handed over.
struct NewTask {
  std::string name;
  std::string queue{default_queue};
  std::string payload = "{}";      // JSON, without U+0000
  std::optional<std::string> key;  // nothing is enqueued while a task of this name and key waits or runs
  std::chrono::milliseconds delay{0};
  std::optional<std::chrono::milliseconds> lifetime;  // from now; a dead letter if it has not been begun by then
  std::int32_t attempts_max = 5;
  std::chrono::milliseconds time_limit{60'000};

  static NewTask of(const Definition& definition, std::string payload = "{}", std::optional<std::string> key = {});
};

// A task that a worker has taken; one attempt at it.
struct Task {
  Uuid id;
  std::string queue;
  std::string name;
  std::string payload;
  std::optional<std::string> key;
  std::int32_t attempts = 0;  // this one included
  std::int32_t attempts_max = 0;
  std::chrono::milliseconds time_limit{0};
  Timestamp due_at;
  std::optional<Timestamp> expires_at;
  Timestamp created_at;
  std::string worker;  // who has taken it
};

// What has become of an attempt that failed.
enum class Fate { retried, dead, lost };  // lost: somebody else has the task by now

// A task that died without anybody running it.
struct Buried {
  Uuid id;
  std::string name;
  std::string error;
};

// The port. Throws Unavailable when it could not be asked; times are told by its clock, not ours.
class Queue {
 public:
  Queue() = default;
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;
  virtual ~Queue() = default;

  // In the caller's transaction: the tasks exist if it commits. How many are new.
  virtual Async<std::int64_t> enqueue(pg::Transaction& transaction, std::vector<NewTask> tasks) = 0;
  virtual Async<std::int64_t> enqueue(std::vector<NewTask> tasks, Deadline deadline) = 0;

  // At most `count` tasks that are due, the longest due first, for `worker`, who has them for `lease` unless it is
  // extended. Counts as an attempt.
  virtual Async<std::vector<Task>> take(std::string queue, std::int64_t count, std::string worker,
                                        std::chrono::milliseconds lease, Deadline deadline) = 0;
  // For so long from now. The ids of those that are still the worker's.
  virtual Async<std::vector<Uuid>> extend(std::vector<Task> tasks, std::chrono::milliseconds lease,
                                          Deadline deadline) = 0;
  // Done. False when the task was somebody else's by then.
  virtual Async<bool> finish(Task task, Deadline deadline) = 0;
  // Tried again after `wait`, or a dead letter if that was the last attempt, it will have expired, or there is no wait.
  virtual Async<Fate> fail(Task task, std::string error, std::optional<std::chrono::milliseconds> wait,
                           Deadline deadline) = 0;
  // As if the attempts had not been begun. All of one worker.
  virtual Async<> give_back(std::vector<Task> tasks, Deadline deadline) = 0;

  // Makes dead letters of tasks that have expired, and of those whose worker was lost during the last attempt.
  virtual Async<std::vector<Buried>> bury(Deadline deadline) = 0;
  // How many tasks are due or will be, by queue.
  virtual Async<std::map<std::string, std::int64_t>> waiting(Deadline deadline) = 0;
};

// Thrown by a handler: the task will fail however often it is tried.
class Hopeless : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Does one task. Whatever it throws is a failure of the attempt; its text becomes the task's last error. Must end soon
// after its waits are cancelled.
using Handler = std::function<Async<>(const Task& task, Deadline deadline)>;

class Handlers {
 public:
  struct Entry {
    Definition definition;
    Handler handle;
  };

  // Throws std::logic_error when the name is taken.
  void add(const Definition& definition, Handler handle);

  [[nodiscard]] const Entry* find(std::string_view name) const;  // null: nobody
  [[nodiscard]] std::vector<std::string> names() const;
  // Where their tasks come from, and the default queue.
  [[nodiscard]] std::vector<std::string> queues() const;

 private:
  std::map<std::string, Entry, std::less<>> entries_;
};

// What the leader enqueues in each interval. A task that is not done when the next one would come stands for that one
// too, and intervals in which nobody was there are not made up for.
struct Schedule {
  std::string_view name;
  std::chrono::milliseconds interval;  // slots are its multiples since 1970
  Definition task;
  std::string payload = "{}";
  bool when_elected = false;  // also when there is a new leader: the installation may have been away
};

// How long to wait after an attempt has failed: full jitter, from nothing to the doubled first wait, at most `max`.
// `attempt` ≥ 1; `share` of the longest wait, from 0 to 1.
std::chrono::milliseconds backoff(const Definition& definition, std::int32_t attempt, double share);
// With a random share.
std::chrono::milliseconds backoff(const Definition& definition, std::int32_t attempt);

// Between half of and one and a half times the duration, so that processes do not come in step.
std::chrono::milliseconds jittered(std::chrono::milliseconds duration);

// What is kept of the text of a failure: bounded, secrets masked.
std::string kept_error(std::string_view text);

}  // namespace cognive::tasks
