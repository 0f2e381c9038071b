// States and results of tasks, where clients of Celery look for them: a key in Redis, and a message to who waits for
// it.
#pragma once

#include <optional>
#include <string>

#include "base/time.hpp"
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
  // `client`: null when there is no Redis; then nobody can ask for results. Must outlive it.
  explicit Results(redis::Client* client);

  // `result`: JSON. Tries again until the deadline while Redis is away; false when it was in vain.
  Async<bool> succeed(std::string id, std::string result, Deadline deadline);
  Async<bool> fail(std::string id, Failure failure, Deadline deadline);
  // It will be tried again.
  Async<bool> retry(std::string id, Failure failure, Deadline deadline);
  // Expired or revoked before it was begun: why.
  Async<bool> revoke(std::string id, std::string reason, Deadline deadline);

  // Nothing: there is none. Throws Unavailable while Redis is away.
  Async<std::optional<StoredResult>> find(std::string id, Deadline deadline);

 private:
  Async<bool> store(std::string id, std::string_view state, std::string result, std::string traceback,
                    Deadline deadline);

  redis::Client* client_;
  redis::Script script_;
};

}  // namespace cognive::celery
