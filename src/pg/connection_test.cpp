// One connection on a bad way to its server: cut, truncated, frozen, slow. Nobody waits for ever, and nothing holds up
// the event loop.
#include "pg/connection.hpp"

#include <signal.h>

#include "pg/test_support.hpp"

namespace cognive::pg::test {
namespace {

constexpr Query big{"big", "SELECT repeat('x', 1000) FROM generate_series(1, 2000)"};
constexpr Query long_sleep{"long_sleep", "SELECT pg_sleep(30)::text, 'to be cut'"};
constexpr Query frozen{"frozen", "SELECT pg_sleep(30)::text, 'behind a frozen relay'"};
constexpr Query not_frozen{"not_frozen", "SELECT pg_sleep(30)::text, 'on a healthy server'"};

TEST(Open, refuses_a_wrong_password_without_naming_it) {
  run_test([](Executor executor) -> Async<> {
    auto url = server().tcp_url();
    url = "postgresql://cognive:hunter2" + url.substr(url.find('@'));
    const auto outcome = co_await outcome_of_opening(executor, url, soon());
    EXPECT_EQ(outcome.kind, Outcome::Kind::unavailable);
    EXPECT_NE(outcome.reason.find("password authentication failed"), std::string::npos) << outcome.reason;
    EXPECT_EQ(outcome.reason.find("hunter2"), std::string::npos);
  });
}

std::string with_host(const std::string& hosts) {
  const auto url = server().tcp_url();
  const auto begin = url.find('@') + 1;
  return url.substr(0, begin) + hosts + url.substr(url.find('/', begin));
}

TEST(Open, goes_on_to_the_next_host_of_the_url_when_one_refuses) {
  run_test([](Executor executor) -> Async<> {
    Relay closed(executor);
    closed.close_port();
    const auto hosts = fmt::format("127.0.0.1:{},127.0.0.1:{}", closed.port(), server().primary().port());
    const auto outcome = co_await outcome_of_opening(executor, with_host(hosts), soon());
    EXPECT_EQ(outcome.kind, Outcome::Kind::answered) << outcome.reason;
  });
}

TEST(Open, finds_a_host_by_its_name) {
  run_test([](Executor executor) -> Async<> {
    const auto host = fmt::format("localhost:{}", server().primary().port());
    const auto outcome = co_await outcome_of_opening(executor, with_host(host), soon());
    EXPECT_EQ(outcome.kind, Outcome::Kind::answered) << outcome.reason;
  });
}

TEST(Open, says_which_name_does_not_exist_and_holds_up_nobody_meanwhile) {
  run_test([](Executor executor) -> Async<> {
    const Ticker ticker(executor);
    const auto outcome = co_await outcome_of_opening(executor, with_host("no-such-host.invalid:5432"),
                                                     Deadline::in(milliseconds{2'000}));
    EXPECT_EQ(outcome.kind, Outcome::Kind::unavailable);
    EXPECT_NE(outcome.reason.find("no-such-host.invalid"), std::string::npos) << outcome.reason;
    EXPECT_LT(outcome.took, milliseconds{2'500});
    EXPECT_LT(ticker.longest_gap(), gap_max);
  });
}

// The server listens on IPv4 only: what matters is that the address is understood, tried, and named.
TEST(Open, understands_an_ipv6_address) {
  run_test([](Executor executor) -> Async<> {
    const auto port = server().primary().port();
    auto outcome = co_await outcome_of_opening(executor, with_host(fmt::format("[::1]:{}", port)), soon());
    EXPECT_EQ(outcome.kind, Outcome::Kind::unavailable);
    EXPECT_NE(outcome.reason.find("::1"), std::string::npos) << outcome.reason;
    const auto both = fmt::format("[::1]:{},127.0.0.1:{}", port, port);
    outcome = co_await outcome_of_opening(executor, with_host(both), soon());
    EXPECT_EQ(outcome.kind, Outcome::Kind::answered) << outcome.reason;
  });
}

TEST(Open, ends_at_its_deadline_when_the_server_says_nothing) {
  run_test([](Executor executor) -> Async<> {
    Relay relay(executor);
    relay.stall();
    const Ticker ticker(executor);
    const auto outcome = co_await outcome_of_opening(executor, relay.url(), Deadline::in(milliseconds{300}));
    EXPECT_EQ(outcome.kind, Outcome::Kind::unavailable);
    EXPECT_GE(outcome.took, milliseconds{299});
    EXPECT_LT(outcome.took, milliseconds{800});
    EXPECT_LT(ticker.longest_gap(), gap_max);
  });
}

// Authentication, session, identity: at whichever byte the way ends, the caller hears of it at once.
TEST(Open, fails_wherever_it_is_cut) {
  run_test([](Executor executor) -> Async<> {
    Relay relay(executor);
    for (std::size_t bytes = 1; bytes < 1'100; bytes += 60) {
      Outcome outcome;
      Tasks group(executor);
      relay.stall();
      const auto opening = [](Executor on, std::string url) -> Async<Rows> {
        co_await Connection::open(on, url, milliseconds{0}, soon());
        co_return Rows{};
      };
      group.spawn(note_outcome(opening(executor, relay.url()), outcome));
      co_await sleep_for(milliseconds{5});
      relay.cut_after(bytes);
      relay.flow();
      EXPECT_TRUE(co_await group.join(Deadline::in(milliseconds{5'000}))) << bytes;
      EXPECT_EQ(outcome.ends, 1);
      EXPECT_NE(outcome.kind, Outcome::Kind::other) << bytes << ": " << outcome.reason;
      EXPECT_NE(outcome.kind, Outcome::Kind::refused) << bytes << ": " << outcome.reason;
    }
  });
}

TEST(EventLoop, goes_on_while_a_big_result_dribbles_in) {
  run_test([](Executor executor) -> Async<> {
    Relay relay(executor);
    const auto connection = co_await Connection::open(executor, relay.url(), milliseconds{0}, soon());
    relay.dribble(16UL * 1024, milliseconds{3});
    const Ticker ticker(executor);
    const auto rows = co_await connection->execute(big, {}, soon());
    EXPECT_EQ(rows.size(), 2000);
    EXPECT_LT(ticker.longest_gap(), gap_max);
  });
}

TEST(EventLoop, goes_on_while_the_server_is_frozen_and_a_cancellation_is_under_way) {
  run_test([](Executor executor) -> Async<> {
    Relay relay(executor);
    const auto connection = co_await Connection::open(executor, relay.url(), milliseconds{0}, soon());
    co_await connection->execute(one, {}, soon());
    const auto accepted = relay.accepted();
    relay.stall();
    const Ticker ticker(executor);
    Tasks group(executor);
    Outcome hasty;
    std::vector<Outcome> patient(5);
    group.spawn(note_outcome(connection->execute(one, {}, Deadline::in(milliseconds{300})), hasty));
    for (auto& outcome : patient) group.spawn(note_outcome(connection->execute(one, {}, soon()), outcome));
    EXPECT_TRUE(co_await group.join(soon()));
    EXPECT_EQ(hasty.kind, Outcome::Kind::unavailable);
    EXPECT_LT(hasty.took, milliseconds{700});
    for (const auto& outcome : patient) {
      EXPECT_EQ(outcome.kind, Outcome::Kind::unavailable);
      EXPECT_LT(outcome.took, milliseconds{4'000});
    }
    EXPECT_TRUE(connection->broken());
    EXPECT_EQ(relay.accepted(), accepted + 1);  // the cancellation
    EXPECT_LT(ticker.longest_gap(), gap_max);
  });
}

TEST(Cancellation, is_not_held_up_by_servers_that_are_frozen) {
  run_test([](Executor executor) -> Async<> {
    Relay relay(executor);
    std::vector<std::unique_ptr<Connection>> connections;
    for (int i = 0; i < 4; ++i) {
      connections.push_back(co_await Connection::open(executor, relay.url(), milliseconds{0}, soon()));
    }
    const auto healthy = co_await open_connection(executor);
    const auto watcher = co_await open_superuser(executor);
    relay.stall();
    Tasks group(executor);
    std::vector<Outcome> outcomes(connections.size());
    for (std::size_t i = 0; i < connections.size(); ++i) {
      group.spawn(note_outcome(connections[i]->execute(frozen, {}, Deadline::in(milliseconds{50})), outcomes[i]));
    }
    EXPECT_TRUE(co_await group.join(soon()));
    const auto outcome = co_await outcome_of(healthy->execute(not_frozen, {}, Deadline::in(milliseconds{200})));
    EXPECT_EQ(outcome.kind, Outcome::Kind::unavailable);
    const std::function<Async<bool>()> has_ended = [&]() -> Async<bool> {
      co_return (co_await watcher->execute(running, Params::of("on a healthy server"), soon()))[0].at<std::int64_t>(
          0) == 0;
    };
    EXPECT_TRUE(co_await eventually(has_ended, milliseconds{1'500}));
    EXPECT_EQ((co_await healthy->execute(one, {}, soon()))[0].at<std::int64_t>(0), 1);
    connections.clear();
  });
}

// Statements in flight on connections through a relay; what the test does then must end every one of them, once.
void all_are_unavailable(const std::function<Async<>(Relay&)>& harm, const Query& query) {
  const auto body = [&](Executor executor) -> Async<> {
    Relay relay(executor);
    std::vector<std::unique_ptr<Connection>> connections;
    for (int i = 0; i < 3; ++i) {
      connections.push_back(co_await Connection::open(executor, relay.url(), milliseconds{0}, soon()));
    }
    Tasks group(executor);
    std::vector<Outcome> outcomes(90);
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
      group.spawn(note_outcome(connections[i % connections.size()]->execute(query, {}, soon()), outcomes[i]));
    }
    co_await sleep_for(milliseconds{50});
    co_await harm(relay);
    EXPECT_TRUE(co_await group.join(Deadline::in(milliseconds{10'000})));
    for (const auto& outcome : outcomes) {
      EXPECT_EQ(outcome.kind, Outcome::Kind::unavailable) << outcome.reason;
      EXPECT_EQ(outcome.ends, 1);
      EXPECT_FALSE(outcome.reason.empty());
    }
    for (const auto& connection : connections) {
      EXPECT_TRUE(connection->broken());
      EXPECT_EQ(connection->in_flight(), 0);
      const auto after = co_await outcome_of(connection->execute(one, {}, soon()));
      EXPECT_EQ(after.kind, Outcome::Kind::unavailable);
    }
  };
  run_test(body);
}

TEST(Lost, cut_connection_makes_every_statement_in_flight_unavailable_once) {
  all_are_unavailable(
      [](Relay& relay) -> Async<> {
        relay.cut();
        co_return;
      },
      long_sleep);
}

TEST(Lost, connection_that_ends_on_the_servers_side_makes_every_statement_unavailable_once) {
  all_are_unavailable(
      [](Relay& relay) -> Async<> {
        relay.stall();
        relay.end_answers();
        co_return;
      },
      long_sleep);
}

TEST(Lost, connection_cut_in_the_middle_of_a_message_makes_every_statement_unavailable_once) {
  for (const std::size_t bytes : {1UL, 3UL, 7UL, 500UL, 100'001UL}) {
    const auto harm = [bytes](Relay& relay) -> Async<> {
      relay.cut_after(bytes);
      relay.flow();
      co_return;
    };
    // Nothing of the answer passes before the cut is set.
    const auto body = [&](Executor executor) -> Async<> {
      Relay relay(executor);
      const auto connection = co_await Connection::open(executor, relay.url(), milliseconds{0}, soon());
      relay.stall();
      Tasks group(executor);
      std::vector<Outcome> outcomes(10);
      for (auto& outcome : outcomes) group.spawn(note_outcome(connection->execute(big, {}, soon()), outcome));
      co_await sleep_for(milliseconds{20});
      co_await harm(relay);
      EXPECT_TRUE(co_await group.join(Deadline::in(milliseconds{10'000})));
      for (const auto& outcome : outcomes) {
        EXPECT_EQ(outcome.kind, Outcome::Kind::unavailable) << outcome.reason;
        EXPECT_EQ(outcome.ends, 1);
      }
      EXPECT_TRUE(connection->broken());
    };
    run_test(body);
  }
}

// SIGKILL to one backend makes the server end all others and recover: to its clients, a crash.
TEST(Lost, server_that_crashes_makes_every_statement_unavailable_once_and_is_back_afterwards) {
  auto options = pool_options(2, 2);
  with_pool(
      [](Pool& pool, Executor executor) -> Async<> {
        const auto victim = co_await open_superuser(executor);
        const auto pid = (co_await victim->execute(backend, {}, soon()))[0].at<std::int32_t>(0);
        Tasks group(executor);
        std::vector<Outcome> outcomes(40);
        for (auto& outcome : outcomes) group.spawn(note_outcome(pool.execute(long_sleep, {}, soon()), outcome));
        std::optional<Transaction> open_transaction(co_await pool.begin(soon()));
        co_await sleep_for(milliseconds{100});
        EXPECT_EQ(::kill(pid, SIGKILL), 0);
        EXPECT_TRUE(co_await group.join(Deadline::in(milliseconds{10'000})));
        for (const auto& outcome : outcomes) {
          EXPECT_EQ(outcome.kind, Outcome::Kind::unavailable) << outcome.reason;
          EXPECT_EQ(outcome.ends, 1);
        }
        const auto lost = co_await outcome_of(open_transaction->execute(one, {}));
        EXPECT_EQ(lost.kind, Outcome::Kind::unavailable);
        open_transaction.reset();
        const std::function<Async<bool>()> is_back = [&]() -> Async<bool> {
          co_return (co_await outcome_of(pool.execute(one, {}, Deadline::in(milliseconds{2'000})))).kind ==
              Outcome::Kind::answered;
        };
        EXPECT_TRUE(co_await eventually(is_back, milliseconds{15'000}));
      },
      options);
}

}  // namespace
}  // namespace cognive::pg::test
