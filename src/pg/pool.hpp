// The connections of one I/O thread to one server: a few shared ones, over which single statements are pipelined, and
// exclusive ones for transactions. Opens lazily; a lost connection is replaced on the next use, after failures with
// backoff and jitter.
#pragma once

#include <memory>
#include <string>

#include "observe/metrics.hpp"
#include "pg/connection.hpp"

namespace cognive::pg {

class Transaction;

struct PoolOptions {
  std::string url;
  std::size_t shared_connections = 2;
  std::size_t exclusive_connections_max = 8;
  std::size_t waiters_max = 1024;                       // callers queueing for an exclusive connection
  std::chrono::milliseconds statement_timeout{10'000};  // enforced by the server
};

class Pool {
 public:
  Pool(Executor executor, PoolOptions options, Metrics& metrics);
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool();

  // One statement, committed by itself. Throws SqlError or Unavailable.
  Async<Rows> execute(const Query& query, Params params, Deadline deadline);

  // The same for a statement that may take long (an aggregation, a list): on a connection of its own, so that nobody's
  // point read waits behind it. At most half of the exclusive connections serve such statements at a time.
  Async<Rows> execute_apart(const Query& query, Params params, Deadline deadline);

  // Waits for an exclusive connection and begins a transaction (READ COMMITTED). Throws Unavailable when none is free
  // in time.
  Async<Transaction> begin(Deadline deadline);

  // Ends what the pool runs in the background and closes the connections.
  Async<> close();

 private:
  friend class Transaction;
  struct State;
  std::shared_ptr<State> state_;
};

// A transaction on a connection of its own. Destroyed without commit(), it is rolled back in the background.
class Transaction {
 public:
  Transaction(Transaction&&) noexcept;
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();

  // Throws SqlError (the transaction can only be rolled back then) or Unavailable.
  Async<Rows> execute(const Query& query, Params params);

  // Returns when the commit is durable. Throws Unavailable when that is not known.
  Async<> commit();

  [[nodiscard]] Deadline deadline() const { return deadline_; }

 private:
  friend class Pool;
  Transaction(std::shared_ptr<Pool::State> pool, std::unique_ptr<Connection> connection, Deadline deadline);

  std::shared_ptr<Pool::State> pool_;
  std::unique_ptr<Connection> connection_;  // empty after commit
  Deadline deadline_;
};

}  // namespace cognive::pg
