#include "pg/connection.hpp"

#include <fcntl.h>
#include <libpq-fe.h>

#include <boost/asio.hpp>
#include <deque>
#include <set>

namespace cognive::pg {

namespace asio = boost::asio;

namespace {

using Descriptor = asio::posix::stream_descriptor;

// What the caller's message says of an error of the connection itself: libpq's first line, which never holds a
// password.
std::string first_line(const char* message) {
  std::string text(message == nullptr ? "" : message);
  text.resize(std::min(text.find('\n'), text.size()));
  return text.empty() ? "the connection was closed" : text;
}

SqlError sql_error(const PGresult* result) {
  const auto field = [&](int code) {
    const char* value = PQresultErrorField(result, code);
    return std::string(value == nullptr ? "" : value);
  };
  // Not the detail: it quotes whole rows, and rows hold what callers sent.
  return {field(PG_DIAG_SQLSTATE), field(PG_DIAG_CONSTRAINT_NAME), field(PG_DIAG_MESSAGE_PRIMARY)};
}

// Errors that end the session rather than the statement: shutdown (57P01…57P03), connection exceptions (08…), too many
// connections (53300), and a primary that has become read-only.
bool ends_session(std::string_view state) {
  return state.starts_with("57P0") || state.starts_with("08") || state == "53300" ||
         state == sqlstate::read_only_transaction;
}

// Errors after which the same statement may well succeed: timeouts, deadlocks, serialization failures, a statement
// that another caller's request was to prepare and could not, no resources
// (53…).
bool worth_repeating(std::string_view state) {
  return state == sqlstate::query_canceled || state == sqlstate::serialization_failure ||
         state == sqlstate::deadlock_detected || state == sqlstate::lock_not_available ||
         state == sqlstate::unknown_statement || state.starts_with("53");
}

// One caller's statements between two Syncs.
struct Request {
  explicit Request(const Executor& executor) : answered(executor) {}

  Signal answered;
  std::vector<Rows> rows;
  std::exception_ptr error;
  bool done = false;
  const char* prepares = nullptr;  // the query's name, when the request only prepares it
};

}  // namespace

struct Connection::State : std::enable_shared_from_this<State> {
  State(Executor connection_executor, PGconn* connection)
      : executor(std::move(connection_executor)), connection(connection), descriptor(executor) {}

  ~State() { PQfinish(connection); }

  Executor executor;
  PGconn* connection;
  Descriptor descriptor;
  std::deque<std::shared_ptr<Request>> waiting;  // in the order of their Syncs
  std::set<const char*, std::less<>> prepared;   // by address of the query's name: queries are constants
  std::string failure;                           // not empty: broken
  bool reading = false;
  bool writing = false;

  // Asio watches a duplicate: libpq closes its own descriptor whenever it notices that the server has gone, the number
  // is reused by the next connection, and giving up the registration would then take away that connection's.
  void attach() {
    boost::system::error_code ignored;
    if (descriptor.is_open()) descriptor.close(ignored);
    const int duplicate = fcntl(PQsocket(connection), F_DUPFD_CLOEXEC, 0);
    if (duplicate < 0) throw Unavailable("no descriptor left for a database connection");
    descriptor.assign(duplicate);
  }

  void fail_all(const std::string& reason) {
    if (failure.empty()) failure = reason;
    const auto failed = std::exchange(waiting, {});
    for (const auto& request : failed) {
      if (!request->error) request->error = std::make_exception_ptr(Unavailable(reason));
      request->done = true;
      request->answered.notify_all();
    }
    if (descriptor.is_open()) descriptor.cancel();
  }

  // Always listening: results as they arrive, and on an idle connection the news that the server has gone.
  void read() {
    if (reading || !failure.empty()) return;
    reading = true;
    descriptor.async_wait(Descriptor::wait_read, [self = shared_from_this()](boost::system::error_code error) {
      self->reading = false;
      if (error || !self->failure.empty()) return;
      self->consume();
      self->read();
    });
  }

  // Both directions are watched while output is pending: with full buffers on both sides nobody would move otherwise.
  void flush() {
    if (!failure.empty()) return;
    const int pending = PQflush(connection);
    if (pending < 0) return fail_all(first_line(PQerrorMessage(connection)));
    if (pending == 0 || writing) return;
    writing = true;
    descriptor.async_wait(Descriptor::wait_write, [self = shared_from_this()](boost::system::error_code error) {
      self->writing = false;
      if (!error && self->failure.empty()) self->flush();
    });
  }

  void consume() {
    if (PQconsumeInput(connection) == 0) return fail_all(first_line(PQerrorMessage(connection)));
    int nulls = 0;
    while (!waiting.empty() && PQisBusy(connection) == 0) {
      PGresult* result = PQgetResult(connection);
      if (result == nullptr) {
        // One NULL ends each statement; two in a row without a result mean that libpq has nothing more to say.
        if (++nulls > 1) return;
        continue;
      }
      nulls = 0;
      take(result);
      if (!failure.empty()) return;
    }
    if (PQstatus(connection) == CONNECTION_BAD) fail_all(first_line(PQerrorMessage(connection)));
  }

  void take(PGresult* result) {
    Rows rows(result);
    auto& request = *waiting.front();
    switch (PQresultStatus(result)) {
      case PGRES_PIPELINE_SYNC: {
        // Only now is the request committed; an OK before it could still be rolled back.
        const auto finished = waiting.front();
        waiting.pop_front();
        finished->done = true;
        finished->answered.notify_all();
        return;
      }
      case PGRES_TUPLES_OK:
      case PGRES_COMMAND_OK:
        request.rows.push_back(std::move(rows));
        return;
      case PGRES_PIPELINE_ABORTED:
        return;
      default: {
        auto error = sql_error(result);
        if (ends_session(error.state())) return fail_all(error.what());
        if (request.prepares != nullptr) prepared.erase(request.prepares);
        if (request.error) return;
        request.error = worth_repeating(error.state()) ? std::make_exception_ptr(Unavailable(error.what()))
                                                       : std::make_exception_ptr(std::move(error));
      }
    }
  }

  void must(int sent) {
    if (sent == 1) return;
    fail_all(first_line(PQerrorMessage(connection)));
    throw Unavailable(failure);
  }

  std::shared_ptr<Request> enqueue() {
    auto request = std::make_shared<Request>(executor);
    waiting.push_back(request);
    return request;
  }
};

namespace {

Async<> wait_ready(Descriptor& descriptor, Descriptor::wait_type direction, Deadline deadline, const char* what) {
  // Shared with the timer's handler, which may already be on its way when the wait ends: then it must touch nothing.
  struct Race {
    bool over = false;
    bool expired = false;
  };
  const auto race = std::make_shared<Race>();
  asio::steady_timer timer(descriptor.get_executor(), deadline.at);
  timer.async_wait([&descriptor, race](boost::system::error_code error) {
    if (error || race->over) return;
    race->expired = true;
    descriptor.cancel();
  });
  boost::system::error_code error;
  try {
    co_await descriptor.async_wait(direction, asio::redirect_error(asio::use_awaitable, error));
  } catch (...) {
    race->over = true;
    throw;
  }
  race->over = true;
  timer.cancel();
  if (race->expired) throw Unavailable(std::string(what) + " took too long");
  if (error == asio::error::operation_aborted) throw boost::system::system_error(error);  // the task is being stopped
  if (error) throw Unavailable(error.message());
}

}  // namespace

Connection::Connection(std::shared_ptr<State> state) : state_(std::move(state)) {}

Connection::~Connection() {
  if (state_) state_->fail_all("the connection was closed");
}

Async<std::unique_ptr<Connection>> Connection::open(Executor executor, std::string url, Deadline deadline) {
  PGconn* raw = PQconnectStart(url.c_str());
  if (raw == nullptr) throw std::bad_alloc();
  auto state = std::make_shared<State>(std::move(executor), raw);
  if (PQstatus(raw) == CONNECTION_BAD) throw Unavailable(first_line(PQerrorMessage(raw)));

  auto polling = PGRES_POLLING_WRITING;
  while (polling != PGRES_POLLING_OK) {
    // The socket may be another one after each poll (several addresses, TLS fallback).
    state->attach();
    const auto direction = polling == PGRES_POLLING_READING ? Descriptor::wait_read : Descriptor::wait_write;
    co_await wait_ready(state->descriptor, direction, deadline, "connecting to PostgreSQL");
    polling = PQconnectPoll(raw);
    if (polling == PGRES_POLLING_FAILED) throw Unavailable(first_line(PQerrorMessage(raw)));
  }
  state->attach();
  PQsetnonblocking(raw, 1);
  PQsetNoticeProcessor(raw, [](void*, const char*) {}, nullptr);
  if (PQenterPipelineMode(raw) != 1) throw Unavailable(first_line(PQerrorMessage(raw)));
  state->read();
  co_return std::unique_ptr<Connection>(new Connection(std::move(state)));
}

Async<std::vector<Rows>> Connection::execute_together(std::vector<Statement> statements, Deadline deadline) {
  const auto state = state_;
  if (!state->failure.empty()) throw Unavailable(state->failure);
  std::vector<std::shared_ptr<Request>> preparations;
  for (const auto& [query, params] : statements) {
    if (state->prepared.contains(query->name)) continue;
    // With a Sync of its own: were it part of the request, an error there would take the preparation with it.
    const auto& oids = params.oids();
    state->must(PQsendPrepare(state->connection, query->name, query->sql, static_cast<int>(oids.size()), oids.data()));
    state->must(PQpipelineSync(state->connection));
    preparations.push_back(state->enqueue());
    preparations.back()->prepares = query->name;
    state->prepared.insert(query->name);
  }
  for (const auto& [query, params] : statements) {
    const auto raw = params.raw();
    state->must(PQsendQueryPrepared(state->connection, query->name, static_cast<int>(params.size()), raw.values.data(),
                                    raw.lengths.data(), raw.formats.data(), 1));
  }
  state->must(PQpipelineSync(state->connection));
  const auto request = state->enqueue();
  state->flush();

  while (!request->done) {
    const bool notified = co_await request->answered.wait(deadline);
    if (!notified && !request->done) {
      // What is still on its way cannot be told from the next answer, so the connection goes with the request.
      state->fail_all("the database did not answer in time");
    }
  }
  // Why it could not be prepared says more than that it was not.
  for (const auto& preparation : preparations) {
    if (preparation->error) std::rethrow_exception(preparation->error);
  }
  if (request->error) std::rethrow_exception(request->error);
  co_return std::move(request->rows);
}

Async<Rows> Connection::execute(const Query& query, Params params, Deadline deadline) {
  std::vector<Statement> statements;
  statements.push_back({&query, std::move(params)});
  auto rows = co_await execute_together(std::move(statements), deadline);
  co_return std::move(rows.front());
}

Async<> Connection::run_script(std::string sql, Deadline deadline) {
  const auto state = state_;
  if (!state->failure.empty()) throw Unavailable(state->failure);
  if (!state->waiting.empty()) throw std::logic_error("run_script needs an idle connection");
  auto* connection = state->connection;
  state->must(PQexitPipelineMode(connection));
  state->must(PQsendQuery(connection, sql.c_str()));
  std::exception_ptr error;
  try {
    int pending = PQflush(connection);
    while (pending > 0) {
      co_await wait_ready(state->descriptor, Descriptor::wait_write, deadline, "a statement");
      state->must(PQconsumeInput(connection));
      pending = PQflush(connection);
    }
    for (;;) {
      while (PQisBusy(connection) == 1) {
        co_await wait_ready(state->descriptor, Descriptor::wait_read, deadline, "a statement");
        state->must(PQconsumeInput(connection));
      }
      PGresult* result = PQgetResult(connection);
      if (result == nullptr) break;
      const Rows rows(result);
      const auto status = PQresultStatus(result);
      if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_EMPTY_QUERY && !error) {
        auto failure = sql_error(result);
        if (ends_session(failure.state()) || failure.state().empty()) {
          state->fail_all(first_line(failure.what()));
          throw Unavailable(state->failure);
        }
        error = std::make_exception_ptr(std::move(failure));
      }
    }
  } catch (const Unavailable& lost) {
    state->fail_all(lost.what());
    throw;
  }
  state->must(PQenterPipelineMode(connection));
  if (error) std::rethrow_exception(error);
}

bool Connection::broken() const {
  return !state_->failure.empty();
}

std::size_t Connection::in_flight() const {
  return state_->waiting.size();
}

}  // namespace cognive::pg
