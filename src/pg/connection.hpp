// One connection to PostgreSQL, in pipeline mode, driven by the event loop of its thread.
//
// Several coroutines may have statements in flight at once; each request ends with its own Sync, so that one caller's
// error never aborts another's statement. Lives on one thread; destroy it only when nobody awaits it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "pg/error.hpp"
#include "pg/params.hpp"
#include "pg/rows.hpp"
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

class Connection {
 public:
  // Opens a connection. Throws Unavailable with a sentence that says what failed (never the password).
  static Async<std::unique_ptr<Connection>> open(Executor executor, std::string url, Deadline deadline);

  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection();

  // One statement, committed by itself. `query` must be a constant. Throws SqlError, or Unavailable when the connection
  // is lost or the deadline passes; then the connection is broken, since an answer may still be on its way.
  Async<Rows> execute(const Query& query, Params params, Deadline deadline);

  // Several statements as one implicit transaction in one round trip: all of them take effect or none.
  Async<std::vector<Rows>> execute_together(std::vector<Statement> statements, Deadline deadline);

  // SQL text of one or more statements without parameters, outside the pipeline: for migrations and transaction
  // control. The connection must have nothing in flight. The text runs in one implicit transaction unless it says
  // otherwise.
  Async<> run_script(std::string sql, Deadline deadline);

  [[nodiscard]] bool broken() const;
  // Requests that wait for their answer.
  [[nodiscard]] std::size_t in_flight() const;

 private:
  struct State;
  explicit Connection(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace cognive::pg
