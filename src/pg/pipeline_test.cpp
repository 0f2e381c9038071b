// Many callers on one connection: nobody's error, deadline or preparation is anybody else's business.
#include "pg/test_support.hpp"

namespace cognive::pg::test {
namespace {

constexpr Query divide{"divide", "SELECT $1::bigint / $2::bigint"};
constexpr Query missing{"missing", "SELECT * FROM no_such_table"};
constexpr Query echo_bytes{"echo_bytes", "SELECT $1::bytea"};
constexpr Query late{"late", "SELECT pg_sleep(30)::text, 'past its deadline'"};
constexpr Query behind{"behind", "SELECT pg_sleep(8)::text, 'behind another'"};
constexpr Query timeouts{"timeouts", "SELECT current_setting('statement_timeout'), current_setting('TimeZone')"};
constexpr Query sleep_long{"sleep_long", "SELECT pg_sleep(20)::text"};
constexpr Query shape{"shape", "SELECT * FROM shape"};
constexpr Query other_shape{"other_shape", "SELECT * FROM shape ORDER BY id"};
constexpr Query row_locking{"row_locking", "SELECT count(*) FROM pg_class FOR UPDATE"};
constexpr Query make_number{"make_number", "INSERT INTO numbers VALUES ($1)"};
constexpr Query count_numbers{"count_numbers", "SELECT count(*) FROM numbers"};
constexpr Query forget_position{"forget_position", "DEALLOCATE position"};
constexpr Query forget_all{"forget_all", "DEALLOCATE ALL"};

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
    Tasks group(executor);
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
      const auto outcome = co_await outcome_of(pool.execute(missing, {}, soon()));
      EXPECT_EQ(outcome.state, sqlstate::undefined_table) << outcome.reason;
    }
    const auto rows = co_await pool.execute(one, {}, soon());
    EXPECT_EQ(rows[0].at<std::int64_t>(0), 1);
  });
}

TEST(Pipeline, all_callers_of_a_statement_that_cannot_be_prepared_learn_why) {
  with_pool([](Pool& pool, Executor executor) -> Async<> {
    co_await pool.execute(one, {}, soon());
    Tasks group(executor);
    std::vector<Outcome> outcomes(20);
    for (auto& outcome : outcomes) group.spawn(note_outcome(pool.execute(missing, {}, soon()), outcome));
    EXPECT_TRUE(co_await group.join(soon()));
    for (const auto& outcome : outcomes) EXPECT_EQ(outcome.state, sqlstate::undefined_table) << outcome.reason;
  });
}

TEST(Pipeline, what_postgresql_does_not_support_is_an_error_and_not_a_passing_trouble) {
  with_pool([](Pool& pool, Executor) -> Async<> {
    const auto outcome = co_await outcome_of(pool.execute(row_locking, {}, soon()));
    EXPECT_EQ(outcome.state, sqlstate::feature_not_supported) << outcome.reason;
  });
}

Async<> echo(Pool& pool, std::size_t length, unsigned char fill, bool& same) {
  const std::vector<std::uint8_t> sent(length, fill);
  const auto rows = co_await pool.execute(echo_bytes, Params::of(Bytes{sent}), Deadline::in(milliseconds{60'000}));
  const auto received = rows[0].at<std::string>(0);
  same = received.size() == length &&
         std::ranges::all_of(received, [&](char c) { return static_cast<unsigned char>(c) == fill; });
}

// Each side fills the other's buffers long before it is done: whoever only writes, or only reads, waits for ever.
TEST(Pipeline, sixty_four_megabytes_go_there_and_back_at_the_same_time) {
  with_pool([](Pool& pool, Executor executor) -> Async<> {
    constexpr std::size_t callers = 64;
    Tasks group(executor);
    std::array<bool, callers> same{};
    for (std::size_t i = 0; i < callers; ++i) {
      group.spawn(echo(pool, 1UL << 20U, static_cast<unsigned char>(i), same[i]));
    }
    EXPECT_TRUE(co_await group.join(Deadline::in(milliseconds{60'000})));
    EXPECT_EQ(std::ranges::count(same, true), callers);
  });
}

TEST(Pipeline, the_session_has_its_timeout_and_time_zone_from_the_beginning) {
  auto options = pool_options();
  options.statement_timeout = milliseconds{7'500};
  with_pool(
      [](Pool& pool, Executor) -> Async<> {
        const auto rows = co_await pool.execute(timeouts, {}, soon());
        EXPECT_EQ(rows[0].at<std::string>(0), "7500ms");
        EXPECT_EQ(rows[0].at<std::string>(1), "UTC");
        auto transaction = co_await pool.begin(soon());
        EXPECT_EQ((co_await transaction.execute(timeouts, {}))[0].at<std::string>(0), "7500ms");
        co_await transaction.commit();
      },
      options);
}

TEST(Pipeline, the_server_ends_what_runs_longer_than_the_statement_timeout) {
  auto options = pool_options();
  options.statement_timeout = milliseconds{100};
  with_pool(
      [](Pool& pool, Executor) -> Async<> {
        const auto outcome = co_await outcome_of(pool.execute(sleep_long, {}, soon()));
        EXPECT_EQ(outcome.kind, Outcome::Kind::unavailable) << outcome.reason;
        EXPECT_LT(outcome.took, milliseconds{3'000});
      },
      options);
}

TEST(Deadline, ends_the_statement_on_the_server_and_leaves_the_connection_to_the_others) {
  with_pool([](Pool& pool, Executor executor) -> Async<> {
    const auto pid = (co_await pool.execute(backend, {}, soon()))[0].at<std::int32_t>(0);
    const auto watcher = co_await open_superuser(executor);
    Tasks group(executor);
    Outcome slow;
    std::vector<Outcome> others(10);
    group.spawn(note_outcome(pool.execute(late, {}, Deadline::in(milliseconds{300})), slow));
    for (auto& other : others) group.spawn(note_outcome(pool.execute(one, {}, soon()), other));
    EXPECT_TRUE(co_await group.join(soon()));
    EXPECT_EQ(slow.kind, Outcome::Kind::unavailable);
    EXPECT_GE(slow.took, milliseconds{299});
    EXPECT_LT(slow.took, milliseconds{700});
    for (const auto& other : others) {
      EXPECT_EQ(other.kind, Outcome::Kind::answered) << other.reason;
      EXPECT_LT(other.took, milliseconds{1'500});
    }
    const std::function<Async<bool>()> has_ended = [&]() -> Async<bool> {
      co_return (co_await watcher->execute(running, Params::of("past its deadline"), soon()))[0].at<std::int64_t>(0) ==
          0;
    };
    EXPECT_TRUE(co_await eventually(has_ended, milliseconds{1'000}));
    EXPECT_EQ((co_await pool.execute(backend, {}, soon()))[0].at<std::int32_t>(0), pid);
  });
}

TEST(Deadline, that_passes_while_another_statement_runs_counts_once_the_turn_comes) {
  with_pool([](Pool& pool, Executor executor) -> Async<> {
    co_await pool.execute(one, {}, soon());
    Tasks group(executor);
    Outcome first;
    Outcome given_up;
    Outcome last;
    group.spawn(note_outcome(pool.execute(sleep_query, Params::of(0.6), soon()), first));
    group.spawn(note_outcome(pool.execute(behind, {}, Deadline::in(milliseconds{200})), given_up));
    group.spawn(note_outcome(pool.execute(one, {}, soon()), last));
    EXPECT_TRUE(co_await group.join(soon()));
    EXPECT_EQ(first.kind, Outcome::Kind::answered) << first.reason;
    EXPECT_EQ(given_up.kind, Outcome::Kind::unavailable);
    EXPECT_LT(given_up.took, milliseconds{500});
    EXPECT_EQ(last.kind, Outcome::Kind::answered) << last.reason;
    EXPECT_LT(last.took, milliseconds{2'500});
  });
}

// A cancellation names a connection, not a statement: it may arrive when the next one is running already.
TEST(Deadline, never_ends_the_statement_of_another_caller) {
  with_pool([](Pool& pool, Executor executor) -> Async<> {
    co_await pool.execute(one, {}, soon());
    co_await pool.execute(sleep_query, Params::of(0.0), soon());
    int hit = 0;
    for (int round = 0; round < 60; ++round) {
      Tasks group(executor);
      Outcome slow;
      std::vector<Outcome> others(5);
      // Ends on its own at about the time when its cancellation is on its way.
      group.spawn(note_outcome(
          pool.execute(sleep_query, Params::of(0.020 + 0.0001 * round), Deadline::in(milliseconds{20})), slow));
      for (auto& other : others) {
        group.spawn(note_outcome(pool.execute(sleep_query, Params::of(0.005), soon()), other));
      }
      EXPECT_TRUE(co_await group.join(soon()));
      for (const auto& other : others) {
        hit += other.kind == Outcome::Kind::answered ? 0 : 1;
        EXPECT_EQ(other.kind, Outcome::Kind::answered) << other.reason;
      }
    }
    EXPECT_EQ(hit, 0);
  });
}

TEST(Deadline, of_a_stopped_caller_does_not_keep_the_connection_from_breaking_when_the_server_is_frozen) {
  run_test([](Executor executor) -> Async<> {
    Relay relay(executor);
    const auto connection = co_await Connection::open(executor, relay.url(), milliseconds{0}, soon());
    relay.stall();
    Outcome stopped;
    {
      Tasks group(executor);
      group.spawn(note_outcome(connection->execute(one, {}, soon()), stopped));
      co_await sleep_for(milliseconds{20});
      group.stop();
      EXPECT_TRUE(co_await group.join(soon()));
    }
    EXPECT_EQ(stopped.kind, Outcome::Kind::other);
    const auto outcome = co_await outcome_of(connection->execute(one, {}, Deadline::in(milliseconds{100})));
    EXPECT_EQ(outcome.kind, Outcome::Kind::unavailable);
    const std::function<Async<bool>()> is_broken = [&]() -> Async<bool> { co_return connection->broken(); };
    EXPECT_TRUE(co_await eventually(is_broken, milliseconds{4'000}));
  });
}

TEST(Preparation, follows_when_the_table_changes) {
  with_pool(
      [](Pool& pool, Executor executor) -> Async<> {
        const auto migration = co_await open_connection(executor);
        co_await migration->run_script("CREATE TABLE shape (id bigint); INSERT INTO shape VALUES (1)", soon());
        for (int columns = 1; columns <= 4; ++columns) {
          Tasks group(executor);
          std::vector<Outcome> outcomes(40);
          for (std::size_t i = 0; i < outcomes.size(); ++i) {
            group.spawn(note_outcome(pool.execute(i % 2 == 0 ? shape : other_shape, {}, soon()), outcomes[i]));
          }
          EXPECT_TRUE(co_await group.join(soon()));
          for (const auto& outcome : outcomes) EXPECT_EQ(outcome.kind, Outcome::Kind::answered) << outcome.reason;
          co_await migration->run_script(fmt::format("ALTER TABLE shape ADD COLUMN c{} text DEFAULT 'new'", columns),
                                         soon());
          // Apart, and in a transaction of the pool's own connections, too.
          const auto apart = co_await outcome_of(pool.execute_apart(shape, {}, soon()));
          EXPECT_EQ(apart.kind, Outcome::Kind::answered) << apart.reason;
        }
        co_await migration->run_script("DROP TABLE shape", soon());
      },
      pool_options(2, 2));
}

TEST(Preparation, that_the_server_has_lost_is_made_again) {
  with_pool([](Pool& pool, Executor) -> Async<> {
    co_await pool.execute(one, {}, soon());
    co_await pool.execute(forget_all, {}, soon());
    EXPECT_EQ((co_await pool.execute(one, {}, soon()))[0].at<std::int64_t>(0), 1);
  });
}

// The statement stands by the time its position is asked for: to run it again would do it twice.
TEST(Write, is_not_run_again_when_only_its_position_cannot_be_asked) {
  with_pool([](Pool& pool, Executor executor) -> Async<> {
    const auto migration = co_await open_connection(executor);
    co_await migration->run_script("CREATE TABLE numbers (id bigint)", soon());
    co_await pool.write(make_number, Params::of(std::int64_t{1}), some_call());
    co_await pool.execute_apart(forget_position, {}, soon());  // where single writes run, too
    const auto call = some_call();
    const auto outcome = co_await outcome_of(pool.write(make_number, Params::of(std::int64_t{2}), call));
    EXPECT_EQ(outcome.kind, Outcome::Kind::answered) << outcome.reason;
    EXPECT_EQ((co_await pool.execute(count_numbers, {}, soon()))[0].at<std::int64_t>(0), 2);
    Written written;
    co_await pool.write(make_number, Params::of(std::int64_t{3}), some_call(&written));
    EXPECT_GT(written.position.lsn, 0);
    EXPECT_EQ(written.position.timeline, 1);
    co_await migration->run_script("DROP TABLE numbers", soon());
  });
}

}  // namespace
}  // namespace cognive::pg::test
