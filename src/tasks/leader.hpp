// One leader among the processes of an installation: whoever holds an advisory lock on the primary, in a session of its
// own. The lock ends with the session, so a leader that is killed is followed at once, and one that hangs or is cut off
// within seconds, when the server ends its idle session. For moments there may be two (a frozen process does not know
// yet that it was replaced; an old primary may still answer somebody): what a leader does must bear that.
#pragma once

#include <memory>
#include <string>

#include "observe/metrics.hpp"
#include "pg/monitor.hpp"
#include "runtime/async.hpp"

namespace cognive::tasks {

class Leader {
 public:
  // `monitor` and `metrics` must outlive it. `name` is how sessions of the database call this process.
  Leader(Executor executor, pg::Monitor& monitor, std::string name, Metrics& metrics);
  Leader(const Leader&) = delete;
  Leader& operator=(const Leader&) = delete;
  ~Leader();

  // Stands for election from now on, again after each loss.
  void start();
  // Gives up the lock.
  Async<> stop(Deadline deadline);

  [[nodiscard]] bool is_leader() const;
  // Counts how often this process has been elected: tells one time from another.
  [[nodiscard]] std::int64_t term() const;

  // Until this process is the leader, or the deadline.
  Async<bool> wait(Deadline deadline);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// How the session of the leader begins its application_name, for whoever looks for it.
inline constexpr std::string_view leader_session = "cognive leader ";

}  // namespace cognive::tasks
