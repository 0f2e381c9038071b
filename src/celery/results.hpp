// States and results of tasks, where clients of Celery look for them: a key in Redis, and a message to who waits for
// it. What Redis does not take in time is kept in PostgreSQL until it does.
#pragma once

#include <optional>
#include <string>

#include "base/time.hpp"
#include "pg/cluster.hpp"
#include "redis/client.hpp"
#include "redis/script.hpp"

namespace cognive::celery {

struct Failure {
  std::string type;  // as Python calls the exception
  std::string module;
  std::string message;
};

// What a worker has stored, whoever that was.
struct StoredResult {
  std::string state;   // in Celery's words, or one of the task's own
  std::string result;  // JSON; of a failure the exception
  std::string traceback;
  std::optional<Timestamp> finished_at;
  bool is_readable = true;  // otherwise there is only the state: it is no JSON (Python writes NaN), or too long
};

// For people: "ValueError: too small".
std::string exception_text(std::string result);

class Results {
 public:
  // `client`: null when there is no Redis; then nobody can ask for results. Both must outlive it.
  Results(pg::Cluster& database, redis::Client* client);

  // `result`: JSON. Takes two seconds at most while Redis is away and PostgreSQL is not, and seven when both are; then
  // it is lost, and logged.
  Async<> succeed(std::string id, std::string result);
  Async<> fail(std::string id, Failure failure);
  // It will be tried again: only told while Redis is there.
  Async<> retry(std::string id, Failure failure);
  // Expired or revoked before it was begun: why.
  Async<> revoke(std::string id, std::string reason);

  // Gives Redis what was kept for it, and the failures of tasks that died with their worker, which nobody has told.
  // False: there may be more. Throws Unavailable.
  Async<bool> hand_over(Deadline deadline);
  // What no client will ask for any more.
  Async<> prune(Deadline deadline);

  // Nothing: there is none. Throws Unavailable while Redis is away.
  Async<std::optional<StoredResult>> find(std::string id, Deadline deadline);

 private:
  enum class Loss { matters, is_harmless };
  Async<> tell(std::string id, std::string text, Loss loss);
  // Why not; empty: it has it.
  Async<std::string> store(std::string id, std::string text, bool yields, Deadline deadline);
  // `yields`: to an end of the task that Redis knows by then.
  Async<> keep(std::string id, std::string text, bool yields, Deadline deadline);

  pg::Cluster& database_;
  redis::Client* client_;
  redis::Script script_;
  bool is_away_ = false;  // Redis, when it was last given something: one try is enough
};

}  // namespace cognive::celery
