#include "celery/sent_tasks.hpp"
#include "http/router.hpp"
#include "identity/permissions.hpp"

namespace cognive::celery {
namespace {

namespace permission = identity::permission;

constexpr std::string_view tag = "Tasks";

struct TaskPath {
  Uuid id;
  static constexpr auto fields() { return json::fields(json::field("id", &TaskPath::id, "The task's id.")); }
};

Async<Result<http::Reply<SentTask>>> send(SentTasks& tasks, const Call& call, TaskSend body) {
  auto sent = co_await tasks.send(call, std::move(body));
  if (!sent) co_return std::unexpected(sent.error());
  co_return http::Reply<SentTask>{.body = std::move(sent->task), .status = sent->is_new ? 202 : 200};
}

}  // namespace

void add_routes(http::Router& router, SentTasks& tasks) {
  router.add(
      {.method = "POST",
       .path = "/api/v1/tasks",
       .id = "task_send",
       .tag = tag,
       .summary = "Send a task to a Celery worker",
       .description = "Kept until RabbitMQ has it, and sent at least once. With an id of the caller's own the request "
                      "can be repeated.",
       .permission = permission::tasks_write,
       .status = 202,
       .also = {200, 409}},
      [&tasks](const Call& call, http::NoInput, TaskSend body) { return send(tasks, call, std::move(body)); });
  router.add({.method = "GET",
              .path = "/api/v1/tasks",
              .id = "task_list",
              .tag = tag,
              .summary = "List the tasks that were sent, the latest first",
              .description = "Of the last month, with what their workers have told in the last day.",
              .permission = permission::tasks_read},
             [&tasks](const Call& call, SentTaskList query, http::NoInput) { return tasks.list(call, query); });
  router.add({.method = "GET",
              .path = "/api/v1/tasks/{id}",
              .id = "task_get",
              .tag = tag,
              .summary = "Get a task's state and result",
              .description =
                  "Of a task that was sent to a Celery worker: what became of it, with its traceback when it failed.",
              .permission = permission::tasks_read},
             [&tasks](const Call& call, TaskPath path, http::NoInput) { return tasks.get(call, path.id); });
  router.add({.method = "POST",
              .path = "/api/v1/tasks/{id}/revoke",
              .id = "task_revoke",
              .tag = tag,
              .summary = "Take a task back",
              .description = "One that waits is not sent. Of one that was sent all workers are told, and do not begin "
                             "it; one that has begun goes on.",
              .permission = permission::tasks_write},
             [&tasks](const Call& call, TaskPath path, http::NoInput) { return tasks.revoke(call, path.id); });
}

}  // namespace cognive::celery
