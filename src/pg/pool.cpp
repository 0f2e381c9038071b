#include "pg/pool.hpp"

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <random>
#include <unordered_set>

#include "observe/log.hpp"
#include "pg/conninfo.hpp"

namespace cognive::pg {

namespace {

constexpr Query begin_query{"begin", "BEGIN"};
constexpr Query commit_query{"commit", "COMMIT"};
constexpr Query rollback_query{"rollback", "ROLLBACK"};

// The least that a transaction can write: one record of log, which nobody reads.
constexpr Query vouch_query{"vouch_for_reads", "SELECT pg_logical_emit_message(true, 'cognive', '') IS NULL"};

// For point reads: with the partitions of a time series, planning costs several times what the read does, and
// PostgreSQL, which does not count on partitions being passed over when the plan runs, would plan each time.
constexpr Query generic_plans_query{"generic_plans",
                                    "SELECT set_config('plan_cache_mode', 'force_generic_plan', false)"};

constexpr std::chrono::milliseconds backoff_first{50};
constexpr std::chrono::milliseconds backoff_max{1'000};
constexpr std::chrono::milliseconds rollback_deadline{2'000};
// A single statement that loses to others more often than this has a reason that repeating does not mend.
constexpr int statement_attempts_max = 3;

constexpr Query replayed_query{"replayed",
                               "SELECT NOT pg_is_in_recovery() OR (pg_last_wal_replay_lsn() - '0/0')::bigint >= $1"};

}  // namespace

struct Pool::State : std::enable_shared_from_this<State> {
  State(Executor pool_executor, PoolOptions pool_options, Metrics& metrics)
      : executor(std::move(pool_executor)),
        options(std::move(pool_options)),
        changed(executor),
        background(executor, [](const std::exception_ptr&) {}),
        label(host_label(options.url)),
        metrics(metrics),
        connections_active(metrics.gauge("db_connections_active", "Connections in use", {{"pool", label}})),
        connections_idle(metrics.gauge("db_connections_idle", "Open connections that nobody uses", {{"pool", label}})) {
  }

  Executor executor;
  PoolOptions options;
  std::vector<std::shared_ptr<Connection>> shared;
  std::vector<std::unique_ptr<Connection>> idle;  // exclusive ones that are free
  std::unordered_set<Connection*> lent;           // exclusive ones in use
  std::size_t exclusive_open = 0;                 // free, used and being opened
  std::size_t waiters = 0;
  std::size_t apart = 0;  // statements on connections of their own, running or about to
  bool opening_shared = false;
  std::size_t drops = 0;  // counts them, so that whoever waits notices
  std::string drop_reason;
  bool closed = false;
  Signal changed;  // a connection was opened, freed or lost
  TaskGroup background;
  std::string label;
  Metrics& metrics;
  Gauge connections_active;
  Gauge connections_idle;
  // What this pool has added to the gauges, which the pools of all threads share.
  double shown_active = 0;
  double shown_idle = 0;
  std::map<const char*, Histogram, std::less<>> durations;  // by address of the query's name

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
    if (closed) throw Unavailable("the pool is closed");
    if (begun < retry_at) throw Unavailable(last_failure);
    try {
      const auto attempt = Deadline{std::min(deadline.at, begun + options.connect_timeout)};
      const auto before = drops;
      auto connection =
          co_await Connection::open(executor, options.url, {options.statement_timeout, options.looks_up_only}, attempt);
      throw_if_dropped(before);
      if (options.admit) options.admit(connection->identity());
      backoff = std::chrono::milliseconds{0};
      last_failure.clear();
      last_success = retry_at = std::chrono::steady_clock::now();
      if (closed) throw Unavailable("the pool is closed");
      co_return connection;
    } catch (const boost::system::system_error&) {
      throw;  // the task is being stopped, which says nothing about the server
    } catch (const std::exception& error) {
      // A failure that began before somebody else's success is old news, and a caller who had no time left says nothing
      // about the server: neither keeps others from trying.
      if (begun < last_success || deadline.passed() || closed) throw Unavailable(error.what());
      thread_local std::minstd_rand random{std::random_device{}()};
      backoff = std::clamp(backoff * 2, backoff_first, backoff_max);
      // Full jitter: nodes that lost the same server do not come back in step.
      std::uniform_int_distribution<std::int64_t> jitter(0, backoff.count());
      retry_at = std::chrono::steady_clock::now() + std::chrono::milliseconds{jitter(random)};
      if (last_failure != error.what())
        log(Level::warning, "database connection failed", {{"host", label}, {"reason", error.what()}});
      last_failure = error.what();
      throw Unavailable(last_failure);
    }
  }

  void throw_if_dropped(std::size_t before) const {
    if (drops != before) throw Unavailable(drop_reason);
  }

  Async<std::shared_ptr<Connection>> shared_connection(Deadline deadline) {
    const auto before = drops;
    for (;;) {
      std::erase_if(shared, [](const auto& connection) { return connection->broken(); });
      const auto least = std::ranges::min_element(shared, {}, [](const auto& c) { return c->in_flight(); });
      const bool enough = shared.size() >= options.shared_connections;
      if (least != shared.end() && (enough || opening_shared || (*least)->in_flight() == 0)) co_return *least;
      if (!opening_shared) {
        opening_shared = true;
        std::exception_ptr failure;
        std::exception_ptr stopped;
        std::shared_ptr<Connection> connection;
        try {
          connection = co_await open(deadline);
          co_await connection->execute(generic_plans_query, {}, deadline);
        } catch (const Unavailable&) {
          failure = std::current_exception();
        } catch (...) {
          stopped = std::current_exception();
        }
        opening_shared = false;
        changed.notify_all();
        if (stopped) std::rethrow_exception(stopped);
        if (failure) {
          // Fewer connections than wanted still serve everybody.
          const auto working = std::ranges::find_if(shared, [](const auto& c) { return !c->broken(); });
          if (working == shared.end() || deadline.passed()) std::rethrow_exception(failure);
          co_return *working;
        }
        shared.push_back(connection);
        count();
        co_return connection;
      }
      if (deadline.passed()) throw Unavailable("connecting to the database took too long");
      co_await changed.wait(deadline);
      throw_if_dropped(before);
      if (shared.empty() && !opening_shared && std::chrono::steady_clock::now() < retry_at)
        throw Unavailable(last_failure);
    }
  }

  void count() {
    const auto now_idle = static_cast<double>(idle.size());
    const auto now_active = static_cast<double>(lent.size() + shared.size());
    connections_idle.add(now_idle - std::exchange(shown_idle, now_idle));
    connections_active.add(now_active - std::exchange(shown_active, now_active));
  }

  Histogram duration_of(const Query& query) {
    const auto known = durations.find(query.name);
    if (known != durations.end()) return known->second;
    return durations
        .emplace(query.name, metrics.histogram("db_query_duration_seconds", "Time of a statement, its way included",
                                               {{"operation", query.name}}, duration_buckets()))
        .first->second;
  }

  // Observes, at the end of a scope, how long the statement took.
  struct Timed {
    explicit Timed(Histogram histogram) : duration(histogram) {}
    Timed(const Timed&) = delete;
    Timed& operator=(const Timed&) = delete;
    ~Timed() {
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
      duration.observe(seconds.count());
    }
    Histogram duration;
    std::chrono::steady_clock::time_point begin = std::chrono::steady_clock::now();
  };

  Async<std::unique_ptr<Connection>> take_exclusive(Deadline deadline) {
    if (waiters >= options.waiters_max) throw Unavailable("too many requests wait for a database connection");
    const Counted waiting(waiters);
    const auto before = drops;
    for (;;) {
      while (!idle.empty()) {
        auto connection = std::move(idle.back());
        idle.pop_back();
        if (!connection->broken()) {
          lent.insert(connection.get());
          count();
          co_return connection;
        }
        --exclusive_open;
      }
      if (exclusive_open < options.exclusive_connections_max) {
        ++exclusive_open;
        try {
          auto connection = co_await open(deadline);
          lent.insert(connection.get());
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
      throw_if_dropped(before);
    }
  }

  Async<std::optional<Rows>> read_apart(const Query& query, const Params& params, std::optional<Position> not_before,
                                        Deadline deadline);

  void give_back(std::unique_ptr<Connection> connection) {
    lent.erase(connection.get());
    // One that still owes an answer nobody waits for would make its next user wait.
    if (connection->broken() || connection->in_flight() > 0) {
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
      // The server rolls back when the connection closes.
      connection->abandon("it could not be rolled back");
    }
    state->give_back(std::move(connection));
  }
};

Pool::Pool(Executor executor, PoolOptions options, Metrics& metrics)
    : state_(std::make_shared<State>(std::move(executor), std::move(options), metrics)) {}

Pool::~Pool() = default;

namespace {

// Repeats a statement that lost to a concurrent transaction, or whose plan was out of date.
template <typename Attempt>
auto attempt_statement(const Attempt& attempt, Deadline deadline) -> decltype(attempt()) {
  for (int number = 1; number < statement_attempts_max && !deadline.passed(); ++number) {
    try {
      co_return co_await attempt();
    } catch (const Retryable&) {
      // The next attempt's answer is the answer.
    }
  }
  co_return co_await attempt();
}

}  // namespace

Async<Rows> Pool::execute(const Query& query, Params params, Deadline deadline) {
  const auto state = state_;
  const State::Timed timed(state->duration_of(query));
  const auto attempt = [&]() -> Async<Rows> {
    const auto connection = co_await state->shared_connection(deadline);
    co_return co_await connection->execute(query, params, deadline);
  };
  co_return co_await attempt_statement(attempt, deadline);
}

Async<Rows> Pool::write(const Query& query, Params params, const Call& call) {
  const auto state = state_;
  const State::Timed timed(state->duration_of(query));
  const auto attempt = [&]() -> Async<Committed> {
    auto connection = co_await state->take_exclusive(call.deadline);
    Committed committed;
    std::exception_ptr failure;
    try {
      committed = co_await connection->execute_and_locate(query, params, call.deadline);
    } catch (...) {
      failure = std::current_exception();
    }
    state->give_back(std::move(connection));
    if (failure) std::rethrow_exception(failure);
    co_return committed;
  };
  auto committed = co_await attempt_statement(attempt, call.deadline);
  call.note(committed.position);
  co_return std::move(committed.rows);
}

namespace {

// On a connection that has not replayed `not_before`: nothing.
Async<std::optional<Rows>> read_on(Connection& connection, const Query& query, const Params& params,
                                   std::optional<Position> not_before, Deadline deadline) {
  if (!not_before) co_return co_await connection.execute(query, params, deadline);
  std::vector<Statement> statements;
  statements.push_back({&replayed_query, Params::of(static_cast<std::int64_t>(not_before->lsn))});
  statements.push_back({&query, params});
  auto answers = co_await connection.execute_together(std::move(statements), deadline);
  const bool replayed = answers.front()[0].at<bool>(0);
  if (!replayed) co_return std::nullopt;
  co_return std::move(answers.back());
}

}  // namespace

Async<std::optional<Rows>> Pool::State::read_apart(const Query& query, const Params& params,
                                                   std::optional<Position> not_before, Deadline deadline) {
  const auto apart_max = std::max<std::size_t>(1, options.exclusive_connections_max / 2);
  while (apart >= apart_max) {
    if (deadline.passed()) throw Unavailable("no database connection became free in time");
    co_await changed.wait(deadline);
  }
  const Counted counted(apart);
  auto connection = co_await take_exclusive(deadline);
  std::optional<Rows> rows;
  std::exception_ptr failure;
  try {
    rows = co_await read_on(*connection, query, params, not_before, deadline);
  } catch (...) {
    failure = std::current_exception();
  }
  give_back(std::move(connection));
  if (failure) std::rethrow_exception(failure);
  co_return rows;
}

Async<std::optional<Rows>> Pool::execute_not_before(const Query& query, Params params, Lane lane, Position not_before,
                                                    Deadline deadline) {
  const auto state = state_;
  const State::Timed timed(state->duration_of(query));
  if (lane == Lane::apart) co_return co_await state->read_apart(query, params, not_before, deadline);
  const auto connection = co_await state->shared_connection(deadline);
  co_return co_await read_on(*connection, query, params, not_before, deadline);
}

Async<Rows> Pool::execute_apart(const Query& query, Params params, Deadline deadline) {
  const auto state = state_;
  const State::Timed timed(state->duration_of(query));
  const auto attempt = [&] { return state->read_apart(query, params, std::nullopt, deadline); };
  auto rows = co_await attempt_statement(attempt, deadline);
  co_return std::move(*rows);
}

void Pool::drop(const std::string& reason) {
  auto& state = *state_;
  ++state.drops;
  state.drop_reason = reason;
  for (const auto& connection : state.shared) connection->abandon(reason);
  state.shared.clear();
  for (const auto& connection : state.idle) connection->abandon(reason);
  state.exclusive_open -= state.idle.size();
  state.idle.clear();
  // Their users give them back, broken.
  for (auto* connection : state.lent) connection->abandon(reason);
  state.count();
  state.changed.notify_all();
}

std::size_t Pool::load() const {
  std::size_t out = state_->lent.size();
  for (const auto& connection : state_->shared) out += connection->in_flight();
  return out;
}

Async<Transaction> Pool::begin_lazily(Deadline deadline) {
  const auto state = state_;
  auto connection = co_await state->take_exclusive(deadline);
  co_return Transaction(state, std::move(connection), deadline);
}

Async<Transaction> Pool::begin(Deadline deadline) {
  auto transaction = co_await begin_lazily(deadline);
  transaction.begun_ = true;
  co_await transaction.execute(begin_query, Params{});
  co_return transaction;
}

Async<> Pool::close() {
  const auto state = state_;
  state->closed = true;
  state->background.stop();
  co_await state->background.join(Deadline::in(rollback_deadline));
  drop("the pool is being closed");
}

Transaction::Transaction(std::shared_ptr<Pool::State> pool, std::unique_ptr<Connection> connection, Deadline deadline)
    : pool_(std::move(pool)), connection_(std::move(connection)), deadline_(deadline) {}

Transaction::Transaction(Transaction&&) noexcept = default;

Transaction::~Transaction() {
  if (!connection_) return;
  if (!begun_ && connection_->in_flight() == 0) {
    pool_->give_back(std::move(connection_));
  } else if (connection_->broken() || pool_->closed) {
    connection_->abandon("the pool is being closed");
    pool_->give_back(std::move(connection_));
  } else {
    pool_->background.spawn(Pool::State::roll_back(pool_, std::move(connection_)));
  }
}

Async<Rows> Transaction::execute(const Query& query, Params params) {
  if (!std::exchange(begun_, true)) co_await connection_->execute(begin_query, Params{}, deadline_);
  const Pool::State::Timed timed(pool_->duration_of(query));
  co_return co_await connection_->execute(query, std::move(params), deadline_);
}

Async<std::int64_t> Transaction::copy_in(std::string sql, std::string_view data) {
  if (!std::exchange(begun_, true)) sql = "BEGIN; " + sql;
  co_return co_await connection_->copy_in(std::move(sql), data, deadline_);
}

void Transaction::before_commit(std::function<Async<>(Transaction&)> step) {
  last_steps_.push_back(std::move(step));
}

Async<> Transaction::vouch_for_reads() {
  co_await execute(vouch_query, Params{});
}

Async<Position> Transaction::commit() {
  co_return (co_await commit_with({})).position;
}

Async<Committed> Transaction::commit_with(std::vector<Statement> statements) {
  if (!last_steps_.empty() && !statements.empty())
    throw std::logic_error("statements of a commit would come after what is to be last");
  for (const auto& step : last_steps_) co_await step(*this);
  last_steps_.clear();
  const Pool::State::Timed timed(pool_->duration_of(commit_query));
  // What is sent with one Sync is a transaction by itself.
  const bool is_implicit = !begun_ && !statements.empty();
  if (!is_implicit) statements.push_back({&commit_query, {}});
  auto committed = co_await connection_->execute_together_and_locate(std::move(statements), deadline_);
  pool_->give_back(std::move(connection_));
  // COMMIT of a failed transaction succeeds as a ROLLBACK.
  if (!is_implicit && committed.rows.command() != "COMMIT")
    throw std::logic_error("a failed transaction was committed");
  co_return committed;
}

}  // namespace cognive::pg
