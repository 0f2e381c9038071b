// Against a real PostgreSQL, which the test starts in a directory of its own.
#include "pg/pool.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/asio.hpp>
#include <filesystem>

#include "embedded/cluster.hpp"

namespace cognive::pg {
namespace {

using std::chrono::milliseconds;

class Server : public ::testing::Environment {
 public:
  void SetUp() override {
    const auto user = embedded::Identity::unprivileged();
    ASSERT_TRUE(user) << user.error().detail;
    root = std::filesystem::temp_directory_path() / ("cognive-pg-test-" + std::to_string(getpid()));
    auto opened = embedded::DataDirectory::open(root, *user);
    ASSERT_TRUE(opened) << opened.error().detail;
    directory.emplace(std::move(*opened));
    auto started = embedded::Cluster::start(*directory, {});
    ASSERT_TRUE(started) << started.error().detail;
    cluster.emplace(std::move(*started));
  }
  void TearDown() override {
    cluster.reset();
    directory.reset();
    std::filesystem::remove_all(root);
  }

  std::filesystem::path root;
  std::optional<embedded::DataDirectory> directory;
  std::optional<embedded::Cluster> cluster;
};

Server& server() {
  static auto* instance = static_cast<Server*>(::testing::AddGlobalTestEnvironment(new Server));
  return *instance;
}
[[maybe_unused]] const auto& registered = server();

constexpr Query one{"one", "SELECT 1::bigint"};
constexpr Query divide{"divide", "SELECT $1::bigint / $2::bigint"};
constexpr Query backend{"backend", "SELECT pg_backend_pid()"};
constexpr Query terminate{"terminate", "SELECT pg_terminate_backend($1)"};
constexpr Query sleep_query{"sleep", "SELECT pg_sleep($1::double precision)::text"};
constexpr Query missing{"missing", "SELECT * FROM no_such_table"};
constexpr Query make_table{"make_table", "CREATE TABLE IF NOT EXISTS t (id bigint PRIMARY KEY)"};
constexpr Query insert_row{"insert_row", "INSERT INTO t VALUES ($1)"};
constexpr Query count_rows{"count_rows", "SELECT count(*) FROM t"};
constexpr Query clear_rows{"clear_rows", "DELETE FROM t"};

Deadline soon() {
  return Deadline::in(milliseconds{10'000});
}

std::unique_ptr<Pool> make_pool(const Executor& executor, Metrics& metrics, std::size_t shared = 1,
                                std::size_t exclusive = 2) {
  PoolOptions options;
  options.url = server().cluster->socket_url();
  options.shared_connections = shared;
  options.exclusive_connections_max = exclusive;
  return std::make_unique<Pool>(executor, std::move(options), metrics);
}

// Runs a coroutine with a pool, and closes the pool.
void with_pool(const std::function<Async<>(Pool&, Executor)>& test, std::size_t shared = 1, std::size_t exclusive = 2) {
  Metrics metrics;
  const auto body = [&]() -> Async<> {
    const auto executor = co_await boost::asio::this_coro::executor;
    const auto pool = make_pool(executor, metrics, shared, exclusive);
    co_await test(*pool, executor);
    co_await pool->close();
  };
  run_to_end(body());
}

Async<> divide_into(Pool& pool, std::int64_t by, std::optional<std::int64_t>& result, std::string& state) {
  try {
    const auto rows = co_await pool.execute(divide, Params::of(std::int64_t{12}, by), soon());
    result = rows[0].at<std::int64_t>(0);
  } catch (const SqlError& error) {
    state = error.state();
  }
}

TEST(Pipeline, one_callers_error_never_touches_anothers_statement) {
  with_pool([](Pool& pool, Executor executor) -> Async<> {
    TaskGroup group(executor, [](const std::exception_ptr&) {});
    std::vector<std::optional<std::int64_t>> results(100);
    std::vector<std::string> states(100);
    for (std::size_t i = 0; i < results.size(); ++i) {
      group.spawn(divide_into(pool, static_cast<std::int64_t>(i % 3), results[i], states[i]));
    }
    EXPECT_TRUE(co_await group.join(soon()));
    for (std::size_t i = 0; i < results.size(); ++i) {
      if (i % 3 == 0) {
        EXPECT_EQ(states[i], "22012");
      } else {
        EXPECT_EQ(results[i], 12 / static_cast<std::int64_t>(i % 3));
      }
    }
  });
}

TEST(Pipeline, a_statement_that_cannot_be_prepared_is_an_error_each_time_and_breaks_nothing) {
  with_pool([](Pool& pool, Executor) -> Async<> {
    for (int i = 0; i < 3; ++i) {
      std::string state;
      try {
        co_await pool.execute(missing, {}, soon());
      } catch (const SqlError& error) {
        state = error.state();
      }
      EXPECT_EQ(state, sqlstate::undefined_table);
    }
    const auto rows = co_await pool.execute(one, {}, soon());
    EXPECT_EQ(rows[0].at<std::int64_t>(0), 1);
  });
}

Async<bool> is_unavailable(Async<Rows> statement) {
  try {
    co_await std::move(statement);
    co_return false;
  } catch (const Unavailable&) {
    co_return true;
  }
}

TEST(Pool, a_connection_that_the_server_ends_is_replaced) {
  with_pool([](Pool& pool, Executor executor) -> Async<> {
    const auto pid = (co_await pool.execute(backend, {}, soon()))[0].at<std::int32_t>(0);
    auto killer = co_await Connection::open(executor, server().cluster->superuser_url(), milliseconds{0}, soon());
    co_await killer->execute(terminate, Params::of(pid), soon());
    // The news may still be on its way: at most one call fails, the next has a new connection.
    for (int i = 0; i < 2; ++i) {
      if (!co_await is_unavailable(pool.execute(one, {}, soon()))) break;
    }
    const auto after = (co_await pool.execute(backend, {}, soon()))[0].at<std::int32_t>(0);
    EXPECT_NE(after, pid);
  });
}

// The numbers of closed descriptors are reused at once; a connection that is lost must not take the next one's events
// with it.
TEST(Pool, connections_that_take_the_place_of_lost_ones_hear_their_answers) {
  with_pool(
      [](Pool& pool, Executor executor) -> Async<> {
        auto killer = co_await Connection::open(executor, server().cluster->superuser_url(), milliseconds{0}, soon());
        for (int round = 0; round < 20; ++round) {
          const auto pid = (co_await pool.execute(backend, {}, soon()))[0].at<std::int32_t>(0);
          auto transaction = co_await pool.begin(soon());
          const auto other = (co_await transaction.execute(backend, {}))[0].at<std::int32_t>(0);
          co_await transaction.commit();
          co_await killer->execute(terminate, Params::of(pid), soon());
          co_await killer->execute(terminate, Params::of(other), soon());
          co_await is_unavailable(pool.execute(one, {}, Deadline::in(milliseconds{2'000})));
          // Whatever was noticed late by now, the next calls must be answered long before their deadline.
          for (int i = 0; i < 3; ++i) {
            try {
              auto next = co_await pool.begin(Deadline::in(milliseconds{5'000}));
              co_await next.execute(one, {});
              co_await next.commit();
            } catch (const Unavailable& error) {
              EXPECT_STRNE(error.what(), "the database did not answer in time");
            }
          }
        }
      },
      1, 2);
}

TEST(Pool, a_statement_past_its_deadline_is_unavailable_and_the_pool_goes_on) {
  with_pool([](Pool& pool, Executor) -> Async<> {
    co_await pool.execute(one, {}, soon());  // connected: the deadline below is the statement's alone
    EXPECT_TRUE(co_await is_unavailable(pool.execute(sleep_query, Params::of(30.0), Deadline::in(milliseconds{50}))));
    const auto rows = co_await pool.execute(one, {}, soon());
    EXPECT_EQ(rows[0].at<std::int64_t>(0), 1);
  });
}

TEST(Pool, a_caller_without_time_to_connect_keeps_nobody_else_from_it) {
  with_pool([](Pool& pool, Executor) -> Async<> {
    EXPECT_TRUE(co_await is_unavailable(pool.execute(one, {}, Deadline::in(milliseconds{0}))));
    const auto rows = co_await pool.execute(one, {}, soon());
    EXPECT_EQ(rows[0].at<std::int64_t>(0), 1);
  });
}

TEST(Pool, when_all_connections_are_taken_callers_wait_until_their_deadline) {
  with_pool(
      [](Pool& pool, Executor) -> Async<> {
        std::optional<Transaction> holder(co_await pool.begin(soon()));
        bool refused = false;
        try {
          const auto second = co_await pool.begin(Deadline::in(milliseconds{30}));
        } catch (const Unavailable&) {
          refused = true;
        }
        EXPECT_TRUE(refused);
        holder.reset();
        auto third = co_await pool.begin(soon());
        co_await third.commit();
      },
      1, 1);
}

TEST(Transaction, is_rolled_back_when_it_is_dropped_and_kept_when_committed) {
  with_pool([](Pool& pool, Executor) -> Async<> {
    co_await pool.execute(make_table, {}, soon());
    co_await pool.execute(clear_rows, {}, soon());
    {
      auto dropped = co_await pool.begin(soon());
      co_await dropped.execute(insert_row, Params::of(std::int64_t{1}));
    }
    auto kept = co_await pool.begin(soon());
    co_await kept.execute(insert_row, Params::of(std::int64_t{2}));
    co_await kept.commit();
    const auto rows = co_await pool.execute(count_rows, {}, soon());
    EXPECT_EQ(rows[0].at<std::int64_t>(0), 1);
  });
}

TEST(Connection, a_refused_password_is_named_without_the_password) {
  const auto body = []() -> Async<> {
    auto url = server().cluster->tcp_url();
    const auto at = url.find('@');
    url = "postgresql://cognive:hunter2" + url.substr(at);
    const auto executor = co_await boost::asio::this_coro::executor;
    std::string reason;
    try {
      co_await Connection::open(executor, url, milliseconds{0}, soon());
    } catch (const Unavailable& error) {
      reason = error.what();
    }
    EXPECT_NE(reason.find("password authentication failed"), std::string::npos) << reason;
    EXPECT_EQ(reason.find("hunter2"), std::string::npos);
  };
  run_to_end(body());
}

constexpr Query echo{"echo",
                     "SELECT $1::timestamptz, $2::timestamptz, $3::date, $4::text[], $5::jsonb, $6::uuid, $7::bigint"};
constexpr Query unnest{"unnest", "SELECT count(*), count(v), sum(v)::bigint FROM unnest($1::bigint[]) AS v"};

TEST(Params, travel_to_the_server_and_back_unchanged) {
  with_pool([](Pool& pool, Executor) -> Async<> {
    const auto time = *Timestamp::parse("1969-07-20T20:17:40.000001Z");
    const auto id = Uuid::make();
    const std::vector<std::string> texts{"", "a\"b", "ü,{}"};
    const std::optional<std::int64_t> null;
    auto params = Params::of(time, Timestamp::min(), bucket_of(id), texts, Json{R"({"a":[1.50,"\n"]})"}, id, null);
    const auto rows = co_await pool.execute(echo, std::move(params), soon());
    Timestamp read_time;
    Timestamp infinity;
    std::chrono::sys_days day;
    std::vector<std::string> read_texts;
    json::Object object;
    Uuid read_id;
    std::optional<std::int64_t> number = 1;
    rows[0].read(read_time, infinity, day, read_texts, object, read_id, number);
    EXPECT_EQ(read_time, time);
    EXPECT_EQ(infinity, Timestamp::min());
    EXPECT_EQ(day, bucket_of(id));
    EXPECT_EQ(read_texts, texts);
    EXPECT_EQ(object.text, R"({"a": [1.50, "\n"]})");
    EXPECT_EQ(read_id, id);
    EXPECT_FALSE(number);

    ArrayBuilder numbers(ArrayBuilder::Type::int8);
    numbers.add(std::int64_t{INT64_MAX});
    numbers.null();
    numbers.add(std::int64_t{-1});
    Params array;
    std::move(numbers).move_into(array);
    const auto sums = co_await pool.execute(unnest, std::move(array), soon());
    EXPECT_EQ(sums[0].at<std::int64_t>(0), 3);
    EXPECT_EQ(sums[0].at<std::int64_t>(1), 2);
    EXPECT_EQ(sums[0].at<std::int64_t>(2), INT64_MAX - 1);
  });
}

}  // namespace
}  // namespace cognive::pg
