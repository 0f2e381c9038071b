// Answers to POSTs with an Idempotency-Key, kept for a day: a repeat gets the answer of the first, and changes nothing
// again. The key is claimed before the request is answered, noted in the transaction in which the request changes
// something, and gets its answer after that; so whenever a process is lost, the repeat does what was not done, or is
// told that it was.
// https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
#pragma once

#include "http/router.hpp"
#include "keyring/root_key.hpp"
#include "pg/cluster.hpp"

namespace cognive::idempotency {

// Of one thread.
class KeptAnswers final : public http::Repeats {
 public:
  // `claim`: how long a request may take to be answered; what was claimed for longer has lost its process.
  KeptAnswers(pg::Cluster& database, keyring::RootKey root, std::chrono::milliseconds claim);

  Async<Result<std::variant<http::Response, std::unique_ptr<First>>>> look(const Call& call, std::string key,
                                                                           const http::Request& request) override;

 private:
  class Claim;

  pg::Cluster& database_;
  keyring::DerivedKey key_;  // answers may have secrets in them
  std::chrono::milliseconds claim_;
};

// Forgets what is older than a day. For a task.
Async<> forget_old(pg::Cluster& database, Deadline deadline);

}  // namespace cognive::idempotency
