// The writer: the one place of a process from which events go into the database. Requests of all threads that arrive
// while a transaction runs share the next one (group commit).
//
// Most events are plain: their run goes on, and all about them is known before they get here. These are copied, or
// inserted when they are few, and only a repeat, which the table's key refuses, makes that fail. Whatever is not plain,
// or was refused, goes the general way, which finds out about each event on its own (general.hpp).
#pragma once

#include <memory>

#include "audit/audit.hpp"
#include "events/appraisal.hpp"
#include "events/covering.hpp"
#include "events/submission.hpp"
#include "observe/metrics.hpp"
#include "pg/cluster.hpp"
#include "runs/known_runs.hpp"

namespace cognive::events {

struct WriterOptions {
  std::size_t rows_per_commit_max = 5'000;        // beyond it only latency grows
  std::size_t rows_to_insert_max = 150;           // by one INSERT, which is one round trip less than COPY
  std::size_t queue_bytes_max = 64UL << 20;       // of what waits for a commit
  std::size_t rows_to_overlap = 500;              // that wait, to copy while others commit, which is mostly the disk
  std::size_t transactions_max = 4;               // of plain events at a time
  std::chrono::milliseconds plan_age_max{5'000};  // then runs and prices are asked for again
  std::chrono::milliseconds commit_timeout{10'000};
  bool tells_feed = false;          // new events are published
  keyring::DerivedKey content_key;  // of all hashes of what events say
  audit::Trail trail;               // of runs that are ended
};

// Lives on a thread of its own; what says so may be called from any.
class Writer {
 public:
  // `executor`: of its thread, with `database` on it.
  Writer(Executor executor, pg::Cluster& database, const prices::CurrentCatalogue& catalogue, runs::KnownRuns& known,
         Budgeting budgeting, Metrics& metrics, WriterOptions options);
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer();

  // For so many bytes that wait. Code::unavailable when there is none. From any thread.
  Result<Room> take_room(std::size_t bytes) const;

  // Sees to it that the submission is settled, on its own thread. From any thread.
  void push(std::shared_ptr<Submission> submission);

  // Finishes what is queued until the deadline, then takes no more.
  Async<> stop(Deadline deadline);

  [[nodiscard]] const WriterOptions& options() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace cognive::events
