// Commits that wait for a standby which never comes: what is not known to be safe is never reported as done, and no
// backend is left waiting.
#include "pg/test_support.hpp"

namespace cognive::pg::test {
namespace {

constexpr Query store_word{"store_word", "INSERT INTO words VALUES ($1)"};
constexpr Query waiting_backends{"waiting_backends", "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"};
constexpr Query cancel_backend{"cancel_backend", "SELECT pg_cancel_backend($1)"};

Async<std::vector<std::int32_t>> waiting(Connection& watcher) {
  const auto rows = co_await watcher.execute(waiting_backends, {}, soon());
  std::vector<std::int32_t> out;
  for (int i = 0; i < rows.size(); ++i) out.push_back(rows[i].at<std::int32_t>(0));
  co_return out;
}

Async<bool> nobody_waits(Connection& watcher) {
  const std::function<Async<bool>()> none = [&]() -> Async<bool> { co_return (co_await waiting(watcher)).empty(); };
  co_return co_await eventually(none, milliseconds{3'000});
}

Async<> begin_waiting(Connection& superuser) {
  co_await superuser.run_script("CREATE TABLE IF NOT EXISTS words (word text); GRANT ALL ON words TO cognive", soon());
  co_await superuser.run_script("ALTER SYSTEM SET synchronous_standby_names = 'nobody'", soon());
  co_await superuser.run_script("SELECT pg_reload_conf()", soon());
}

Async<> end_waiting(Connection& superuser) {
  co_await superuser.run_script("ALTER SYSTEM RESET synchronous_standby_names", soon());
  co_await superuser.run_script("SELECT pg_reload_conf()", soon());
}

Async<Rows> stored_in_transaction(Pool& pool, Deadline deadline) {
  auto transaction = co_await pool.begin(deadline);
  co_await transaction.execute(store_word, Params::of("in a transaction"));
  co_await transaction.commit();
  co_return Rows{};
}

Async<Rows> stored_at_once(Pool& pool, Deadline deadline) {
  Call call;
  call.deadline = deadline;
  co_return co_await pool.write(store_word, Params::of("at once"), call);
}

// Whoever waits for the standby is interrupted until the statement has ended.
Async<bool> interrupted(Connection& superuser, const Query& interruption, const Outcome& outcome) {
  const std::function<Async<bool>()> has_ended = [&]() -> Async<bool> {
    for (const auto pid : co_await waiting(superuser)) {
      co_await superuser.execute(interruption, Params::of(pid), soon());
    }
    co_return outcome.ends > 0;
  };
  co_return co_await eventually(has_ended, milliseconds{10'000});
}

// A pool, a superuser's connection that watches, and a server that waits for its standby before it says COMMIT.
void with_missing_standby(const std::function<Async<>(Pool&, Connection&, Executor)>& test) {
  with_pool([&](Pool& pool, Executor executor) -> Async<> {
    const auto superuser = co_await open_superuser(executor);
    co_await begin_waiting(*superuser);
    // Commits do not wait until the server has heard of its new setting.
    const std::function<Async<bool>()> is_in_force = [&]() -> Async<bool> {
      Tasks group(executor);
      Outcome outcome;
      group.spawn(note_outcome(stored_at_once(pool, soon()), outcome));
      EXPECT_TRUE(co_await interrupted(*superuser, cancel_backend, outcome));
      co_return outcome.kind != Outcome::Kind::answered;
    };
    EXPECT_TRUE(co_await eventually(is_in_force, milliseconds{10'000}));
    std::exception_ptr failure;
    try {
      co_await test(pool, *superuser, executor);
    } catch (...) {
      failure = std::current_exception();
    }
    co_await end_waiting(*superuser);
    const std::function<Async<bool>()> is_over = [&]() -> Async<bool> {
      const auto call = Call{.principal = {}, .request_id = {}, .deadline = Deadline::in(milliseconds{500})};
      co_return (co_await outcome_of(pool.write(store_word, Params::of("probe"), call))).kind ==
          Outcome::Kind::answered;
    };
    EXPECT_TRUE(co_await eventually(is_over, milliseconds{5'000}));
    if (failure) std::rethrow_exception(failure);
  });
}

using Storing = Async<Rows> (*)(Pool&, Deadline);
constexpr Storing both_ways[] = {stored_in_transaction, stored_at_once};

TEST(MissingStandby, makes_a_commit_unavailable_at_its_deadline_and_leaves_no_backend_waiting) {
  with_missing_standby([](Pool& pool, Connection& watcher, Executor) -> Async<> {
    for (const auto store : both_ways) {
      const auto outcome = co_await outcome_of(store(pool, Deadline::in(milliseconds{400})));
      EXPECT_EQ(outcome.kind, Outcome::Kind::unavailable) << outcome.reason;
      EXPECT_GE(outcome.took, milliseconds{399});
      EXPECT_LT(outcome.took, milliseconds{900});
      EXPECT_TRUE(co_await nobody_waits(watcher));
      // Connections go on: what does not commit anything does not wait.
      EXPECT_EQ((co_await pool.execute(one, {}, soon()))[0].at<std::int64_t>(0), 1);
    }
  });
}

// The commit succeeds then, as far as the server's answer goes, with a warning beside it.
void is_in_doubt_after(const Query& interruption) {
  with_missing_standby([&](Pool& pool, Connection& watcher, Executor executor) -> Async<> {
    for (const auto store : both_ways) {
      Tasks group(executor);
      Outcome outcome;
      group.spawn(note_outcome(store(pool, soon()), outcome));
      EXPECT_TRUE(co_await interrupted(watcher, interruption, outcome));
      EXPECT_TRUE(co_await group.join(soon()));
      EXPECT_EQ(outcome.kind, Outcome::Kind::unavailable) << outcome.reason;
      EXPECT_EQ(outcome.ends, 1);
      EXPECT_TRUE(co_await nobody_waits(watcher));
    }
  });
}

TEST(MissingStandby, makes_a_commit_unavailable_whose_wait_somebody_cancels) {
  is_in_doubt_after(cancel_backend);
}

TEST(MissingStandby, makes_a_commit_unavailable_whose_backend_somebody_terminates) {
  is_in_doubt_after(terminate);
}

TEST(MissingStandby, leaves_no_backend_waiting_when_the_pool_gives_up_its_connections) {
  with_missing_standby([](Pool& pool, Connection& watcher, Executor executor) -> Async<> {
    for (const auto store : both_ways) {
      Tasks group(executor);
      Outcome outcome;
      group.spawn(note_outcome(store(pool, soon()), outcome));
      const std::function<Async<bool>()> somebody_waits = [&]() -> Async<bool> {
        co_return !(co_await waiting(watcher)).empty();
      };
      EXPECT_TRUE(co_await eventually(somebody_waits, milliseconds{3'000}));
      pool.drop("the test gives it up");
      EXPECT_TRUE(co_await group.join(soon()));
      EXPECT_EQ(outcome.kind, Outcome::Kind::unavailable);
      EXPECT_EQ(outcome.reason, "the test gives it up");
      EXPECT_TRUE(co_await nobody_waits(watcher));
    }
  });
}

}  // namespace
}  // namespace cognive::pg::test
