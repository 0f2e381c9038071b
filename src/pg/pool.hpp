// The connections of one I/O thread to one server: a few shared ones, over which single statements are pipelined, and
// exclusive ones for transactions. Opens lazily; a lost connection is replaced on the next use, after failures with
// backoff and jitter.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "observe/metrics.hpp"
#include "pg/connection.hpp"
#include "runtime/call.hpp"

namespace cognive::pg {

class Transaction;

struct PoolOptions {
  std::string url;
  std::size_t shared_connections = 2;
  std::size_t exclusive_connections_max = 8;
  std::size_t waiters_max = 1024;                       // callers queueing for an exclusive connection
  std::chrono::milliseconds connect_timeout{3'000};     // for one attempt, within the caller's deadline
  std::chrono::milliseconds statement_timeout{10'000};  // enforced by the server
  // All statements look up rows by their keys, and one plan fits all parameters. Else PostgreSQL plans some of them
  // anew each time, for longer than it then runs them, and keeps plans of others that read all of a table because it
  // was small once.
  bool looks_up_only = false;

  // Looks at whom a new connection leads to and throws Unavailable when it must not be used. Empty: anybody will do.
  std::function<void(const ServerIdentity&)> admit;
};

class Pool {
 public:
  Pool(Executor executor, PoolOptions options, Metrics& metrics);
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool();

  // One statement, committed by itself. Throws SqlError or Unavailable. Run again when it lost to a concurrent
  // transaction.
  Async<Rows> execute(const Query& query, Params params, Deadline deadline);

  // The same for a statement that may take long (an aggregation, a list): on a connection of its own, so that nobody's
  // point read waits behind it. At most half of the exclusive connections serve such statements at a time.
  Async<Rows> execute_apart(const Query& query, Params params, Deadline deadline);

  // One statement that writes on behalf of a call, which is told where its commit stands. On a connection of its own:
  // its commit waits for the disk, perhaps for a standby, and nobody's read shall wait with it.
  Async<Rows> write(const Query& query, Params params, const Call& call);

  // A read that returns nothing unless the server has replayed `not_before`: it is asked in the same round trip, before
  // the statement sees its data. `apart` as in execute_apart.
  enum class Lane { shared, apart };
  Async<std::optional<Rows>> execute_not_before(const Query& query, Params params, Lane lane, Position not_before,
                                                Deadline deadline);

  // Waits for an exclusive connection and begins a transaction (READ COMMITTED). Throws Unavailable when none is free
  // in time.
  Async<Transaction> begin(Deadline deadline);
  // The same without a round trip of its own: the transaction begins with what it does first.
  Async<Transaction> begin_lazily(Deadline deadline);

  // Gives up every connection at once, those in use or being opened too, and everybody who waits for one: their callers
  // get Unavailable with this reason. The next caller opens new ones.
  void drop(const std::string& reason);

  // Statements and transactions under way.
  [[nodiscard]] std::size_t load() const;

  // Ends what the pool runs in the background and closes the connections. Whoever wants one later gets Unavailable.
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

  // Throws SqlError (the transaction can only be rolled back then), Retryable when all of it may be run again, or
  // Unavailable.
  Async<Rows> execute(const Query& query, Params params);

  // Rows in bulk: `sql` is a COPY … FROM STDIN and `data` the rows in its format. How many they were.
  Async<std::int64_t> copy_in(std::string sql, std::string_view data);

  // What commit() does first, after everything else: for what all transactions lock, so that it is held for a moment
  // only.
  void before_commit(std::function<Async<>(Transaction&)> step);

  // Makes commit() vouch for what the transaction has only read. What it read may be committed on this server alone,
  // by somebody whose wait for a standby was broken off, and a transaction that wrote nothing waits for nobody.
  Async<> vouch_for_reads();

  // Returns when the commit is durable, on the standbys too when the server is set up so: where the log stands then.
  // Throws Unavailable when that is not known.
  Async<Position> commit();
  // Runs statements first, in the same round trip. Throws what they throw; then nothing is committed. The rows of the
  // last of them, unless something had been executed before.
  Async<Committed> commit_with(std::vector<Statement> statements);

  [[nodiscard]] Deadline deadline() const { return deadline_; }

 private:
  friend class Pool;
  Transaction(std::shared_ptr<Pool::State> pool, std::unique_ptr<Connection> connection, Deadline deadline);

  std::shared_ptr<Pool::State> pool_;
  std::unique_ptr<Connection> connection_;  // empty after commit
  bool begun_ = false;
  std::vector<std::function<Async<>(Transaction&)>> last_steps_;
  Deadline deadline_;
};

}  // namespace cognive::pg
