// Background work of one process: takes and runs tasks, stands for leader, and as the leader moves the outbox on and
// enqueues what is periodic.
#pragma once

#include "pg/cluster.hpp"
#include "tasks/embedded_queue.hpp"
#include "tasks/leader.hpp"
#include "tasks/outbox.hpp"
#include "tasks/schedule.hpp"
#include "tasks/worker.hpp"

namespace cognive::tasks {

class Runner {
 public:
  // All must outlive it. Lives on `executor`'s thread.
  Runner(Executor executor, pg::Cluster& database, pg::Monitor& monitor, WorkerOptions options, Metrics& metrics);
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;
  ~Runner();

  // To be filled before the start.
  [[nodiscard]] Handlers& handlers() { return handlers_; }
  [[nodiscard]] Scheduler& scheduler() { return scheduler_; }
  [[nodiscard]] outbox::Relay& relay() { return relay_; }
  [[nodiscard]] Queue& queue() { return queue_; }

  // What the leader does again and again: each time it says how long to wait before the next. Before the start.
  using Duty = std::function<Async<std::chrono::milliseconds>(std::int64_t term, Deadline deadline)>;
  void add_duty(const char* what, Duty duty) { own_duties_.emplace_back(what, std::move(duty)); }

  void start();
  // There are new tasks.
  void wake() { worker_.wake(); }
  // Finishes what is under way until shortly before the deadline, and hands the rest back.
  Async<> stop(Deadline deadline);

 private:
  Async<> relay_messages();
  Async<> run_schedule();
  Async<> run_duty(const char* what, const Duty& duty);

  EmbeddedQueue queue_;
  Handlers handlers_;
  Scheduler scheduler_;
  outbox::Relay relay_;
  Worker worker_;
  Leader leader_;
  std::vector<std::pair<const char*, Duty>> own_duties_;
  TaskGroup duties_;
};

}  // namespace cognive::tasks
