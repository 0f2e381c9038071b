// The embedded adapter of the port: tasks are rows of a table, taken with SKIP LOCKED.
#pragma once

#include <memory>

#include "pg/cluster.hpp"
#include "tasks/tasks.hpp"

namespace cognive::tasks {

class EmbeddedQueue final : public Queue {
 public:
  // `database` must outlive it.
  explicit EmbeddedQueue(pg::Cluster& database);
  ~EmbeddedQueue() override;

  Async<std::int64_t> enqueue(pg::Transaction& transaction, std::vector<NewTask> tasks) override;
  Async<std::int64_t> enqueue(std::vector<NewTask> tasks, Deadline deadline) override;
  Async<std::vector<Task>> take(std::string queue, std::int64_t count, std::string worker,
                                std::chrono::milliseconds lease, Deadline deadline) override;
  Async<std::vector<Uuid>> extend(std::vector<Task> tasks, std::chrono::milliseconds lease, Deadline deadline) override;
  // Those that come while one is being written share the next commit.
  Async<bool> finish(Task task, Deadline deadline) override;
  Async<Fate> fail(Task task, std::string error, std::optional<std::chrono::milliseconds> wait,
                   Deadline deadline) override;
  Async<> give_back(std::vector<Task> tasks, Deadline deadline) override;
  Async<std::vector<Buried>> bury(Deadline deadline) override;
  Async<std::map<std::string, std::int64_t>> waiting(Deadline deadline) override;

 private:
  struct Done;
  struct Ends;
  struct Writing;

  Async<pg::Rows> write(const pg::Query& query, pg::Params params, Deadline deadline);
  Async<> finish_some();

  pg::Cluster& database_;
  std::shared_ptr<Ends> ends_;  // of tasks, that are to be written
};

}  // namespace cognive::tasks
