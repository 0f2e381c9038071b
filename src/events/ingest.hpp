// Ingest: the way of events into the database. Every answer leaves after the commit that made it true.
#pragma once

#include <memory>
#include <vector>

#include "events/writer.hpp"
#include "runtime/call.hpp"

namespace cognive::events {

// Lives on one I/O thread.
class Ingest {
 public:
  // `database` of the same thread; the others are shared by all.
  Ingest(Executor executor, pg::Cluster& database, const prices::CurrentCatalogue& catalogue, runs::KnownRuns& known,
         Budgeting budgeting, Writer& writer);
  Ingest(const Ingest&) = delete;
  Ingest& operator=(const Ingest&) = delete;
  ~Ingest();

  // Stores events and prices their calls, each exactly once however often it is repeated. `bytes` is what they count
  // against the bound of the queue, besides what we make of them. The fates are in the order of the events.
  // Code::unavailable when the queue is full; throws Unavailable when the outcome is not known, and while neither
  // prices nor budgets have been read.
  Async<Result<std::vector<Fate>>> submit(const Call& call, std::vector<Event> events, std::size_t bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cognive::events
