#include "pg/connection.hpp"

#include <fcntl.h>
#include <libpq-fe.h>

#include <boost/asio.hpp>
#include <deque>
#include <map>
#include <set>

#include "pg/cancel.hpp"
#include "pg/conninfo.hpp"
#include "pg/result_error.hpp"

namespace cognive::pg {

namespace asio = boost::asio;
namespace {

using Descriptor = asio::posix::stream_descriptor;

// Between the deadline of a statement and the end of its connection: long enough for a cancellation to arrive.
constexpr std::chrono::milliseconds cancel_patience{2'000};

constexpr Query session_query{
    "session",
    "SELECT set_config('statement_timeout', $1, false), set_config('TimeZone', 'UTC', false), "
    // Whoever is stopped in the middle of a transaction must not keep its locks.
    "set_config('idle_in_transaction_session_timeout', '30000', false), "
    "set_config('plan_cache_mode', CASE WHEN $2 THEN 'force_generic_plan' ELSE current_setting('plan_cache_mode') END, "
    "false), set_config('enable_seqscan', CASE WHEN $2 THEN 'off' ELSE current_setting('enable_seqscan') END, false), "
    // What has to be read in full costs so much then that it would be compiled.
    "set_config('jit', CASE WHEN $2 THEN 'off' ELSE current_setting('jit') END, false)"};
constexpr Query identity_query{"identity", "SELECT " COGNIVE_IDENTITY_COLUMNS};
// Not the flushed position: with synchronous_commit off it may be before the commit.
constexpr Query position_query{"position", "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"};

// One caller's statements between two Syncs.
struct Request {
  explicit Request(const Executor& executor) : answered(executor) {}

  Signal answered;
  std::vector<Rows> rows;
  std::exception_ptr error;
  bool done = false;
  bool awaited = false;                 // somebody waits for it now
  bool abandoned = false;               // somebody has waited for it, and does not any more
  bool cancelled = false;               // the server has been asked to end it
  bool exposed = false;                 // the cancellation of another request may hit it
  bool commits = false;                 // a write, whose caller is told that it is safe
  std::string doubt;                    // what the server warned of: the commit may not be where it should be
  const char* prepares = nullptr;       // the query's name, when the request only prepares it
  std::vector<const char*> executes{};  // the names of its queries, when it runs prepared ones
};

std::exception_ptr exception_for(SqlError error, const Request& request) {
  const auto state = error.state();
  // What cannot even be prepared has no plan that could be out of date.
  const bool outdated = request.prepares == nullptr ? outdated_plan(state) : state == sqlstate::duplicate_statement;
  const bool hit_in_place_of_another = state == sqlstate::query_canceled && request.exposed;
  if (lost_to_another(error) || outdated || hit_in_place_of_another)
    return std::make_exception_ptr(Retryable(error.what()));
  if (worth_repeating(state)) return std::make_exception_ptr(Unavailable(error.what()));
  return std::make_exception_ptr(std::move(error));
}

// Why a statement could not be prepared says more than that it was not.
void throw_first_error(const std::vector<std::shared_ptr<Request>>& preparations, const Request& request) {
  for (const auto& preparation : preparations) {
    if (preparation->error) std::rethrow_exception(preparation->error);
  }
  if (request.error) std::rethrow_exception(request.error);
}

}  // namespace

struct Connection::State : std::enable_shared_from_this<State> {
  State(Executor connection_executor, PGconn* connection)
      : executor(std::move(connection_executor)), connection(connection), descriptor(executor), watchdog(executor) {}

  ~State() { PQfinish(connection); }

  Executor executor;
  PGconn* connection;
  Descriptor descriptor;
  asio::steady_timer watchdog;  // runs while an abandoned statement is given time to end
  ServerIdentity identity;
  std::deque<std::shared_ptr<Request>> waiting;  // in the order of their Syncs
  // The requests that have prepared a query, or are about to, by address of the query's name: queries are constants, so
  // their number is bounded by the program.
  std::map<const char*, std::shared_ptr<Request>, std::less<>> prepared;
  std::set<const char*, std::less<>> outdated;  // prepared ones that have to be prepared anew
  std::vector<CancellationOver> cancellations;  // those that may still be on their way
  std::string failure;                          // not empty: broken
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
    watchdog.cancel();
    if (descriptor.is_open()) descriptor.cancel();
  }

  // The caller of `request` has gone. Whoever shares the connection keeps it, if the server ends what it is doing.
  void give_up_on(const std::shared_ptr<Request>& request) {
    request->abandoned = true;
    if (!failure.empty() || waiting.empty()) return;
    // Behind somebody else's statement there is nothing to cancel yet; its turn will come.
    if (!waiting.front()->awaited) cancel_first();
  }

  // Ends the statement that the server is running, or else the connection.
  void cancel_first() {
    const auto first = waiting.front();
    if (first->cancelled) return;
    first->cancelled = true;
    send_cancellation();
    watchdog.expires_after(cancel_patience);
    watchdog.async_wait([weak = weak_from_this(), first](boost::system::error_code error) {
      const auto self = weak.lock();
      if (error || !self || self->waiting.empty() || self->waiting.front() != first) return;
      self->fail_all("the database did not answer in time");
    });
  }

  // It may be late, and hit one of those that come next.
  void send_cancellation() {
    auto over = cancel_in_background(connection);
    if (!over) return;
    cancellations.push_back(std::move(over));
    for (const auto& request : waiting) request->exposed = true;
  }

  // Synchronous replication: when the wait for a standby is broken off, the commit stands on this server alone, and all
  // that tells of it is a warning (https://www.postgresql.org/docs/15/warm-standby.html#SYNCHRONOUS-REPLICATION).
  void notice(const PGresult* result) {
    const char* severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (severity == nullptr || state == nullptr || std::string_view(severity) != "WARNING") return;
    if (state != sqlstate::warning && state != sqlstate::admin_shutdown) return;
    if (!waiting.empty() && waiting.front()->commits && waiting.front()->doubt.empty()) {
      waiting.front()->doubt = first_line(PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
    }
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
    if (!waiting.empty() && waiting.front()->abandoned) cancel_first();
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
        if (!finished->doubt.empty() && !finished->error)
          finished->error = std::make_exception_ptr(Unavailable("a commit is in doubt: " + finished->doubt));
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
        if (request.prepares != nullptr && error.state() == sqlstate::duplicate_statement) {
          // What was to take it away came in a transaction that had failed already.
          outdated.insert(request.prepares);
        } else if (request.prepares != nullptr) {
          forget_preparation(request);
        }
        if (outdated_plan(error.state())) outdated.insert(request.executes.begin(), request.executes.end());
        if (!request.error) request.error = exception_for(std::move(error), request);
      }
    }
  }

  void forget_preparation(const Request& request) {
    const auto known = prepared.find(request.prepares);
    if (known != prepared.end() && known->second.get() == &request) prepared.erase(known);
  }

  void must(int sent) {
    if (sent == 1) return;
    fail_all(first_line(PQerrorMessage(connection)));
    throw Unavailable(failure);
  }

  // Ends what was sent with a Sync of its own.
  std::shared_ptr<Request> enqueue() {
    must(PQpipelineSync(connection));
    auto request = std::make_shared<Request>(executor);
    std::erase_if(cancellations, [](const auto& over) { return over->load(); });
    request->exposed = !cancellations.empty();
    waiting.push_back(request);
    return request;
  }

  // With a Sync of its own: were it part of a request, an error there would take the preparation with it. Several
  // callers may depend on one preparation. Null when it has succeeded long ago.
  std::shared_ptr<Request> prepare(const Query& query, const Params& params) {
    if (outdated.erase(query.name) > 0 && prepared.erase(query.name) > 0) {
      const auto sql = fmt::format("DEALLOCATE \"{}\"", query.name);
      must(PQsendQueryParams(connection, sql.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 1));
      enqueue();
    }
    if (const auto known = prepared.find(query.name); known != prepared.end())
      return known->second->done ? nullptr : known->second;
    const auto& oids = params.oids();
    must(PQsendPrepare(connection, query.name, query.sql, static_cast<int>(oids.size()), oids.data()));
    auto request = enqueue();
    request->prepares = query.name;
    prepared.emplace(query.name, request);
    return request;
  }

  std::vector<std::shared_ptr<Request>> prepare_all(const std::vector<Statement>& statements) {
    std::vector<std::shared_ptr<Request>> out;
    for (const auto& [query, params] : statements) {
      if (auto preparation = prepare(*query, params)) out.push_back(std::move(preparation));
    }
    return out;
  }

  std::shared_ptr<Request> run_prepared(const std::vector<Statement>& statements) {
    for (const auto& [query, params] : statements) {
      const auto raw = params.raw();
      must(PQsendQueryPrepared(connection, query->name, static_cast<int>(params.size()), raw.values.data(),
                               raw.lengths.data(), raw.formats.data(), 1));
    }
    auto request = enqueue();
    for (const auto& statement : statements) request->executes.push_back(statement.query->name);
    return request;
  }

  Async<> wait_for(std::shared_ptr<Request> request, Deadline deadline) {
    request->awaited = true;
    try {
      while (!request->done) {
        const bool notified = co_await request->answered.wait(deadline);
        if (!notified && !request->done) throw Unavailable("the database did not answer in time");
      }
    } catch (...) {  // also when the caller is being stopped
      request->awaited = false;
      if (!request->done) give_up_on(request);
      throw;
    }
    request->awaited = false;
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

namespace {

PGconn* start_connecting(const ConnectionParameters& parameters) {
  std::vector<const char*> keywords;
  std::vector<const char*> values;
  for (const auto& [keyword, value] : parameters) {
    keywords.push_back(keyword.c_str());
    values.push_back(value.c_str());
  }
  keywords.push_back(nullptr);
  values.push_back(nullptr);
  PGconn* connection = PQconnectStartParams(keywords.data(), values.data(), 0);
  if (connection == nullptr) throw std::bad_alloc();
  return connection;
}

}  // namespace

Async<std::unique_ptr<Connection>> Connection::open(Executor executor, std::string url, SessionOptions options,
                                                    Deadline deadline) {
  const auto parameters = co_await connection_parameters(executor, std::move(url), deadline);
  PGconn* raw = start_connecting(parameters);
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
  PQsetNoticeReceiver(
      raw, [](void* self, const PGresult* result) { static_cast<State*>(self)->notice(result); }, state.get());
  if (PQenterPipelineMode(raw) != 1) throw Unavailable(first_line(PQerrorMessage(raw)));
  state->read();
  std::unique_ptr<Connection> connection(new Connection(state));

  std::vector<Statement> setup;
  setup.push_back(
      {&session_query, Params::of(std::to_string(options.statement_timeout.count()), options.looks_up_only)});
  setup.push_back({&identity_query, {}});
  const auto answers = co_await connection->execute_together(std::move(setup), deadline);
  state->identity = read_identity(answers.back()[0]);
  co_return connection;
}

Async<std::vector<Rows>> Connection::execute_together(std::vector<Statement> statements, Deadline deadline) {
  const auto state = state_;
  if (!state->failure.empty()) throw Unavailable(state->failure);
  const auto preparations = state->prepare_all(statements);
  const auto request = state->run_prepared(statements);
  state->flush();
  co_await state->wait_for(request, deadline);
  throw_first_error(preparations, *request);
  co_return std::move(request->rows);
}

Async<Committed> Connection::execute_and_locate(const Query& query, Params params, Deadline deadline) {
  std::vector<Statement> statements;
  statements.push_back({&query, std::move(params)});
  co_return co_await execute_together_and_locate(std::move(statements), deadline);
}

Async<Committed> Connection::execute_together_and_locate(std::vector<Statement> statements, Deadline deadline) {
  const auto state = state_;
  if (!state->failure.empty()) throw Unavailable(state->failure);
  std::vector<Statement> location;
  location.push_back({&position_query, {}});
  const auto preparations = state->prepare_all(statements);
  state->prepare(position_query, {});
  const auto request = state->run_prepared(statements);
  request->commits = true;
  const auto located = state->run_prepared(location);
  state->flush();
  co_await state->wait_for(request, deadline);
  throw_first_error(preparations, *request);
  co_await state->wait_for(located, deadline);
  // The statements stand: whatever is wrong with the question where, nobody must run them again.
  std::string reason;
  try {
    const auto rows = located->error ? co_await execute(position_query, {}, deadline) : located->rows.front();
    const auto lsn = static_cast<std::uint64_t>(rows[0].at<std::int64_t>(0));
    co_return Committed{std::move(request->rows.back()), {state->identity.timeline, lsn}};
  } catch (const Unavailable& error) {
    reason = error.what();
  } catch (const SqlError& error) {
    reason = error.what();
  }
  throw Unavailable("committed, but where is not known: " + reason);
}

Async<Rows> Connection::execute(const Query& query, Params params, Deadline deadline) {
  std::vector<Statement> statements;
  statements.push_back({&query, std::move(params)});
  auto rows = co_await execute_together(std::move(statements), deadline);
  co_return std::move(rows.front());
}

// Statements outside the pipeline, on a connection that nobody else uses meanwhile.
struct Connection::Plain {
  std::shared_ptr<State> state;
  Deadline deadline;

  Async<> ready(Descriptor::wait_type direction) {
    try {
      co_await wait_ready(state->descriptor, direction, deadline, "a statement");
    } catch (const boost::system::system_error&) {
      // Whoever listened for answers at the same time has found the connection lost, and woken everybody.
      if (!state->failure.empty()) throw Unavailable(state->failure);
      throw;
    }
  }

  Async<> send(std::string sql) {
    if (!state->failure.empty()) throw Unavailable(state->failure);
    if (!state->waiting.empty()) throw std::logic_error("a statement outside the pipeline needs an idle connection");
    state->must(PQexitPipelineMode(state->connection));
    state->must(PQsendQuery(state->connection, sql.c_str()));
    co_await flush();
  }

  // Input is taken too: with full buffers on both sides nobody would move otherwise.
  Async<> flush() {
    for (;;) {
      const int pending = PQflush(state->connection);
      if (pending < 0) throw Unavailable(first_line(PQerrorMessage(state->connection)));
      if (pending == 0) co_return;
      co_await ready(Descriptor::wait_write);
      state->must(PQconsumeInput(state->connection));
    }
  }

  // The next result without blocking the thread; null after the last one.
  Async<PGresult*> next() {
    while (PQisBusy(state->connection) == 1) {
      co_await ready(Descriptor::wait_read);
      state->must(PQconsumeInput(state->connection));
    }
    co_return PQgetResult(state->connection);
  }

  // All results to the last; throws the first error. The number of rows that the last command touched.
  Async<std::int64_t> finish() {
    std::exception_ptr error;
    std::int64_t affected = 0;
    for (;;) {
      PGresult* result = co_await next();
      if (result == nullptr) break;
      const Rows rows(result);
      if (is_copy(result)) {
        // There is no way out of it but to send or take rows: libpq would answer the same for ever.
        state->fail_all("a statement copies rows where none are expected");
        throw std::logic_error(state->failure);
      }
      if (!is_error(result)) {
        affected = rows.affected();
        continue;
      }
      auto failure = sql_error(result);
      if (ends_session(failure.state()) || failure.state().empty()) throw Unavailable(first_line(failure.what()));
      if (!error) error = std::make_exception_ptr(std::move(failure));
    }
    state->must(PQenterPipelineMode(state->connection));
    if (error) std::rethrow_exception(error);
    co_return affected;
  }

  Async<> put(std::string_view data) {
    constexpr std::size_t chunk = 64UL * 1024;
    while (!data.empty()) {
      const auto part = data.substr(0, chunk);
      const int queued = PQputCopyData(state->connection, part.data(), static_cast<int>(part.size()));
      if (queued < 0) throw Unavailable(first_line(PQerrorMessage(state->connection)));
      // Also while the buffer has room: it would otherwise grow with all of the data.
      co_await flush();
      if (queued == 1) data.remove_prefix(part.size());
    }
    while (PQputCopyEnd(state->connection, nullptr) == 0) co_await flush();
    co_await flush();
  }
};

Async<> Connection::run_script(std::string sql, Deadline deadline) {
  Plain plain{state_, deadline};
  try {
    co_await plain.send(std::move(sql));
    co_await plain.finish();
  } catch (const Unavailable& lost) {
    plain.state->fail_all(lost.what());
    throw;
  } catch (const boost::system::system_error&) {
    plain.state->fail_all("a statement was given up half way");
    throw;
  }
}

Async<std::int64_t> Connection::copy_in(std::string sql, std::string_view data, Deadline deadline) {
  Plain plain{state_, deadline};
  try {
    co_await plain.send(std::move(sql));
    Rows answer(co_await plain.next());
    // Of the statements before.
    while (answer.get() != nullptr && PQresultStatus(answer.get()) == PGRES_COMMAND_OK)
      answer = Rows(co_await plain.next());
    if (answer.get() == nullptr) {
      co_await plain.finish();
      throw std::logic_error("copy_in was given a statement that is no COPY … FROM STDIN");
    }
    if (PQresultStatus(answer.get()) == PGRES_COPY_IN) {
      co_await plain.put(data);
      co_return co_await plain.finish();
    }
    const auto refused = is_error(answer.get());
    auto failure = sql_error(answer.get());
    co_await plain.finish();
    if (!refused) throw std::logic_error("copy_in was given a statement that is no COPY … FROM STDIN");
    throw failure;
  } catch (const Unavailable& lost) {
    plain.state->fail_all(lost.what());
    throw;
  } catch (const boost::system::system_error&) {
    plain.state->fail_all("a statement was given up half way");
    throw;
  }
}

const ServerIdentity& Connection::identity() const {
  return state_->identity;
}

void Connection::abandon(const std::string& reason) {
  // A server does not notice that nobody listens: a commit that waits for its standby would wait for ever.
  if (!broken() && !state_->waiting.empty()) state_->send_cancellation();
  state_->fail_all(reason);
}

bool Connection::broken() const {
  return !state_->failure.empty();
}

std::size_t Connection::in_flight() const {
  return state_->waiting.size();
}

}  // namespace cognive::pg
