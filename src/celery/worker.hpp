// A worker as Celery's clients and monitors see one: takes tasks from RabbitMQ's queues, does them, puts their results
// into Redis, tells of itself and of its tasks, and answers to remote control.
#pragma once

#include <functional>
#include <memory>

#include "celery/intake.hpp"

namespace cognive::celery {

// What one call of a task is given.
struct Invocation {
  std::string args;    // JSON: array
  std::string kwargs;  // JSON: object
};

// Thrown by functions: the task has failed for good.
class TaskFailed : public std::runtime_error {
 public:
  // `type`: the exception that a Python client will see, of its builtins.
  TaskFailed(std::string type, const std::string& message) : std::runtime_error(message), type_(std::move(type)) {}
  [[nodiscard]] const std::string& type() const { return type_; }

 private:
  std::string type_;
};

// The result as JSON. Ends by the deadline, its soft limit; Unavailable lets it be tried again.
using Function = std::function<Async<std::string>(const Invocation&, Deadline)>;

struct WorkerOptions {
  amqp::Url url;
  std::vector<std::string> queues;  // of RabbitMQ
  std::uint16_t prefetch = 200;     // of each
  std::int64_t concurrency = 0;     // for people
};

class Worker {
 public:
  // All must outlive it. `publisher`: for what it tells. `redis`: null when there is none.
  Worker(Executor executor, WorkerOptions options, pg::Cluster& database, amqp::Connection& publisher,
         redis::Client* redis, Metrics& metrics);
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker();

  // What does the rows, and is to be called when there are new ones.
  void add_handlers(tasks::Handlers& handlers);
  static tasks::Schedule schedule();
  void start(std::function<void()> wake);

  // First takes no more; to be called before what runs tasks is stopped.
  void stop_taking();
  // Says good-bye.
  Async<> stop(Deadline deadline);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// The definitions of all that may be called from outside, for whoever only takes tasks in.
Intake::Definitions definitions();

}  // namespace cognive::celery
