#include "pg/pool.hpp"

#include <boost/asio.hpp>
#include <random>

#include "observe/log.hpp"

namespace cognive::pg {

namespace {

constexpr Query begin_query{"begin", "BEGIN"};
constexpr Query commit_query{"commit", "COMMIT"};
constexpr Query rollback_query{"rollback", "ROLLBACK"};

constexpr std::chrono::milliseconds backoff_first{50};
constexpr std::chrono::milliseconds backoff_max{1'000};
constexpr std::chrono::milliseconds rollback_deadline{2'000};

}  // namespace

struct Pool::State : std::enable_shared_from_this<State> {
  State(Executor pool_executor, PoolOptions pool_options, Metrics& metrics)
      : executor(std::move(pool_executor)),
        options(std::move(pool_options)),
        changed(executor),
        background(executor, [](const std::exception_ptr&) {}),
        connections_active(metrics.gauge("db_connections_active", "Connections in use", {{"pool", "primary"}})),
        connections_idle(
            metrics.gauge("db_connections_idle", "Open connections that nobody uses", {{"pool", "primary"}})) {}

  Executor executor;
  PoolOptions options;
  std::vector<std::shared_ptr<Connection>> shared;
  std::vector<std::unique_ptr<Connection>> idle;  // exclusive ones that are free
  std::size_t exclusive_open = 0;                 // free, used and being opened
  std::size_t waiters = 0;
  std::size_t apart = 0;  // statements on connections of their own, running or about to
  bool opening_shared = false;
  Signal changed;  // a connection was opened, freed or lost
  TaskGroup background;
  Gauge connections_active;
  Gauge connections_idle;

  // After a failure nobody knocks again before `retry_at`; until then callers get its reason at once.
  std::chrono::steady_clock::time_point retry_at;
  std::chrono::steady_clock::time_point last_success;
  std::chrono::milliseconds backoff{0};
  std::string last_failure;

  // One more for the time of a scope.
  struct Counted {
    explicit Counted(std::size_t& counter) : count(counter) { ++count; }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;
    ~Counted() { --count; }
    std::size_t& count;
  };

  Async<std::unique_ptr<Connection>> open(Deadline deadline) {
    const auto begun = std::chrono::steady_clock::now();
    if (begun < retry_at) throw Unavailable(last_failure);
    try {
      auto connection = co_await Connection::open(executor, options.url, deadline);
      auto setup = fmt::format("SET statement_timeout = {}; SET timezone = 'UTC'; SET application_name = 'cognive'",
                               options.statement_timeout.count());
      co_await connection->run_script(std::move(setup), deadline);
      backoff = std::chrono::milliseconds{0};
      last_success = retry_at = std::chrono::steady_clock::now();
      co_return connection;
    } catch (const boost::system::system_error&) {
      throw;  // the task is being stopped, which says nothing about the server
    } catch (const std::exception& error) {
      // A failure that began before somebody else's success is old news, and a caller who had no time left says nothing
      // about the server: neither keeps others from trying.
      if (begun < last_success || deadline.passed()) throw Unavailable(error.what());
      thread_local std::minstd_rand random{std::random_device{}()};
      backoff = std::clamp(backoff * 2, backoff_first, backoff_max);
      // Full jitter: nodes that lost the same server do not come back in step.
      std::uniform_int_distribution<std::int64_t> jitter(0, backoff.count());
      retry_at = std::chrono::steady_clock::now() + std::chrono::milliseconds{jitter(random)};
      if (last_failure != error.what()) log(Level::warning, "database connection failed", {{"reason", error.what()}});
      last_failure = error.what();
      throw Unavailable(last_failure);
    }
  }

  Async<std::shared_ptr<Connection>> shared_connection(Deadline deadline) {
    for (;;) {
      std::erase_if(shared, [](const auto& connection) { return connection->broken(); });
      const auto least = std::ranges::min_element(shared, {}, [](const auto& c) { return c->in_flight(); });
      const bool enough = shared.size() >= options.shared_connections;
      if (least != shared.end() && (enough || opening_shared || (*least)->in_flight() == 0)) co_return *least;
      if (!opening_shared) {
        opening_shared = true;
        std::exception_ptr failure;
        std::shared_ptr<Connection> connection;
        try {
          connection = co_await open(deadline);
        } catch (...) {
          failure = std::current_exception();
        }
        opening_shared = false;
        changed.notify_all();
        if (failure) std::rethrow_exception(failure);
        shared.push_back(connection);
        co_return connection;
      }
      if (deadline.passed()) throw Unavailable("connecting to the database took too long");
      co_await changed.wait(deadline);
      if (shared.empty() && !opening_shared && std::chrono::steady_clock::now() < retry_at)
        throw Unavailable(last_failure);
    }
  }

  void count() {
    connections_idle.set(static_cast<double>(idle.size()));
    connections_active.set(static_cast<double>(exclusive_open - idle.size() + shared.size()));
  }

  Async<std::unique_ptr<Connection>> take_exclusive(Deadline deadline) {
    if (waiters >= options.waiters_max) throw Unavailable("too many requests wait for a database connection");
    const Counted waiting(waiters);
    for (;;) {
      while (!idle.empty()) {
        auto connection = std::move(idle.back());
        idle.pop_back();
        if (!connection->broken()) {
          count();
          co_return connection;
        }
        --exclusive_open;
      }
      if (exclusive_open < options.exclusive_connections_max) {
        ++exclusive_open;
        try {
          auto connection = co_await open(deadline);
          count();
          co_return connection;
        } catch (...) {
          --exclusive_open;
          changed.notify_all();
          throw;
        }
      }
      if (deadline.passed()) throw Unavailable("no database connection became free in time");
      co_await changed.wait(deadline);
    }
  }

  void give_back(std::unique_ptr<Connection> connection) {
    if (connection->broken()) {
      --exclusive_open;
    } else {
      idle.push_back(std::move(connection));
    }
    count();
    changed.notify_all();
  }

  static Async<> roll_back(std::shared_ptr<State> state, std::unique_ptr<Connection> connection) {
    try {
      co_await connection->execute(rollback_query, Params{}, Deadline::in(rollback_deadline));
    } catch (const std::exception&) {
      // A connection that cannot even roll back is broken; the server rolls back when it closes.
      --state->exclusive_open;
      state->changed.notify_all();
      co_return;
    }
    state->give_back(std::move(connection));
  }
};

Pool::Pool(Executor executor, PoolOptions options, Metrics& metrics)
    : state_(std::make_shared<State>(std::move(executor), std::move(options), metrics)) {}

Pool::~Pool() = default;

Async<Rows> Pool::execute(const Query& query, Params params, Deadline deadline) {
  const auto state = state_;
  const auto connection = co_await state->shared_connection(deadline);
  co_return co_await connection->execute(query, std::move(params), deadline);
}

Async<Rows> Pool::execute_apart(const Query& query, Params params, Deadline deadline) {
  const auto state = state_;
  const auto apart_max = std::max<std::size_t>(1, state->options.exclusive_connections_max / 2);
  while (state->apart >= apart_max) {
    if (deadline.passed()) throw Unavailable("no database connection became free in time");
    co_await state->changed.wait(deadline);
  }
  const State::Counted counted(state->apart);
  auto connection = co_await state->take_exclusive(deadline);
  Rows rows;
  std::exception_ptr failure;
  try {
    rows = co_await connection->execute(query, std::move(params), deadline);
  } catch (...) {
    failure = std::current_exception();
  }
  state->give_back(std::move(connection));
  if (failure) std::rethrow_exception(failure);
  co_return rows;
}

Async<Transaction> Pool::begin(Deadline deadline) {
  const auto state = state_;
  auto connection = co_await state->take_exclusive(deadline);
  Transaction transaction(state, std::move(connection), deadline);
  co_await transaction.execute(begin_query, Params{});
  co_return transaction;
}

Async<> Pool::close() {
  const auto state = state_;
  state->background.stop();
  co_await state->background.join(Deadline::in(rollback_deadline));
  state->shared.clear();
  state->idle.clear();
}

Transaction::Transaction(std::shared_ptr<Pool::State> pool, std::unique_ptr<Connection> connection, Deadline deadline)
    : pool_(std::move(pool)), connection_(std::move(connection)), deadline_(deadline) {}

Transaction::Transaction(Transaction&&) noexcept = default;

Transaction::~Transaction() {
  if (!connection_) return;
  if (connection_->broken()) {
    pool_->give_back(std::move(connection_));
  } else {
    pool_->background.spawn(Pool::State::roll_back(pool_, std::move(connection_)));
  }
}

Async<Rows> Transaction::execute(const Query& query, Params params) {
  co_return co_await connection_->execute(query, std::move(params), deadline_);
}

Async<> Transaction::commit() {
  const auto rows = co_await connection_->execute(commit_query, Params{}, deadline_);
  pool_->give_back(std::move(connection_));
  // COMMIT of a failed transaction succeeds as a ROLLBACK.
  if (rows.command() != "COMMIT") throw std::logic_error("a failed transaction was committed");
}

}  // namespace cognive::pg
