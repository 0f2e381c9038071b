// What the tests of this folder share: a real PostgreSQL, a relay that disturbs the way to it, a server that only
// refuses, and a clock that shows when the event loop stood still.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "embedded/cluster.hpp"
#include "pg/cluster.hpp"
#include "pg/pool.hpp"

namespace cognive::pg::test {

using std::chrono::milliseconds;

// Started before the first test, in a directory of its own under /tmp.
embedded::Cluster& server();

inline constexpr Query one{"one", "SELECT 1::bigint"};
inline constexpr Query backend{"backend", "SELECT pg_backend_pid()"};
inline constexpr Query terminate{"terminate", "SELECT pg_terminate_backend($1)"};
inline constexpr Query sleep_query{"sleep", "SELECT pg_sleep($1::double precision)::text"};
// How many backends run a statement whose text contains $1.
inline constexpr Query running{"running",
                               "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> "
                               "pg_backend_pid() AND strpos(query, $1) > 0"};

inline Deadline soon() {
  return Deadline::in(milliseconds{20'000});
}

// Role postgres, without a statement timeout.
Async<std::unique_ptr<Connection>> open_superuser(Executor executor);
// Role cognive over the socket.
Async<std::unique_ptr<Connection>> open_connection(Executor executor);

// Statements without parameters, as role postgres.
Async<> administrate(Executor executor, std::string sql);

PoolOptions pool_options(std::size_t shared = 1, std::size_t exclusive = 2);

// Runs a coroutine to its end on a thread that does nothing else.
void run_test(const std::function<Async<>(Executor)>& test);
// The same with a pool, which is closed in the end.
void with_pool(const std::function<Async<>(Pool&, Executor)>& test, PoolOptions options = pool_options());
// The same with a cluster of one host.
void with_cluster(const std::function<Async<>(Cluster&, Executor)>& test);

// A call of nobody with ten seconds.
Call some_call(Written* written = nullptr);

// Asks again and again until the answer is yes; false when it never was. `question` must outlive it.
Async<bool> eventually(const std::function<Async<bool>()>& question, milliseconds patience);

// How a statement ended, and when.
struct Outcome {
  enum class Kind { pending, answered, refused, unavailable, other };
  Kind kind = Kind::pending;
  int ends = 0;        // must become 1
  std::string reason;  // of an error
  std::string state;   // SQLSTATE of a refusal
  milliseconds took{0};
};
std::ostream& operator<<(std::ostream& out, Outcome::Kind kind);

Async<> note_outcome(Async<Rows> statement, Outcome& outcome);
Async<Outcome> outcome_of(Async<Rows> statement);
// Of opening a connection.
Async<Outcome> outcome_of_opening(Executor executor, std::string url, Deadline deadline);

// Coroutines beside the test; one that ends with an exception fails it.
class Tasks : public TaskGroup {
 public:
  explicit Tasks(const Executor& executor);
};

// Ticks every few milliseconds as long as the event loop lets it.
class Ticker {
 public:
  explicit Ticker(const Executor& executor);
  ~Ticker();
  [[nodiscard]] milliseconds longest_gap() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// No single step of the event loop may take longer. Generous: other programs have this machine too.
inline constexpr milliseconds gap_max{300};

// Passes bytes between clients and the server, for as long as the test lets it. Lives on the test's own event loop: a
// client that blocks it would never hear from the relay again.
class Relay {
 public:
  explicit Relay(const Executor& executor);
  ~Relay();

  [[nodiscard]] std::string url() const;  // of role cognive, with its password
  [[nodiscard]] std::uint16_t port() const;
  [[nodiscard]] std::size_t accepted() const;  // connections so far

  // Towards the clients only `bytes` at a time, and then a pause.
  void dribble(std::size_t bytes, milliseconds pause);
  // Connections stay, new ones are accepted, and nothing moves.
  void stall();
  void flow();
  // Closes all connections.
  void cut();
  // Each connection passes so many bytes more towards its client, and is closed then.
  void cut_after(std::size_t bytes);
  // Tells every client that no more answers will come, without taking what it sends.
  void end_answers();
  // The port refuses connections until listen().
  void close_port();
  void listen();

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// Answers every connection with one error, in PostgreSQL's protocol.
class RefusingServer {
 public:
  RefusingServer(const Executor& executor, std::string state, std::string message);
  ~RefusingServer();

  [[nodiscard]] std::string url() const;
  [[nodiscard]] std::size_t knocks() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace cognive::pg::test
