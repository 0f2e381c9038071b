// One connection to PostgreSQL, in pipeline mode, driven by the event loop of its thread.
//
// Several coroutines may have statements in flight at once; each request ends with its own Sync, so that one caller's
// error never aborts another's statement. Lives on one thread; destroy it only when nobody awaits it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/position.hpp"

#include "pg/error.hpp"
#include "pg/params.hpp"
#include "pg/rows.hpp"
#include "pg/server_identity.hpp"
#include "runtime/async.hpp"

namespace cognive::pg {

// A named statement: prepared once per connection under its name, which metrics and logs use too. Names are unique.
struct Query {
  const char* name;
  const char* sql;
};

struct Statement {
  const Query* query;
  Params params;
};

// The answer to statements that changed something (of the last one), and how far the log had come after their commit.
struct Committed {
  Rows rows;
  Position position;
};

struct SessionOptions {
  // Enforced by the server; zero is none.
  SessionOptions(std::chrono::milliseconds timeout, bool looks_up = false)  // NOLINT(google-explicit-constructor)
      : statement_timeout(timeout), looks_up_only(looks_up) {}

  std::chrono::milliseconds statement_timeout;
  bool looks_up_only;  // see PoolOptions
};

class Connection {
 public:
  // Opens a session in UTC and finds out whom it leads to. Throws Unavailable with a sentence that says what failed
  // (never the password).
  static Async<std::unique_ptr<Connection>> open(Executor executor, std::string url, SessionOptions options,
                                                 Deadline deadline);

  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection();

  // One statement, committed by itself. `query` must be a constant. Throws SqlError, or Unavailable when the connection
  // is lost, the deadline passes, or the server says that a commit may not be on its standbys. A statement past its
  // deadline is cancelled and its answer dropped; when the server does not even react to that, the connection breaks.
  Async<Rows> execute(const Query& query, Params params, Deadline deadline);

  // The same, and where the log stands after the commit, in one round trip.
  Async<Committed> execute_and_locate(const Query& query, Params params, Deadline deadline);
  // The same for several statements, as one implicit transaction.
  Async<Committed> execute_together_and_locate(std::vector<Statement> statements, Deadline deadline);

  // Several statements as one implicit transaction in one round trip: all of them take effect or none.
  Async<std::vector<Rows>> execute_together(std::vector<Statement> statements, Deadline deadline);

  // `sql` is a COPY … FROM STDIN, perhaps behind commands without an answer (BEGIN), `data` its rows in the format that
  // it names. The connection must have nothing in
  // flight: COPY cannot be pipelined. Returns the number of rows.
  Async<std::int64_t> copy_in(std::string sql, std::string_view data, Deadline deadline);

  // SQL text of one or more statements without parameters, outside the pipeline: for migrations and transaction
  // control. The connection must have nothing in flight. The text runs in one implicit transaction unless it says
  // otherwise.
  Async<> run_script(std::string sql, Deadline deadline);

  // As it was when the connection was opened.
  [[nodiscard]] const ServerIdentity& identity() const;

  // Fails everything in flight with this reason; nothing works afterwards.
  void abandon(const std::string& reason);

  [[nodiscard]] bool broken() const;
  // Requests that wait for their answer.
  [[nodiscard]] std::size_t in_flight() const;

 private:
  struct State;
  struct Plain;
  explicit Connection(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace cognive::pg
