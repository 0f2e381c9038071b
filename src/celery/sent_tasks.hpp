// Tasks for workers of other make, Python's Celery: asked for over the API, kept as a row until RabbitMQ has confirmed
// them, and asked after where their worker puts results.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "amqp/connection.hpp"
#include "audit/audit.hpp"
#include "celery/message.hpp"
#include "celery/results.hpp"
#include "observe/metrics.hpp"
#include "pg/cluster.hpp"
#include "runtime/call.hpp"

namespace cognive::http {
class Router;
}

namespace cognive::celery {

inline constexpr std::int64_t limit_s_max = 7 * 24 * 3'600;
inline constexpr std::size_t arguments_bytes_max = std::size_t{1} << 20U;
inline constexpr std::int64_t countdown_s_max = 366 * 24 * 3'600;

struct TaskSend {
  std::optional<Uuid> id;
  std::string name;
  std::string queue;
  json::Array args;
  json::Object kwargs;
  std::optional<std::int64_t> countdown_s;
  std::optional<Timestamp> eta;
  std::optional<Timestamp> expires_at;
  std::optional<std::int64_t> time_limit_s;
  std::optional<std::int64_t> soft_time_limit_s;
  bool ignore_result = false;

  void check(json::Faults& faults) const;

  static constexpr std::string_view schema_name = "TaskSend";
  static constexpr auto fields() {
    return json::fields(
        json::field("id", &TaskSend::id, "The caller's own, so that the request can be repeated; one is made without."),
        json::field("name", &TaskSend::name, "As its worker has registered it.",
                    {.min_length = 1, .max_length = name_length_max, .example = "\"reports.tasks.monthly\""}),
        json::field("queue", &TaskSend::queue, "The queue of RabbitMQ that its worker reads. It must be there.",
                    {.min_length = 1, .max_length = 255, .example = "\"reports\""}),
        json::field("args", &TaskSend::args, "Arguments by position.",
                    {.max_length = arguments_bytes_max, .optional = true, .example = "[2026, 11]"}),
        json::field("kwargs", &TaskSend::kwargs, "Arguments by name.",
                    {.max_length = arguments_bytes_max, .optional = true, .example = "{\"team\": \"payments\"}"}),
        json::field("countdown_s", &TaskSend::countdown_s, "Seconds from now before which it is not sent.",
                    {.min = 0, .max = countdown_s_max}),
        json::field("eta", &TaskSend::eta, "The same as a time."),
        json::field("expires_at", &TaskSend::expires_at, "It is not begun after that."),
        json::field("time_limit_s", &TaskSend::time_limit_s, "Seconds after which its worker kills it.",
                    {.min = 1, .max = limit_s_max}),
        json::field("soft_time_limit_s", &TaskSend::soft_time_limit_s, "Seconds after which its worker interrupts it.",
                    {.min = 1, .max = limit_s_max}),
        json::field("ignore_result", &TaskSend::ignore_result, "Whether nobody will ask for the result.",
                    {.optional = true}));
  }
};

enum class TaskState { waiting, undeliverable, sent, started, retrying, succeeded, failed, revoked };

constexpr auto enum_names(TaskState) {
  return std::array{json::name(TaskState::waiting, "waiting"),   json::name(TaskState::undeliverable, "undeliverable"),
                    json::name(TaskState::sent, "sent"),         json::name(TaskState::started, "started"),
                    json::name(TaskState::retrying, "retrying"), json::name(TaskState::succeeded, "succeeded"),
                    json::name(TaskState::failed, "failed"),     json::name(TaskState::revoked, "revoked")};
}

struct SentTask {
  Uuid id;
  std::string name;
  std::string queue;
  TaskState state = TaskState::waiting;
  std::optional<std::string> worker_state;
  std::optional<json::Any> result;
  std::optional<std::string> error;
  std::optional<std::string> traceback;
  Timestamp created_at;
  std::optional<Timestamp> due_at;
  std::optional<Timestamp> expires_at;
  std::optional<Timestamp> sent_at;
  std::optional<Timestamp> revoked_at;
  std::optional<Timestamp> finished_at;

  static constexpr std::string_view schema_name = "SentTask";
  static constexpr auto fields() {
    return json::fields(
        json::field("id", &SentTask::id, ""), json::field("name", &SentTask::name, ""),
        json::field("queue", &SentTask::queue, "Of RabbitMQ."),
        json::field("state", &SentTask::state,
                    "waiting: not sent yet, because it is not due or RabbitMQ has not taken it. undeliverable: given "
                    "up. sent: in its queue, or with a worker that has not told. The "
                    "others are what its worker has told."),
        json::field("worker_state", &SentTask::worker_state, "The state in its worker's own word."),
        json::field("result", &SentTask::result, "What it has returned, or its worker tells of its progress."),
        json::field("error", &SentTask::error, "Why it has failed, or has not been sent so far."),
        json::field("traceback", &SentTask::traceback, ""), json::field("created_at", &SentTask::created_at, ""),
        json::field("due_at", &SentTask::due_at, "Of one that waits: when it is sent, or tried again at the latest."),
        json::field("expires_at", &SentTask::expires_at, ""),
        json::field("sent_at", &SentTask::sent_at, "When RabbitMQ had it."),
        json::field("revoked_at", &SentTask::revoked_at,
                    "When somebody took it back. One that was sent is `revoked` when its worker says so."),
        json::field("finished_at", &SentTask::finished_at, "Of what will not change any more."));
  }
};

// What is known without its worker.
enum class SendingState { waiting, undeliverable, sent, revoked };

constexpr auto enum_names(SendingState) {
  return std::array{json::name(SendingState::waiting, "waiting"),
                    json::name(SendingState::undeliverable, "undeliverable"), json::name(SendingState::sent, "sent"),
                    json::name(SendingState::revoked, "revoked")};
}

struct SentTaskList {
  std::optional<std::string> queue;
  std::optional<std::string> name;
  std::optional<SendingState> state;
  std::int64_t limit = 50;
  std::optional<json::PagePosition> cursor;

  static constexpr auto fields() {
    return json::fields(json::field("queue", &SentTaskList::queue, "Only tasks for this queue."),
                        json::field("name", &SentTaskList::name, "Only tasks of this name."),
                        json::field("state", &SentTaskList::state, "Only tasks in this state."),
                        json::field("limit", &SentTaskList::limit, "Items per page.", json::page_limit_rules),
                        json::field("cursor", &SentTaskList::cursor, "next_cursor of the page before."));
  }
};

struct SentTasksOptions {
  bool has_rabbitmq = false;
  std::vector<std::string> own_queues;  // that our own workers take tasks from: there are only ours there
};

// What the API does.
class SentTasks {
 public:
  // All must outlive it. `publisher`: tells workers of what is revoked; null without a RabbitMQ. `redis`: null when
  // there is none; then nothing is known of a task that was sent.
  SentTasks(pg::Cluster& database, audit::Trail trail, amqp::Connection* publisher, redis::Client* redis,
            SentTasksOptions options);

  struct Sent {
    SentTask task;
    bool is_new = false;
  };

  // Sent when it is due, once a worker of ours and RabbitMQ are there. Code::conflict when the id has been used for
  // something else. Code::forbidden for callers who belong to one team, here and below.
  Async<Result<Sent>> send(const Call& call, TaskSend request);
  Async<Result<SentTask>> get(const Call& call, Uuid id);
  // Without what their workers have told.
  Async<Result<json::Page<SentTask>>> list(const Call& call, SentTaskList query);
  // One that waits is not sent; of one that was sent, all workers are told not to begin it. One that has ended stays as
  // it is.
  Async<Result<SentTask>> revoke(const Call& call, Uuid id);

 private:
  // Of a task that waits although it is due: why.
  void explain(SentTask& task) const;
  // Puts into one that was sent what its worker has told. Throws Unavailable while Redis is away.
  Async<> add_result(SentTask& task, Deadline deadline);

  pg::Cluster& database_;
  audit::Trail trail_;
  amqp::Connection* publisher_;
  Results results_;
  SentTasksOptions options_;
};

void add_routes(http::Router& router, SentTasks& tasks);

// Sends those that are due, in as many processes as one likes.
class Sender {
 public:
  // All must outlive it.
  Sender(Executor executor, pg::Cluster& database, amqp::Connection& publisher, Metrics& metrics);

  // Sends some; whether there may be more. Throws Unavailable while either of the two is away.
  Async<bool> pass();
  // Lets a pass end; there is none after that.
  Async<> stop(Deadline deadline);

 private:
  struct Attempt;
  // Outlives a pass that is stopped.
  static Async<> send(amqp::Connection& publisher, std::shared_ptr<Attempt> attempt, Deadline deadline);
  Async<> note(const std::vector<std::shared_ptr<Attempt>>& attempts);

  pg::Cluster& database_;
  amqp::Connection& publisher_;
  Metrics& metrics_;
  std::chrono::steady_clock::time_point expires_next_;
  Gauge waiting_;
  Signal ended_;
  bool is_passing_ = false;
  bool is_stopping_ = false;
};

// Forgets tasks that were sent, given up or revoked a month ago.
Async<> prune_sent(pg::Cluster& database, Deadline deadline);

}  // namespace cognive::celery
