// Transactions: what a rollback takes with it, and what is run again.
#include "pg/transact.hpp"

#include "pg/test_support.hpp"

namespace cognive::pg::test {
namespace {

constexpr Query open_account{"open_account", "INSERT INTO accounts VALUES ($1, 0)"};
constexpr Query add{"add", "UPDATE accounts SET balance = balance + 1 WHERE id = $1"};
constexpr Query count{"count_accounts", "SELECT count(*), coalesce(sum(balance), 0)::bigint FROM accounts"};
constexpr Query balance{"balance", "SELECT balance FROM accounts WHERE id = $1"};
constexpr Query everything{"everything", "SELECT * FROM accounts"};
constexpr Query serializable{"serializable", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"};
constexpr Query lose{"lose", "SELECT lose_to_another()"};
constexpr Query forget_position{"forget_position", "DEALLOCATE position"};
constexpr Query lock_timeout{"lock_timeout", "SELECT set_config('lock_timeout', '5s', true)"};

void with_accounts(const std::function<Async<>(Cluster&, Executor)>& test) {
  with_cluster([&](Cluster& database, Executor executor) -> Async<> {
    co_await administrate(executor,
                          "DROP TABLE IF EXISTS accounts; CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint "
                          "NOT NULL); GRANT ALL ON accounts TO cognive; ALTER TABLE accounts OWNER TO cognive; "
                          "CREATE OR REPLACE FUNCTION lose_to_another() RETURNS text LANGUAGE plpgsql AS $$ BEGIN "
                          "RAISE EXCEPTION USING ERRCODE = '40001', MESSAGE = 'lost'; END $$");
    co_await test(database, executor);
  });
}

Async<std::int64_t> accounts(Cluster& database) {
  co_return (co_await database.primary().execute(count, {}, soon()))[0].at<std::int64_t>(0);
}

TEST(Transaction, is_rolled_back_when_it_is_dropped_and_kept_when_committed) {
  with_accounts([](Cluster& database, Executor) -> Async<> {
    {
      auto dropped = co_await database.begin(soon());
      co_await dropped.execute(open_account, Params::of(std::int64_t{1}));
    }
    auto kept = co_await database.begin(soon());
    co_await kept.execute(open_account, Params::of(std::int64_t{2}));
    const auto position = co_await kept.commit();
    EXPECT_EQ(position.timeline, 1);
    EXPECT_GT(position.lsn, 0);
    EXPECT_EQ(co_await accounts(database), 1);
  });
}

TEST(Transaction, that_has_failed_cannot_be_committed) {
  with_accounts([](Cluster& database, Executor) -> Async<> {
    auto transaction = co_await database.begin(soon());
    co_await transaction.execute(open_account, Params::of(std::int64_t{1}));
    const auto twice = co_await outcome_of(transaction.execute(open_account, Params::of(std::int64_t{1})));
    EXPECT_EQ(twice.state, sqlstate::unique_violation);
    bool refused = false;
    try {
      co_await transaction.commit();
    } catch (const std::logic_error&) {
      refused = true;
    }
    EXPECT_TRUE(refused);
    EXPECT_EQ(co_await accounts(database), 0);
  });
}

TEST(Transact, commits_a_value_and_notes_its_position) {
  with_accounts([](Cluster& database, Executor) -> Async<> {
    Written written;
    const auto call = some_call(&written);
    const auto body = [](Transaction& transaction) -> Async<Result<int>> {
      co_await transaction.execute(open_account, Params::of(std::int64_t{1}));
      co_return 7;
    };
    const auto result = co_await transact(database, "value", call, body);
    EXPECT_EQ(result, 7);
    EXPECT_EQ(written.position.timeline, 1);
    EXPECT_GT(written.position.lsn, 0);
    EXPECT_EQ(co_await accounts(database), 1);
    const auto first = written.position;
    co_await transact(database, "value", call, [](Transaction& transaction) -> Async<Result<int>> {
      co_await transaction.execute(add, Params::of(std::int64_t{1}));
      co_return 8;
    });
    EXPECT_GT(written.position, first);
  });
}

TEST(Transact, rolls_back_on_an_error_and_hands_it_on) {
  with_accounts([](Cluster& database, Executor) -> Async<> {
    Written written;
    const auto call = some_call(&written);
    const auto body = [](Transaction& transaction) -> Async<Result<int>> {
      co_await transaction.execute(open_account, Params::of(std::int64_t{1}));
      co_return fail(Code::conflict, "no");
    };
    const auto result = co_await transact(database, "error", call, body);
    EXPECT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::conflict);
    EXPECT_EQ(co_await accounts(database), 0);
    EXPECT_EQ(written.position, Position{});
  });
}

TEST(Transact, rolls_back_on_an_exception_and_lets_it_pass) {
  with_accounts([](Cluster& database, Executor) -> Async<> {
    const auto call = some_call();
    int runs = 0;
    const auto body = [&](Transaction& transaction) -> Async<Result<int>> {
      ++runs;
      co_await transaction.execute(open_account, Params::of(std::int64_t{1}));
      throw std::domain_error("of the body");
    };
    std::string reason;
    try {
      co_await transact(database, "exception", call, body);
    } catch (const std::domain_error& error) {
      reason = error.what();
    }
    EXPECT_EQ(reason, "of the body");
    EXPECT_EQ(runs, 1);
    EXPECT_EQ(co_await accounts(database), 0);
  });
}

TEST(Transact, runs_a_lost_transaction_five_times_at_most) {
  with_accounts([](Cluster& database, Executor) -> Async<> {
    const auto call = some_call();
    int runs = 0;
    const auto body = [&](Transaction& transaction) -> Async<Result<int>> {
      ++runs;
      co_await transaction.execute(open_account, Params::of(std::int64_t{runs}));
      co_await transaction.execute(lose, {});
      co_return 1;
    };
    std::string reason;
    try {
      co_await transact(database, "always_lost", call, body);
    } catch (const Unavailable& error) {
      reason = error.what();
    }
    EXPECT_EQ(reason, "lost");
    EXPECT_EQ(runs, transaction_attempts_max);
    EXPECT_EQ(co_await accounts(database), 0);
  });
}

// Two accounts, locked in opposite order: neither goes on before the other has its first one.
struct Transfers {
  int runs = 0;
  int locked = 0;
  int done = 0;
};

Async<> transfer(Cluster& database, std::int64_t first, std::int64_t second, Transfers& transfers) {
  const auto call = some_call();
  const auto body = [&](Transaction& transaction) -> Async<Result<int>> {
    ++transfers.runs;
    co_await transaction.execute(lock_timeout, {});
    co_await transaction.execute(add, Params::of(first));
    ++transfers.locked;
    while (transfers.locked < 2 && !call.deadline.passed()) co_await sleep_for(milliseconds{5});
    co_await transaction.execute(add, Params::of(second));
    co_return 1;
  };
  const auto result = co_await transact(database, "transfer", call, body);
  if (result) ++transfers.done;
}

TEST(Transact, runs_the_loser_of_a_deadlock_again) {
  with_accounts([](Cluster& database, Executor executor) -> Async<> {
    for (const std::int64_t id : {1, 2}) co_await database.primary().execute(open_account, Params::of(id), soon());
    Transfers transfers;
    Tasks group(executor);
    group.spawn(transfer(database, 1, 2, transfers));
    group.spawn(transfer(database, 2, 1, transfers));
    EXPECT_TRUE(co_await group.join(soon()));
    EXPECT_EQ(transfers.done, 2);
    EXPECT_GE(transfers.runs, 3);
    const auto rows = co_await database.primary().execute(count, {}, soon());
    EXPECT_EQ(rows[0].at<std::int64_t>(1), 4);
  });
}

// Three read the same balance before any of them writes.
struct Increments {
  int runs = 0;
  int read = 0;
  int done = 0;
};

Async<> increment(Cluster& database, Increments& increments) {
  const auto call = some_call();
  const auto body = [&](Transaction& transaction) -> Async<Result<int>> {
    ++increments.runs;
    co_await transaction.execute(serializable, {});
    co_await transaction.execute(balance, Params::of(std::int64_t{1}));
    ++increments.read;
    while (increments.read < 3 && !call.deadline.passed()) co_await sleep_for(milliseconds{5});
    co_await transaction.execute(add, Params::of(std::int64_t{1}));
    co_return 1;
  };
  const auto result = co_await transact(database, "increment", call, body);
  if (result) ++increments.done;
}

TEST(Transact, runs_what_could_not_be_serialized_again) {
  with_accounts([](Cluster& database, Executor executor) -> Async<> {
    co_await database.primary().execute(open_account, Params::of(std::int64_t{1}), soon());
    Increments increments;
    Tasks group(executor);
    for (int i = 0; i < 3; ++i) group.spawn(increment(database, increments));
    EXPECT_TRUE(co_await group.join(soon()));
    EXPECT_EQ(increments.done, 3);
    EXPECT_GT(increments.runs, 3);
    const auto rows = co_await database.primary().execute(count, {}, soon());
    EXPECT_EQ(rows[0].at<std::int64_t>(1), 3);
  });
}

TEST(Transact, runs_again_when_a_table_has_changed_under_its_statements) {
  with_accounts([](Cluster& database, Executor executor) -> Async<> {
    const auto call = some_call();
    int runs = 0;
    const auto body = [&](Transaction& transaction) -> Async<Result<int>> {
      ++runs;
      co_await transaction.execute(everything, {});
      co_return 1;
    };
    // Every connection of the pool has planned the statement.
    {
      std::vector<Transaction> transactions;
      for (int i = 0; i < 4; ++i) transactions.push_back(co_await database.begin(soon()));
      for (auto& transaction : transactions) co_await transaction.execute(everything, {});
      for (auto& transaction : transactions) co_await transaction.commit();
    }
    co_await administrate(executor, "ALTER TABLE accounts ADD COLUMN note text");
    auto transaction = co_await database.begin(soon());
    bool is_retryable = false;
    try {
      co_await transaction.execute(everything, {});
    } catch (const Retryable&) {
      is_retryable = true;
    }
    EXPECT_TRUE(is_retryable);
    // Once for each connection at most, and there is one that is planned anew already.
    EXPECT_EQ(co_await transact(database, "changed_table", call, body), 1);
    EXPECT_GE(runs, 2);
    EXPECT_LE(runs, 4);
  });
}

// Whoever goes on in a failed transaction leaves behind what cannot be prepared anew there.
TEST(Transact, recovers_from_a_table_that_changed_in_a_transaction_that_went_on) {
  with_accounts([](Cluster& database, Executor executor) -> Async<> {
    const auto call = some_call();
    const auto body = [](Transaction& transaction) -> Async<Result<int>> {
      co_await transaction.execute(everything, {});
      co_return 1;
    };
    {
      auto transaction = co_await database.begin(soon());
      co_await transaction.execute(everything, {});
      co_await transaction.commit();
    }
    co_await administrate(executor, "ALTER TABLE accounts ADD COLUMN other text");
    {
      auto transaction = co_await database.begin(soon());
      for (int i = 0; i < 2; ++i) co_await outcome_of(transaction.execute(everything, {}));
    }
    for (int i = 0; i < 3; ++i) EXPECT_EQ(co_await transact(database, "went_on", call, body), 1);
  });
}

TEST(Transact, never_runs_a_committed_transaction_again) {
  with_accounts([](Cluster& database, Executor) -> Async<> {
    const auto call = some_call();
    int runs = 0;
    const auto body = [&](Transaction& transaction) -> Async<Result<int>> {
      co_await transaction.execute(open_account, Params::of(std::int64_t{++runs}));
      if (runs == 2) co_await transaction.execute(forget_position, {});
      co_return 1;
    };
    EXPECT_EQ(co_await transact(database, "first", call, body), 1);
    EXPECT_EQ(co_await transact(database, "second", call, body), 1);
    EXPECT_EQ(runs, 2);
    EXPECT_EQ(co_await accounts(database), 2);
  });
}

}  // namespace
}  // namespace cognive::pg::test
