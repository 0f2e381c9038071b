// Rows in bulk, and the way from the pipeline to COPY and back.
#include "pg/test_support.hpp"

namespace cognive::pg::test {
namespace {

constexpr Query make_table{"make_copied", "CREATE TABLE IF NOT EXISTS copied (id bigint PRIMARY KEY, note text)"};
constexpr Query clear{"clear_copied", "DELETE FROM copied"};
constexpr Query count{"count_copied", "SELECT count(*), coalesce(sum(id), 0)::bigint, max(length(note)) FROM copied"};
constexpr const char* copy = "COPY copied FROM STDIN";

std::string lines(int rows, std::size_t note_length) {
  std::string out;
  const std::string note(note_length, 'n');
  for (int id = 1; id <= rows; ++id) out += fmt::format("{}\t{}\n", id, note);
  return out;
}

// One connection for transactions: the next one has the connection of the last one.
void with_table(const std::function<Async<>(Pool&, Executor)>& test) {
  const auto body = [&](Pool& pool, Executor executor) -> Async<> {
    co_await pool.execute(make_table, {}, soon());
    co_await pool.execute(clear, {}, soon());
    co_await test(pool, executor);
  };
  with_pool(body, pool_options(1, 1));
}

TEST(Copy, takes_many_megabytes_and_holds_up_nobody) {
  with_table([](Pool& pool, Executor executor) -> Async<> {
    constexpr int rows = 8'000;
    constexpr std::size_t note_length = 4'000;
    const auto data = lines(rows, note_length);
    auto transaction = co_await pool.begin(Deadline::in(milliseconds{60'000}));
    const Ticker ticker(executor);
    EXPECT_EQ(co_await transaction.copy_in(copy, data), rows);
    EXPECT_LT(ticker.longest_gap(), gap_max);
    co_await transaction.commit();
    const auto found = co_await pool.execute(count, {}, soon());
    EXPECT_EQ(found[0].at<std::int64_t>(0), rows);
    EXPECT_EQ(found[0].at<std::int64_t>(1), std::int64_t{rows} * (rows + 1) / 2);
  });
}

TEST(Copy, is_followed_by_statements_of_the_pipeline_on_the_same_connection) {
  with_table([](Pool& pool, Executor executor) -> Async<> {
    auto transaction = co_await pool.begin(soon());
    EXPECT_EQ((co_await transaction.execute(count, {}))[0].at<std::int64_t>(0), 0);
    EXPECT_EQ(co_await transaction.copy_in(copy, "1\ta\n2\tb\n"), 2);
    EXPECT_EQ(co_await transaction.copy_in(copy, "3\tc\n"), 1);
    EXPECT_EQ(co_await transaction.copy_in(copy, ""), 0);
    Tasks group(executor);
    std::vector<Outcome> outcomes(20);
    for (auto& outcome : outcomes) group.spawn(note_outcome(transaction.execute(count, {}), outcome));
    EXPECT_TRUE(co_await group.join(soon()));
    for (const auto& outcome : outcomes) EXPECT_EQ(outcome.kind, Outcome::Kind::answered) << outcome.reason;
    EXPECT_EQ((co_await transaction.execute(count, {}))[0].at<std::int64_t>(0), 3);
    co_await transaction.commit();
  });
}

Async<Rows> copied(Transaction& transaction, std::string sql, std::string_view data) {
  co_await transaction.copy_in(std::move(sql), data);
  co_return Rows{};
}

TEST(Copy, with_a_bad_row_is_an_error_that_takes_the_transaction_but_not_the_connection) {
  with_table([](Pool& pool, Executor) -> Async<> {
    std::int32_t pid = 0;
    {
      auto transaction = co_await pool.begin(soon());
      pid = (co_await transaction.execute(backend, {}))[0].at<std::int32_t>(0);
      const auto data = lines(10'000, 100) + "not a number\tx\n" + lines(10'000, 100);
      const auto outcome = co_await outcome_of(copied(transaction, copy, data));
      EXPECT_EQ(outcome.state, "22P02") << outcome.reason;
      const auto aborted = co_await outcome_of(transaction.execute(count, {}));
      EXPECT_EQ(aborted.state, "25P02") << aborted.reason;
    }
    auto next = co_await pool.begin(soon());
    EXPECT_EQ((co_await next.execute(backend, {}))[0].at<std::int32_t>(0), pid);
    EXPECT_EQ((co_await next.execute(count, {}))[0].at<std::int64_t>(0), 0);
    EXPECT_EQ(co_await next.copy_in(copy, "1\ta\n"), 1);
    co_await next.commit();
  });
}

TEST(Copy, of_what_the_server_refuses_is_its_error) {
  with_table([](Pool& pool, Executor) -> Async<> {
    auto transaction = co_await pool.begin(soon());
    const auto outcome = co_await outcome_of(copied(transaction, "COPY no_such_table FROM STDIN", "1\n"));
    EXPECT_EQ(outcome.state, sqlstate::undefined_table) << outcome.reason;
  });
}

TEST(Copy, of_a_statement_that_takes_no_rows_is_a_bug_of_the_caller_and_never_hangs) {
  with_table([](Pool& pool, Executor) -> Async<> {
    for (const auto* sql : {"SELECT 1", "DELETE FROM copied", "COPY copied TO STDOUT", "",
                            "COPY copied FROM STDIN; COPY copied FROM STDIN"}) {
      {
        auto transaction = co_await pool.begin(soon());
        const auto outcome = co_await outcome_of(copied(transaction, sql, "1\ta\n"));
        EXPECT_EQ(outcome.kind, Outcome::Kind::other) << sql << ": " << outcome.reason;
      }
      auto next = co_await pool.begin(soon());
      EXPECT_EQ(co_await next.copy_in(copy, "5\ta\n"), 1) << sql;
    }
  });
}

TEST(Script, that_copies_is_a_bug_of_the_caller_and_never_hangs) {
  run_test([](Executor executor) -> Async<> {
    for (const auto* sql : {"COPY pg_class TO STDOUT", "CREATE TEMPORARY TABLE x (id bigint); COPY x FROM STDIN"}) {
      const auto connection = co_await open_connection(executor);
      const auto running_script = [](Connection& on, std::string text) -> Async<Rows> {
        co_await on.run_script(std::move(text), soon());
        co_return Rows{};
      };
      const auto outcome = co_await outcome_of(running_script(*connection, sql));
      EXPECT_EQ(outcome.kind, Outcome::Kind::other) << sql << ": " << outcome.reason;
    }
  });
}

// The way ends while rows are being sent and the server takes no more of them.
void copying_ends_unavailable(const std::function<void(Relay&, Pool&)>& harm) {
  const auto body = [&](Executor executor) -> Async<> {
    Relay relay(executor);
    Metrics metrics;
    auto options = pool_options();
    options.url = relay.url();
    Pool pool(executor, options, metrics);
    {
      auto transaction = co_await pool.begin(soon());
      const auto data = lines(4'000, 4'000);
      relay.stall();
      Tasks group(executor);
      Outcome outcome;
      group.spawn(note_outcome(copied(transaction, copy, data), outcome));
      co_await sleep_for(milliseconds{100});
      EXPECT_EQ(outcome.ends, 0);
      harm(relay, pool);
      EXPECT_TRUE(co_await group.join(Deadline::in(milliseconds{10'000})));
      EXPECT_EQ(outcome.kind, Outcome::Kind::unavailable) << outcome.reason;
      EXPECT_EQ(outcome.ends, 1);
    }
    relay.flow();
    EXPECT_EQ((co_await pool.execute(one, {}, soon()))[0].at<std::int64_t>(0), 1);
    co_await pool.close();
  };
  run_test(body);
}

TEST(Copy, is_unavailable_when_the_connection_is_cut) {
  with_table([](Pool&, Executor) -> Async<> { co_return; });
  copying_ends_unavailable([](Relay& relay, Pool&) { relay.cut(); });
}

TEST(Copy, is_unavailable_when_the_server_hangs_up_without_taking_the_rows) {
  with_table([](Pool&, Executor) -> Async<> { co_return; });
  copying_ends_unavailable([](Relay& relay, Pool&) { relay.end_answers(); });
}

TEST(Copy, is_unavailable_when_the_pool_gives_the_connection_up) {
  with_table([](Pool&, Executor) -> Async<> { co_return; });
  copying_ends_unavailable([](Relay&, Pool& pool) { pool.drop("the test gave it up"); });
}

TEST(Copy, ends_at_its_deadline) {
  with_table([](Pool&, Executor) -> Async<> { co_return; });
  run_test([](Executor executor) -> Async<> {
    Relay relay(executor);
    const auto connection = co_await Connection::open(executor, relay.url(), milliseconds{0}, soon());
    relay.stall();
    const auto data = lines(4'000, 4'000);
    const auto copying = [](Connection& on, std::string_view rows) -> Async<Rows> {
      co_await on.copy_in(copy, rows, Deadline::in(milliseconds{300}));
      co_return Rows{};
    };
    const Ticker ticker(executor);
    const auto outcome = co_await outcome_of(copying(*connection, data));
    EXPECT_EQ(outcome.kind, Outcome::Kind::unavailable) << outcome.reason;
    EXPECT_LT(outcome.took, milliseconds{800});
    EXPECT_TRUE(connection->broken());
    EXPECT_LT(ticker.longest_gap(), gap_max);
  });
}

}  // namespace
}  // namespace cognive::pg::test
