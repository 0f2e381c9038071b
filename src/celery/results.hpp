// States and results of tasks, where clients of Celery look for them: a key in Redis, and a message to who waits for
// it.
#pragma once

#include "redis/client.hpp"
#include "redis/script.hpp"

namespace cognive::celery {

struct Failure {
  std::string type;  // as Python calls the exception
  std::string module;
  std::string message;
};

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

 private:
  Async<bool> store(std::string id, std::string_view state, std::string result, std::string traceback,
                    Deadline deadline);

  redis::Client* client_;
  redis::Script script_;
};

}  // namespace cognive::celery
