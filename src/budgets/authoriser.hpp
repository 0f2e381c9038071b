// The authoriser: the one place of a process at which reservations are granted. Those of all threads that arrive while
// a transaction runs are decided together in the next one, in the order in which they came: a hot budget costs one lock
// and one commit however many wait for it, and PostgreSQL stays the truth for any number of processes.
#pragma once

#include <memory>
#include <string>

#include "budgets/charge_sets.hpp"
#include "observe/metrics.hpp"
#include "pg/cluster.hpp"

namespace cognive::budgets {

// What a call may use.
struct Amounts {
  std::int64_t cost_nanos = 0;
  std::int64_t tokens = 0;
  bool is_unpriced = false;  // it costs at least what each budget assumes

  // In the unit of the metric.
  [[nodiscard]] std::int64_t of(Metric metric, std::int64_t assumed_cost) const;
};

struct Grant {
  Timestamp expires_at;
  std::optional<NanoUsd> remaining;  // the least that a budget of money has left; nothing when no such budget covers it
};

// The budget that a reservation did not fit into.
struct Refusal {
  Uuid budget_id;
  Metric metric = Metric::cost;
  std::int64_t limit = 0;
  std::int64_t spent = 0;
  std::int64_t reserved = 0;
  std::int64_t wanted = 0;
  std::optional<Timestamp> resets_at;  // nothing: never
};

// One that waits, shared by the request's thread and the authoriser's.
struct Waiting {
  // `of_thread`: the same address for all of one thread.
  Waiting(const Executor& executor, const void* of_thread) : home(executor), thread(of_thread), settled(executor) {}
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

  Executor home;  // of the request
  const void* thread;
  Uuid id;
  bool may_be_repeat = false;  // the caller has chosen the id
  Subject subject;
  agents::CallNames names;
  Amounts amounts;
  std::string model;  // for messages
  std::int64_t request_hash = 0;
  std::chrono::seconds lifetime{0};
  std::atomic<bool> abandoned = false;  // nobody waits any more

  // Of the request's thread.
  Signal settled;
  bool done = false;
  std::optional<Grant> grant;
  std::optional<Refusal> refusal;
  std::optional<Error> error;
  std::exception_ptr failure;
};

// Lives on a thread of its own; what says so may be called from any.
class Authoriser {
 public:
  // `executor`: of its thread, with `database` on it.
  Authoriser(Executor executor, pg::Cluster& database, CurrentCoverage& coverage, ChargeSets& charge_sets,
             Metrics& metrics);
  Authoriser(const Authoriser&) = delete;
  Authoriser& operator=(const Authoriser&) = delete;
  ~Authoriser();

  // Sees to it that it is settled, on its own thread. Code::unavailable when too many wait. From any thread.
  Result<void> push(std::shared_ptr<Waiting> waiting);

  // Finishes what waits until the deadline, then takes no more.
  Async<> stop(Deadline deadline);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace cognive::budgets
