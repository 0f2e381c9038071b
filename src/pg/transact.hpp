// A named transaction that is run again when it loses to a concurrent one.
#pragma once

#include <random>

#include "pg/cluster.hpp"

namespace cognive::pg {

inline constexpr int transaction_attempts_max = 5;

// What a call wants committed together with what it changes.
class Together {
 public:
  Together() = default;
  Together(const Together&) = delete;
  Together& operator=(const Together&) = delete;
  virtual ~Together() = default;
  // In each transaction of the call, at its end. What it throws rolls all of it back.
  virtual Async<> join(Transaction& transaction) = 0;
};

namespace detail {

// Logs the repetition and waits: at random, so that two transactions that met do not meet again.
Async<> before_retry(const char* name, int attempt, const std::string& reason);

}  // namespace detail

// Runs `body`, an Async<Result<T>>(Transaction&), in a transaction on the primary. A value commits, an error rolls
// back. `body` may run several times (serialization failures, deadlocks) and must have no other effects; it must
// outlive the call. `name` is for logs. The call is told where the commit stands. Throws Unavailable when
// the outcome is not known, and whatever the body throws.
template <typename Body>
auto transact(Cluster& database, const char* name, const Call& call, const Body& body)
    -> decltype(body(std::declval<Transaction&>())) {
  for (int attempt = 1;; ++attempt) {
    std::string reason;
    try {
      auto transaction = co_await database.begin(call.deadline);
      auto result = co_await body(transaction);
      if (result && call.together != nullptr) co_await call.together->join(transaction);
      if (result) call.note(co_await transaction.commit());
      co_return result;
    } catch (const Retryable& lost) {
      if (attempt == transaction_attempts_max || call.deadline.passed()) throw;
      reason = lost.what();
    }
    co_await detail::before_retry(name, attempt, reason);
  }
}

}  // namespace cognive::pg
