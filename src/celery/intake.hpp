// The way of tasks from RabbitMQ's queues into the table of tasks: each becomes a row once, however often it is
// delivered, and is acknowledged after the commit. From then on it is a task like any other: taken by whoever is free,
// with a lease, and a dead letter that operators can list when it fails for good.
#pragma once

#include <functional>
#include <memory>

#include "amqp/connection.hpp"
#include "celery/message.hpp"
#include "celery/results.hpp"
#include "pg/cluster.hpp"
#include "tasks/tasks.hpp"

namespace cognive::celery {

class Intake {
 public:
  // What the product does for others, by name.
  using Definitions = std::map<std::string, tasks::Definition, std::less<>>;

  // `database`, `results` and `metrics` must outlive it.
  Intake(Executor executor, pg::Cluster& database, Results& results, Definitions definitions, Metrics& metrics);
  Intake(const Intake&) = delete;
  Intake& operator=(const Intake&) = delete;
  ~Intake();

  // Is told of each task when it has a row. Before the start.
  void on_arrival(std::function<void(const TaskMessage&)> arrived);

  void start();
  // `from`: where it is acknowledged or refused, and must outlive this.
  void take(amqp::Delivery delivery, amqp::Connection& from);
  // What waits for the database stays with the broker.
  Async<> stop(Deadline deadline);

  // Forgets which tasks came, so long ago that they will not be delivered again.
  static Async<> prune(pg::Cluster& database, Deadline deadline);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace cognive::celery
