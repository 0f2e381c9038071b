// The connections of one thread: taken, lost, refused, given back, and counted.
#include "pg/pool.hpp"

#include "pg/test_support.hpp"

namespace cognive::pg::test {
namespace {

constexpr Query long_sleep{"long_sleep", "SELECT pg_sleep(30)::text"};

TEST(Pool, replaces_a_connection_that_the_server_ends) {
  with_pool([](Pool& pool, Executor executor) -> Async<> {
    const auto pid = (co_await pool.execute(backend, {}, soon()))[0].at<std::int32_t>(0);
    const auto killer = co_await open_superuser(executor);
    co_await killer->execute(terminate, Params::of(pid), soon());
    // The news may still be on its way: at most one call fails, the next has a new connection.
    for (int i = 0; i < 2; ++i) {
      const auto outcome = co_await outcome_of(pool.execute(one, {}, soon()));
      if (outcome.kind == Outcome::Kind::answered) break;
      EXPECT_EQ(outcome.kind, Outcome::Kind::unavailable);
    }
    const auto after = (co_await pool.execute(backend, {}, soon()))[0].at<std::int32_t>(0);
    EXPECT_NE(after, pid);
  });
}

// The numbers of closed descriptors are reused at once; a connection that is lost must not take the next one's events
// with it.
TEST(Pool, connections_that_take_the_place_of_lost_ones_hear_their_answers) {
  with_pool([](Pool& pool, Executor executor) -> Async<> {
    const auto killer = co_await open_superuser(executor);
    for (int round = 0; round < 20; ++round) {
      const auto pid = (co_await pool.execute(backend, {}, soon()))[0].at<std::int32_t>(0);
      auto transaction = co_await pool.begin(soon());
      const auto other = (co_await transaction.execute(backend, {}))[0].at<std::int32_t>(0);
      co_await transaction.commit();
      co_await killer->execute(terminate, Params::of(pid), soon());
      co_await killer->execute(terminate, Params::of(other), soon());
      co_await outcome_of(pool.execute(one, {}, Deadline::in(milliseconds{2'000})));
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
  });
}

TEST(Pool, a_caller_without_time_to_connect_keeps_nobody_else_from_it) {
  with_pool([](Pool& pool, Executor) -> Async<> {
    const auto hasty = co_await outcome_of(pool.execute(one, {}, Deadline::in(milliseconds{0})));
    EXPECT_EQ(hasty.kind, Outcome::Kind::unavailable);
    EXPECT_EQ((co_await pool.execute(one, {}, soon()))[0].at<std::int64_t>(0), 1);
  });
}

Async<Rows> begun(Pool& pool, Deadline deadline) {
  auto transaction = co_await pool.begin(deadline);
  auto rows = co_await transaction.execute(one, {});
  co_await transaction.commit();
  co_return rows;
}

TEST(Pool, callers_wait_for_a_connection_until_their_deadline_when_all_are_taken) {
  with_pool(
      [](Pool& pool, Executor executor) -> Async<> {
        std::optional<Transaction> holder(co_await pool.begin(soon()));
        const auto refused = co_await outcome_of(begun(pool, Deadline::in(milliseconds{50})));
        EXPECT_EQ(refused.reason, "no database connection became free in time");
        EXPECT_GE(refused.took, milliseconds{49});
        EXPECT_LT(refused.took, milliseconds{400});
        Tasks group(executor);
        std::vector<Outcome> outcomes(10);
        for (auto& outcome : outcomes) group.spawn(note_outcome(begun(pool, soon()), outcome));
        co_await sleep_for(milliseconds{20});
        holder.reset();
        EXPECT_TRUE(co_await group.join(soon()));
        for (const auto& outcome : outcomes) EXPECT_EQ(outcome.kind, Outcome::Kind::answered) << outcome.reason;
      },
      pool_options(1, 1));
}

TEST(Pool, refuses_at_once_when_too_many_wait) {
  auto options = pool_options(1, 1);
  options.waiters_max = 3;
  with_pool(
      [](Pool& pool, Executor executor) -> Async<> {
        std::optional<Transaction> holder(co_await pool.begin(soon()));
        Tasks group(executor);
        std::vector<Outcome> outcomes(5);
        for (auto& outcome : outcomes) group.spawn(note_outcome(begun(pool, soon()), outcome));
        co_await sleep_for(milliseconds{20});
        const auto refused = std::ranges::count(outcomes, Outcome::Kind::unavailable, &Outcome::kind);
        EXPECT_EQ(refused, 2);
        EXPECT_EQ(outcomes.back().reason, "too many requests wait for a database connection");
        holder.reset();
        EXPECT_TRUE(co_await group.join(soon()));
      },
      options);
}

TEST(Pool, statements_apart_leave_connections_for_transactions) {
  with_pool(
      [](Pool& pool, Executor executor) -> Async<> {
        Tasks group(executor);
        std::vector<Outcome> outcomes(4);
        for (auto& outcome : outcomes) {
          group.spawn(note_outcome(pool.execute_apart(sleep_query, Params::of(1.0), soon()), outcome));
        }
        co_await sleep_for(milliseconds{50});
        const auto point = co_await outcome_of(begun(pool, soon()));
        EXPECT_EQ(point.kind, Outcome::Kind::answered) << point.reason;
        EXPECT_EQ(std::ranges::count(outcomes, 0, &Outcome::ends), 4);
        EXPECT_TRUE(co_await group.join(soon()));
        for (const auto& outcome : outcomes) EXPECT_EQ(outcome.kind, Outcome::Kind::answered) << outcome.reason;
      },
      pool_options(1, 4));
}

// Only a connection with nothing in flight goes back to the others.
TEST(Pool, a_connection_whose_statement_was_given_up_delays_nobody_for_long) {
  with_pool(
      [](Pool& pool, Executor) -> Async<> {
        const auto slow = co_await outcome_of(pool.execute_apart(long_sleep, {}, Deadline::in(milliseconds{100})));
        EXPECT_EQ(slow.kind, Outcome::Kind::unavailable);
        const auto next = co_await outcome_of(begun(pool, soon()));
        EXPECT_EQ(next.kind, Outcome::Kind::answered) << next.reason;
        EXPECT_LT(next.took, milliseconds{1'500});
        {
          auto transaction = co_await pool.begin(Deadline::in(milliseconds{200}));
          const auto late = co_await outcome_of(transaction.execute(long_sleep, {}));
          EXPECT_EQ(late.kind, Outcome::Kind::unavailable);
        }
        const auto last = co_await outcome_of(begun(pool, soon()));
        EXPECT_EQ(last.kind, Outcome::Kind::answered) << last.reason;
        EXPECT_LT(last.took, milliseconds{1'500});
      },
      pool_options(1, 1));
}

// A statement and a transaction on a pool that cannot connect: both say why, soon.
void cannot_connect(std::string url, std::string_view reason) {
  auto options = pool_options();
  options.url = std::move(url);
  with_pool(
      [&](Pool& pool, Executor) -> Async<> {
        for (int i = 0; i < 3; ++i) {
          const auto statement = co_await outcome_of(pool.execute(one, {}, soon()));
          const auto transaction = co_await outcome_of(begun(pool, soon()));
          for (const auto& outcome : {statement, transaction}) {
            EXPECT_EQ(outcome.kind, Outcome::Kind::unavailable);
            EXPECT_NE(outcome.reason.find(reason), std::string::npos) << outcome.reason;
            EXPECT_EQ(outcome.reason.find("secret"), std::string::npos) << outcome.reason;
            EXPECT_LT(outcome.took, milliseconds{3'000});
          }
        }
      },
      options);
}

TEST(Pool, says_that_the_password_is_wrong) {
  const auto url = server().tcp_url();
  cannot_connect("postgresql://cognive:secret" + url.substr(url.find('@')), "password authentication failed");
}

TEST(Pool, says_that_the_port_refuses) {
  std::string url;
  run_test([&](Executor executor) -> Async<> {
    const Relay relay(executor);
    url = relay.url();
    co_return;
  });
  cannot_connect(url, "Connection refused");
}

TEST(Pool, says_that_the_server_is_starting) {
  run_test([](Executor executor) -> Async<> {
    const RefusingServer starting(executor, "57P03", "the database system is starting up");
    Metrics metrics;
    auto options = pool_options();
    options.url = starting.url();
    Pool pool(executor, options, metrics);
    const auto outcome = co_await outcome_of(pool.execute(one, {}, soon()));
    EXPECT_EQ(outcome.kind, Outcome::Kind::unavailable);
    EXPECT_NE(outcome.reason.find("the database system is starting up"), std::string::npos) << outcome.reason;
    EXPECT_LT(outcome.took, milliseconds{1'000});
    co_await pool.close();
  });
}

TEST(Pool, says_that_the_role_may_not_log_in) {
  run_test([](Executor executor) -> Async<> { co_await administrate(executor, "ALTER ROLE cognive NOLOGIN"); });
  cannot_connect(server().socket_url(), "is not permitted to log in");
  run_test([](Executor executor) -> Async<> { co_await administrate(executor, "ALTER ROLE cognive LOGIN"); });
}

TEST(Pool, says_that_nobody_let_the_role_in) {
  const auto url = server().tcp_url();
  cannot_connect("postgresql://stranger:secret" + url.substr(url.find('@')), "no pg_hba.conf entry");
}

TEST(Pool, says_that_there_are_too_many_connections_and_works_with_those_that_it_has) {
  with_pool(
      [](Pool& pool, Executor executor) -> Async<> {
        co_await pool.execute(one, {}, soon());
        co_await administrate(executor, "ALTER ROLE cognive CONNECTION LIMIT 1");
        const auto refused = co_await outcome_of(begun(pool, soon()));
        EXPECT_EQ(refused.kind, Outcome::Kind::unavailable);
        EXPECT_NE(refused.reason.find("too many connections"), std::string::npos) << refused.reason;
        EXPECT_LT(refused.took, milliseconds{2'000});
        Tasks group(executor);
        std::vector<Outcome> outcomes(10);
        for (auto& outcome : outcomes) group.spawn(note_outcome(pool.execute(one, {}, soon()), outcome));
        EXPECT_TRUE(co_await group.join(soon()));
        EXPECT_EQ(std::ranges::count(outcomes, Outcome::Kind::answered, &Outcome::kind), 10);
        co_await administrate(executor, "ALTER ROLE cognive CONNECTION LIMIT -1");
      },
      pool_options(2, 2));
}

// Asks again as soon as it has its answer, as clients do.
Async<> ask_all_the_time(Pool& pool, Deadline until, int& asked) {
  while (!until.passed()) {
    co_await outcome_of(pool.execute(one, {}, soon()));
    co_await outcome_of(begun(pool, soon()));
    ++asked;
    co_await sleep_for(milliseconds{5});
  }
}

TEST(Backoff, spares_a_server_that_refuses_however_many_ask) {
  run_test([](Executor executor) -> Async<> {
    const RefusingServer starting(executor, "57P03", "the database system is starting up");
    Metrics metrics;
    auto options = pool_options(2, 8);
    options.url = starting.url();
    Pool pool(executor, options, metrics);
    Tasks group(executor);
    int asked = 0;
    for (int i = 0; i < 20; ++i) group.spawn(ask_all_the_time(pool, Deadline::in(milliseconds{4'000}), asked));
    EXPECT_TRUE(co_await group.join(soon()));
    EXPECT_GT(asked, 500);
    // 50 ms, 100 ms … 1 s, each cut short at random: about a dozen.
    EXPECT_LE(starting.knocks(), 30);
    EXPECT_GE(starting.knocks(), 3);
    co_await pool.close();
  });
}

TEST(Backoff, lets_the_pool_be_back_a_second_after_its_server) {
  run_test([](Executor executor) -> Async<> {
    Relay relay(executor);
    Metrics metrics;
    auto options = pool_options(1, 2);
    options.url = relay.url();
    Pool pool(executor, options, metrics);
    co_await pool.execute(one, {}, soon());
    relay.close_port();
    relay.cut();
    int asked = 0;
    co_await ask_all_the_time(pool, Deadline::in(milliseconds{2'500}), asked);
    relay.listen();
    const std::function<Async<bool>()> is_back = [&]() -> Async<bool> {
      co_return (co_await outcome_of(begun(pool, soon()))).kind == Outcome::Kind::answered;
    };
    EXPECT_TRUE(co_await eventually(is_back, milliseconds{1'300}));
    EXPECT_EQ((co_await outcome_of(pool.execute(one, {}, soon()))).kind, Outcome::Kind::answered);
    co_await pool.close();
  });
}

TEST(Drop, fails_all_users_at_once_and_the_next_caller_has_a_new_connection) {
  with_pool(
      [](Pool& pool, Executor executor) -> Async<> {
        const auto before = (co_await pool.execute(backend, {}, soon()))[0].at<std::int32_t>(0);
        Tasks group(executor);
        std::vector<Outcome> outcomes(20);
        for (std::size_t i = 0; i < outcomes.size(); ++i) {
          auto statement =
              i % 10 == 0 ? pool.execute_apart(long_sleep, {}, soon()) : pool.execute(long_sleep, {}, soon());
          group.spawn(note_outcome(std::move(statement), outcomes[i]));
        }
        auto transaction = co_await pool.begin(soon());
        co_await sleep_for(milliseconds{100});
        EXPECT_GT(pool.load(), 20);
        pool.drop("it is another host now");
        EXPECT_TRUE(co_await group.join(Deadline::in(milliseconds{500})));
        for (const auto& outcome : outcomes) {
          EXPECT_EQ(outcome.kind, Outcome::Kind::unavailable);
          EXPECT_EQ(outcome.reason, "it is another host now");
          EXPECT_EQ(outcome.ends, 1);
        }
        const auto in_transaction = co_await outcome_of(transaction.execute(one, {}));
        EXPECT_EQ(in_transaction.reason, "it is another host now");
        EXPECT_NE((co_await pool.execute(backend, {}, soon()))[0].at<std::int32_t>(0), before);
        const auto next = co_await outcome_of(begun(pool, soon()));
        EXPECT_EQ(next.kind, Outcome::Kind::answered) << next.reason;
      },
      pool_options(2, 4));
}

double gauge(const Metrics& metrics, std::string_view name) {
  const auto text = metrics.exposition();
  const auto begin = text.find("\n" + std::string(name) + "{");
  if (begin == std::string::npos) return -1;
  const auto value = text.find("} ", begin);
  return std::stod(text.substr(value + 2));
}

TEST(Gauges, count_connections_and_end_at_zero) {
  Metrics metrics;
  const auto body = [&](Executor executor) -> Async<> {
    Relay relay(executor);
    auto options = pool_options(2, 4);
    options.url = relay.url();
    Pool pool(executor, options, metrics);
    co_await pool.execute(one, {}, soon());
    {
      auto first = co_await pool.begin(soon());
      const auto second = co_await pool.begin(soon());
      EXPECT_EQ(gauge(metrics, "cognive_db_connections_active"), 3);
      EXPECT_EQ(gauge(metrics, "cognive_db_connections_idle"), 0);
      co_await first.commit();
      EXPECT_EQ(gauge(metrics, "cognive_db_connections_active"), 2);
      EXPECT_EQ(gauge(metrics, "cognive_db_connections_idle"), 1);
    }
    // Lost ones, one that is used until after the end, and one that is only being opened then.
    auto used = co_await pool.begin(soon());
    relay.cut();
    co_await outcome_of(pool.execute(one, {}, soon()));
    auto last = co_await pool.begin(soon());
    relay.stall();
    Tasks group(executor);
    Outcome statement;
    Outcome transaction;
    group.spawn(note_outcome(pool.execute(one, {}, soon()), statement));
    group.spawn(note_outcome(begun(pool, soon()), transaction));
    co_await sleep_for(milliseconds{50});
    co_await pool.close();
    relay.flow();
    EXPECT_TRUE(co_await group.join(soon()));
    EXPECT_EQ(statement.kind, Outcome::Kind::unavailable) << statement.reason;
    EXPECT_EQ(transaction.kind, Outcome::Kind::unavailable) << transaction.reason;
    const auto after = co_await outcome_of(pool.execute(one, {}, soon()));
    EXPECT_EQ(after.kind, Outcome::Kind::unavailable);
  };
  run_test(body);
  EXPECT_EQ(gauge(metrics, "cognive_db_connections_active"), 0);
  EXPECT_EQ(gauge(metrics, "cognive_db_connections_idle"), 0);
}

TEST(Pool, whose_callers_are_stopped_has_all_its_connections_again) {
  with_pool(
      [](Pool& pool, Executor executor) -> Async<> {
        for (int round = 0; round < 3; ++round) {
          Tasks group(executor);
          std::vector<Outcome> outcomes(6);
          for (std::size_t i = 0; i < outcomes.size(); ++i) {
            group.spawn(note_outcome(i % 2 == 0 ? begun(pool, soon()) : pool.execute_apart(long_sleep, {}, soon()),
                                     outcomes[i]));
          }
          co_await sleep_for(milliseconds{3});
          group.stop();
          EXPECT_TRUE(co_await group.join(soon()));
          for (const auto& outcome : outcomes) EXPECT_EQ(outcome.ends, 1);
        }
        for (int i = 0; i < 4; ++i) {
          const auto outcome = co_await outcome_of(begun(pool, Deadline::in(milliseconds{3'000})));
          EXPECT_EQ(outcome.kind, Outcome::Kind::answered) << outcome.reason;
        }
      },
      pool_options(1, 2));
}

}  // namespace
}  // namespace cognive::pg::test
