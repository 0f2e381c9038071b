// The rules of who is primary, who may be read, and how far behind whom: from what hosts say, without any host.
#include "pg/topology.hpp"

#include <gtest/gtest.h>

namespace cognive::pg {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds lag_max{5'000};

// A world of three hosts whose clock the test moves.
class Hosts : public ::testing::Test {
 protected:
  Hosts() {
    for (std::size_t i = 0; i < reports.size(); ++i) is_standby(i);
    is_primary(0, 100);
  }

  void is_primary(std::size_t i, std::uint64_t lsn, std::uint32_t timeline = 1) {
    auto& report = reports[i] = {};
    report.reachable = true;
    report.identity = {.system = "7001", .timeline = timeline, .started_at = Timestamp{static_cast<std::int64_t>(i)}};
    report.lsn = lsn;
  }
  void is_standby(std::size_t i, std::uint64_t replayed = 100, std::uint32_t timeline = 1) {
    is_primary(i, replayed, timeline);
    reports[i].identity.in_recovery = reports[i].identity.read_only = true;
    reports[i].receive_lsn = replayed;
    reports[i].receiver = HostReport::Receiver::streaming;
  }
  void is_gone(std::size_t i) {
    reports[i] = {};
    reports[i].failure = "connection refused";
  }
  Topology look(milliseconds later = milliseconds{0}) {
    now += later;
    for (auto& report : reports) report.asked_at = now;
    return judge.judge(reports, now);
  }

  std::vector<HostReport> reports{3};
  Judge judge{{"a", "b", "c"}, lag_max};
  Instant now{seconds{1'000}};
};

TEST_F(Hosts, an_idle_replica_does_not_lag_however_long_ago_the_last_transaction_was) {
  reports[1].replay_age = std::chrono::hours{5};
  for (int i = 0; i < 3; ++i) {
    const auto topology = look(seconds{1});
    EXPECT_EQ(topology.hosts[1].lag, milliseconds{0});
    EXPECT_EQ(topology.hosts[1].lag_bytes, 0);
    EXPECT_TRUE(topology.hosts[1].routed);
  }
}

TEST_F(Hosts, lag_is_the_age_of_the_oldest_log_that_is_not_replayed) {
  look();
  is_primary(0, 200);
  EXPECT_EQ(look(seconds{1}).hosts[1].lag, milliseconds{0});  // seen to be behind just now
  is_primary(0, 300);
  const auto behind = look(seconds{2});
  EXPECT_EQ(behind.hosts[1].lag, seconds{2});
  EXPECT_EQ(behind.hosts[1].lag_bytes, 200);
  is_standby(1, 200);  // has the first part: the rest is younger
  EXPECT_EQ(look(seconds{1}).hosts[1].lag, seconds{1});
  is_standby(1, 300);
  EXPECT_EQ(look(seconds{9}).hosts[1].lag, milliseconds{0});
}

TEST_F(Hosts, a_replica_over_the_limit_is_not_read_until_it_has_caught_up) {
  look();
  is_primary(0, 200);
  look(seconds{1});
  EXPECT_TRUE(look(lag_max).hosts[1].routed);
  const auto late = look(milliseconds{1});
  EXPECT_FALSE(late.hosts[1].routed);
  EXPECT_EQ(late.hosts[1].not_routed, "it is 5001 ms behind, the limit is 5000 ms");
  is_standby(1, 200);
  EXPECT_TRUE(look().hosts[1].routed);
}

TEST_F(Hosts, a_replica_that_was_behind_before_the_first_look_is_as_late_as_it_says_itself) {
  is_standby(1, 50);
  reports[1].replay_age = std::chrono::hours{1};
  EXPECT_EQ(look().hosts[1].lag, std::chrono::hours{1});
  reports[1].replay_age.reset();
  const auto unknown = look();
  EXPECT_EQ(unknown.hosts[1].lag, std::nullopt);
  EXPECT_FALSE(unknown.hosts[1].routed);
}

TEST_F(Hosts, a_paused_replica_falls_behind_and_says_so) {
  look();
  reports[1].replay_paused = true;
  EXPECT_EQ(look().hosts[1].state, HostState::paused);
  is_primary(0, 200);
  reports[1].receive_lsn = 200;
  look(seconds{1});
  EXPECT_EQ(look(seconds{3}).hosts[1].lag, seconds{3});
}

TEST_F(Hosts, a_dead_replica_is_unreachable_and_has_no_lag_at_all) {
  is_gone(1);
  const auto topology = look();
  EXPECT_EQ(topology.hosts[1].state, HostState::unreachable);
  EXPECT_EQ(topology.hosts[1].lag, std::nullopt);
  EXPECT_FALSE(topology.hosts[1].routed);
  EXPECT_TRUE(topology.hosts[2].routed);
}

TEST_F(Hosts, a_replica_that_receives_nothing_is_not_read) {
  reports[1].receiver = HostReport::Receiver::none;
  const auto topology = look();
  EXPECT_EQ(topology.hosts[1].state, HostState::disconnected);
  EXPECT_FALSE(topology.hosts[1].routed);
}

TEST_F(Hosts, a_role_that_may_not_see_the_receiver_still_gets_its_replicas) {
  reports[1].receiver = HostReport::Receiver::hidden;
  EXPECT_TRUE(look().hosts[1].routed);
}

TEST_F(Hosts, writes_stay_with_a_primary_that_merely_does_not_answer) {
  look();
  is_gone(0);
  const auto topology = look();
  EXPECT_EQ(topology.primary, 0);
  EXPECT_FALSE(topology.primary_answers());
  EXPECT_FALSE(topology.hosts[1].routed);  // how far it is behind cannot be known
  EXPECT_EQ(topology.hosts[1].lag, std::nullopt);
  EXPECT_EQ(topology.hosts[1].lag_bytes, 0);  // of what was known last
}

TEST_F(Hosts, writes_follow_the_host_that_was_promoted) {
  look();
  is_gone(0);
  look(seconds{1});
  is_primary(1, 120, 2);
  auto topology = look(seconds{1});
  EXPECT_EQ(topology.primary, 1);
  EXPECT_FALSE(topology.hosts[2].routed);
  EXPECT_EQ(topology.hosts[2].not_routed, "it is on timeline 1, the primary on 2");
  is_standby(2, 120, 2);
  topology = look(seconds{1});
  EXPECT_TRUE(topology.hosts[2].routed);
  EXPECT_TRUE(topology.problems.empty());
}

TEST_F(Hosts, an_old_primary_that_comes_back_is_never_written_to) {
  look();
  is_gone(0);
  is_primary(1, 120, 2);
  look(seconds{1});
  is_primary(0, 900, 1);
  auto topology = look(seconds{1});
  EXPECT_EQ(topology.primary, 1);
  EXPECT_EQ(topology.hosts[0].state, HostState::outdated);
  EXPECT_EQ(topology.problems.size(), 1);
  // Not even when the new one is lost.
  is_gone(1);
  topology = look(seconds{1});
  EXPECT_EQ(topology.primary, 1);
  EXPECT_FALSE(topology.primary_answers());
}

TEST_F(Hosts, an_old_primary_that_is_back_before_the_others_were_asked_waits_for_them) {
  look();
  is_gone(0);
  look(seconds{1});
  // It answers first, as it was before but for its start; the promoted one has not been asked since.
  is_primary(0, 100, 1);
  reports[0].identity.started_at = Timestamp{77};
  now += seconds{1};
  reports[0].asked_at = now;
  auto topology = judge.judge(reports, now);
  EXPECT_EQ(topology.primary, std::nullopt);
  EXPECT_TRUE(topology.undecided);
  is_primary(1, 120, 2);
  topology = look(milliseconds{1});
  EXPECT_EQ(topology.primary, 1);
  EXPECT_EQ(topology.hosts[0].state, HostState::outdated);
}

TEST_F(Hosts, a_primary_that_merely_restarted_gets_the_writes_back_once_all_others_were_asked) {
  look();
  reports[0].identity.started_at = Timestamp{77};
  now += seconds{1};
  reports[0].asked_at = now;
  EXPECT_EQ(judge.judge(reports, now).primary, std::nullopt);
  is_gone(1);  // a host that fails to answer has been asked, too
  EXPECT_EQ(look(milliseconds{1}).primary, 0);
}

TEST_F(Hosts, a_fresh_process_chooses_nobody_before_it_has_asked_everybody) {
  is_gone(0);
  is_primary(1, 120, 2);
  is_primary(2, 130, 2);
  reports[1].asked_at = now;
  EXPECT_EQ(judge.judge(reports, now).primary, std::nullopt);
  EXPECT_EQ(look().primary, std::nullopt);  // nothing tells the two apart
}

TEST_F(Hosts, a_standby_that_follows_a_newer_timeline_tells_on_the_old_primary) {
  is_gone(1);
  is_standby(2, 120, 2);
  const auto topology = look();
  EXPECT_EQ(topology.primary, std::nullopt);
  EXPECT_EQ(topology.hosts[0].state, HostState::outdated);
}

TEST_F(Hosts, of_two_primaries_on_one_timeline_the_one_that_had_the_writes_keeps_them) {
  is_primary(1, 120, 2);
  is_gone(0);
  EXPECT_EQ(look().primary, 1);
  is_primary(2, 130, 2);
  const auto topology = look();
  EXPECT_EQ(topology.primary, 1);
  EXPECT_EQ(topology.hosts[2].state, HostState::outdated);
  EXPECT_EQ(topology.problems.size(), 1);
}

TEST_F(Hosts, of_two_primaries_nobody_is_written_to_when_nothing_tells_them_apart) {
  is_gone(0);
  is_primary(1, 120, 2);
  is_primary(2, 130, 2);
  const auto topology = look();
  EXPECT_EQ(topology.primary, std::nullopt);
  EXPECT_FALSE(topology.no_primary.empty());
}

TEST_F(Hosts, one_server_named_twice_is_one_server) {
  reports[1] = reports[0];
  const auto topology = look();
  EXPECT_EQ(topology.primary, 0);
  EXPECT_FALSE(topology.hosts[1].routed);
  EXPECT_TRUE(topology.problems.empty());
}

TEST_F(Hosts, a_primary_that_is_read_only_is_never_written_to) {
  reports[0].identity.read_only = true;
  const auto topology = look();
  EXPECT_EQ(topology.primary, std::nullopt);
  EXPECT_NE(topology.no_primary.find("read-only"), std::string::npos);
}

TEST_F(Hosts, a_host_of_another_database_system_is_not_used) {
  look();
  reports[1].identity.system = "8002";
  const auto topology = look();
  EXPECT_EQ(topology.hosts[1].state, HostState::foreign);
  EXPECT_FALSE(topology.hosts[1].routed);
}

TEST_F(Hosts, a_foreign_host_is_foreign_from_the_first_look_on_however_late_its_timeline) {
  is_primary(1, 900, 7);
  reports[1].identity.system = "8002";
  const auto topology = look();
  EXPECT_EQ(topology.primary, 0);
  EXPECT_EQ(topology.hosts[1].state, HostState::foreign);
  EXPECT_EQ(topology.hosts[2].state, HostState::streaming);
}

TEST_F(Hosts, a_second_primary_does_not_get_the_writes_because_the_first_one_is_silent_for_a_moment) {
  is_primary(2, 130);
  EXPECT_EQ(look().primary, 0);
  const auto before = reports[0];
  is_gone(0);
  const auto silent = look(seconds{1});
  EXPECT_EQ(silent.primary, 0);
  EXPECT_FALSE(silent.primary_answers());
  reports[0] = before;
  EXPECT_EQ(look(seconds{1}).primary, 0);
}

TEST_F(Hosts, when_the_hosts_disagree_about_the_database_and_that_of_database_url_is_silent_nobody_is_used) {
  is_gone(0);
  is_primary(1, 100, 3);
  reports[1].identity.system = "8002";
  EXPECT_EQ(look().primary, std::nullopt);
  is_primary(0, 100);
  const auto topology = look(seconds{1});
  EXPECT_EQ(topology.primary, 0);
  EXPECT_EQ(topology.hosts[1].state, HostState::foreign);
}

TEST_F(Hosts, of_foreign_hosts_the_standby_is_not_read_either) {
  reports[1].identity.system = "8002";
  reports[1].identity.timeline = 9;
  const auto topology = look();
  EXPECT_EQ(topology.primary, 0);
  EXPECT_EQ(topology.hosts[1].state, HostState::foreign);
  EXPECT_FALSE(topology.hosts[1].routed);
}

TEST_F(Hosts, a_restarted_server_is_not_taken_for_the_one_before) {
  const auto before = reports[0].identity;
  auto after = before;
  EXPECT_TRUE(after.is_still(before));
  after.started_at.micros += 1;
  EXPECT_FALSE(after.is_still(before));
  after = before;
  after.in_recovery = true;
  EXPECT_FALSE(after.is_still(before));
}

}  // namespace
}  // namespace cognive::pg
