// Ingest: the way of events into the database. Requests that arrive while a transaction runs share the next one (group
// commit), and every answer leaves after the commit that made it true.
#pragma once

#include <memory>
#include <vector>

#include "agents/policy.hpp"
#include "base/crypto.hpp"
#include "events/events.hpp"
#include "observe/metrics.hpp"
#include "pg/cluster.hpp"
#include "prices/catalogue.hpp"
#include "runtime/call.hpp"

namespace cognive::events {

// What became of one event.
struct Fate {
  enum class Kind { accepted, duplicate, rejected };
  Kind kind = Kind::accepted;
  Code code = Code::unprocessable;  // of a rejection, for callers that sent one event only
  FieldError error;
  std::optional<agents::Violation> violation;  // of an event that is stored all the same
  std::optional<std::string> terminate;        // its run has to stop, and why
};

struct IngestOptions {
  std::size_t rows_per_commit_max = 5'000;  // beyond it only latency grows
  std::size_t queue_bytes_max = 64 << 20;   // of request bodies that wait
  std::chrono::milliseconds commit_timeout{10'000};
  Digest content_key{};  // of all hashes of what events say; secret
};

// Lives on one I/O thread.
class Ingest {
 public:
  Ingest(Executor executor, pg::Cluster& database, const prices::CurrentCatalogue& catalogue, Metrics& metrics,
         IngestOptions options);
  Ingest(const Ingest&) = delete;
  Ingest& operator=(const Ingest&) = delete;
  ~Ingest();

  // Stores events and prices their calls, each exactly once however often it is repeated. `bytes` is what they count
  // against the bound of the queue. The fates are in the order of the events. Code::unavailable when the queue is full;
  // throws Unavailable when the outcome is not known.
  Async<Result<std::vector<Fate>>> submit(const Call& call, std::vector<Event> events, std::size_t bytes);

  // Finishes what is queued until the deadline, then takes no more.
  Async<> stop(Deadline deadline);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace cognive::events
