// Streaming replicas: how they are made, how they keep up, and what becomes of everybody when one is promoted.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "embedded/cluster.hpp"
#include "embedded/test_support.hpp"

namespace cognive::embedded {
namespace {
namespace fs = std::filesystem;
using namespace std::chrono_literals;
using namespace test;

class Replicas : public TemporaryDirectory {
 protected:
  void TearDown() override {
    started_.reset();
    TemporaryDirectory::TearDown();
  }

  // Makes or starts everything; nothing when that failed.
  Cluster* begin(int replicas, int max_connections = 100) {
    started_.reset();
    const auto begin = Clock::now();
    started_ = start(path_, {.replicas = replicas, .max_connections = max_connections});
    fmt::print("start with {} replicas: {} ms\n", replicas, (Clock::now() - begin) / 1ms);
    if (!started_ || !started_->cluster) {
      ADD_FAILURE() << (started_ ? started_->cluster.error().detail : "no directory");
      return nullptr;
    }
    return &*started_->cluster;
  }

  // Calls watch() until the condition holds, and collects its news.
  bool watched_until(Cluster& cluster, const std::function<bool()>& condition) {
    return eventually(
        [&] {
          const auto more = cluster.watch();
          if (!more) ADD_FAILURE() << more.error().detail;
          if (more) news_.insert(news_.end(), more->begin(), more->end());
          return !more || condition();
        },
        60s);
  }

  bool has_news(std::string_view part) const {
    return std::ranges::any_of(news_, [&](const std::string& line) { return line.contains(part); });
  }

  static std::string streaming(const Cluster& cluster) {
    return answer(cluster.superuser_url(),
                  "SELECT string_agg(application_name, ' ' ORDER BY application_name) FROM pg_stat_replication "
                  "WHERE state = 'streaming'");
  }

  static std::string slots(const Cluster& cluster) {
    return answer(cluster.superuser_url(),
                  "SELECT string_agg(slot_name || CASE WHEN active THEN '+' ELSE '-' END, ' ' ORDER BY slot_name) FROM "
                  "pg_replication_slots");
  }

  // Whether every replica shows what was written on the primary.
  static bool arrives(const Cluster& cluster, const std::string& table) {
    for (const auto& url : cluster.replica_socket_urls()) {
      if (!eventually([&] { return answer(url, "SELECT count(*) FROM " + table) == "1"; })) return false;
    }
    return true;
  }

  static void write(const Cluster& cluster, const std::string& table) {
    EXPECT_EQ(answer(cluster.socket_url(), fmt::format("CREATE TABLE {0} AS SELECT 1 AS n; SELECT n FROM {0}", table)),
              "1");
  }

  static std::string primary_name(const Cluster& cluster) { return cluster.primary().name(); }

  std::vector<std::string> kept_aside() const {
    std::vector<std::string> out;
    for (const auto& entry : fs::directory_iterator(path_ / "postgres")) {
      const auto name = entry.path().filename().native();
      if (const auto at = name.find(".outdated-"); at != std::string::npos) out.push_back(name.substr(0, at));
    }
    return out;
  }

  static std::vector<std::string> all_urls(const Cluster& cluster) {
    auto out = cluster.replica_tcp_urls();
    out.push_back(cluster.tcp_url());
    std::ranges::sort(out);
    return out;
  }

  std::unique_ptr<Started> started_;
  std::vector<std::string> news_;
};

TEST_F(Replicas, stream_what_is_written_and_grow_and_shrink_in_number) {
  auto* cluster = begin(0);
  ASSERT_TRUE(cluster);
  write(*cluster, "first");
  EXPECT_EQ(answer(cluster->superuser_url(), "ALTER SYSTEM SET work_mem = '5MB'"), "");
  EXPECT_TRUE(cluster->replica_tcp_urls().empty());

  cluster = begin(2);
  ASSERT_TRUE(cluster);
  const auto urls = all_urls(*cluster);
  EXPECT_EQ(urls.size(), 3U);
  EXPECT_EQ(streaming(*cluster), "replica_1 replica_2");
  EXPECT_EQ(slots(*cluster), "replica_1+ replica_2+");
  write(*cluster, "second");
  EXPECT_TRUE(arrives(*cluster, "first"));
  EXPECT_TRUE(arrives(*cluster, "second"));
  for (const auto& url : cluster->replica_tcp_urls()) {
    EXPECT_EQ(answer(url, "SELECT pg_is_in_recovery(), current_setting('work_mem')"), "t|5MB");
  }
  const auto nodes = cluster->nodes();
  ASSERT_EQ(nodes.size(), 3U);
  EXPECT_EQ(nodes[0].name + nodes[1].name + nodes[2].name, "primaryreplica_1replica_2");
  EXPECT_TRUE(nodes[0].is_primary && !nodes[1].is_primary && nodes[1].pid);
  EXPECT_EQ(answer(cluster->socket_url(), "SELECT has_function_privilege('pg_promote(boolean, integer)', 'execute')"),
            "t");
  // No password on disk, and none that would help from the network.
  std::ifstream settings(path_ / "postgres/replica_1/postgresql.auto.conf");
  const std::string text{std::istreambuf_iterator<char>(settings), {}};
  EXPECT_EQ(text.find("primary_"), std::string::npos) << text;

  // More connections on the way up, and fewer again on the way down, which replicas must follow in their own time.
  cluster = begin(2, 150);
  ASSERT_TRUE(cluster);
  EXPECT_EQ(all_urls(*cluster), urls);
  EXPECT_EQ(streaming(*cluster), "replica_1 replica_2");
  for (const auto& url : urls) EXPECT_EQ(answer(url, "SHOW max_connections"), "150");

  cluster = begin(1, 100);
  ASSERT_TRUE(cluster);
  EXPECT_EQ(slots(*cluster), "replica_1+");
  EXPECT_EQ(cluster->replica_tcp_urls().size(), 1U);
  write(*cluster, "third");
  EXPECT_TRUE(arrives(*cluster, "third"));

  cluster = begin(2);
  ASSERT_TRUE(cluster);
  EXPECT_EQ(all_urls(*cluster), urls);
  EXPECT_TRUE(arrives(*cluster, "third"));
  started_->cluster->stop();
  EXPECT_TRUE(servers_under(path_).empty());
  EXPECT_TRUE(kept_aside().empty());
}

TEST_F(Replicas, a_killed_replica_is_started_again_and_catches_up) {
  auto* cluster = begin(1);
  ASSERT_TRUE(cluster);
  ::kill(*cluster->nodes()[1].pid, SIGKILL);
  ASSERT_TRUE(watched_until(*cluster, [&] { return has_news("PostgreSQL (replica_1) ended with signal 9"); }));
  EXPECT_TRUE(cluster->replica_tcp_urls().empty());
  write(*cluster, "meanwhile");
  EXPECT_TRUE(watched_until(*cluster, [&] { return has_news("PostgreSQL (replica_1) is ready again."); }));
  ASSERT_EQ(cluster->replica_tcp_urls().size(), 1U);
  EXPECT_TRUE(arrives(*cluster, "meanwhile"));
}

TEST_F(Replicas, one_that_is_promoted_becomes_the_primary_of_all_others) {
  auto* cluster = begin(2);
  ASSERT_TRUE(cluster);
  const auto urls = all_urls(*cluster);
  const auto old_url = cluster->socket_url();
  const auto begin_promotion = Clock::now();
  ASSERT_EQ(answer(cluster->replica_socket_urls()[0], "SELECT pg_promote()"), "t");
  // Nobody saw this write: it is lost for the cluster, but not for ever.
  write(*cluster, "too_late");
  ASSERT_TRUE(watched_until(*cluster, [&] { return primary_name(*cluster) == "replica_1"; }));
  EXPECT_EQ(answer(cluster->socket_url(), "SELECT pg_is_in_recovery()"), "f");
  EXPECT_TRUE(has_news("PostgreSQL (replica_1) was promoted"));
  ASSERT_TRUE(watched_until(*cluster, [&] { return streaming(*cluster) == "primary replica_2"; }));
  fmt::print("all follow the promoted one: {} ms\n", (Clock::now() - begin_promotion) / 1ms);
  write(*cluster, "after");
  EXPECT_TRUE(arrives(*cluster, "after"));
  EXPECT_EQ(answer(old_url, "SELECT pg_is_in_recovery(), to_regclass('too_late') IS NULL"), "t|t");
  for (const auto& url : cluster->replica_socket_urls()) {
    EXPECT_EQ(answer(url, "SELECT to_regclass('too_late') IS NULL"), "t");
  }
  EXPECT_EQ(kept_aside(), std::vector<std::string>{"primary"});
  EXPECT_EQ(all_urls(*cluster), urls);

  // And back, this time with the primary dead.
  ::kill(*cluster->primary().pid(), SIGKILL);
  ASSERT_EQ(answer(old_url, "SELECT pg_promote()"), "t");
  ASSERT_TRUE(watched_until(*cluster, [&] { return primary_name(*cluster) == "primary"; }));
  ASSERT_TRUE(watched_until(*cluster, [&] { return streaming(*cluster) == "replica_1 replica_2"; }));
  EXPECT_EQ(slots(*cluster), "replica_1+ replica_2+");
  write(*cluster, "again");
  EXPECT_TRUE(arrives(*cluster, "again"));
  EXPECT_EQ(all_urls(*cluster), urls);
}

TEST_F(Replicas, a_promotion_that_nobody_saw_decides_the_roles_of_the_next_start) {
  auto* cluster = begin(2);
  ASSERT_TRUE(cluster);
  const auto urls = all_urls(*cluster);
  ASSERT_EQ(answer(cluster->replica_socket_urls()[0], "SELECT pg_promote()"), "t");
  write(*cluster, "too_late");

  for (const int replicas : {2, 2, 0, 1, 2}) {
    cluster = begin(replicas);
    ASSERT_TRUE(cluster);
    EXPECT_EQ(primary_name(*cluster), "replica_1");
    EXPECT_EQ(streaming(*cluster), replicas == 2 ? "primary replica_2" : replicas == 1 ? "primary" : "");
    write(*cluster, fmt::format("t{}", answer(cluster->socket_url(), "SELECT count(*) FROM pg_tables")));
    if (replicas == 2) {
      EXPECT_EQ(all_urls(*cluster), urls);
    }
    ASSERT_TRUE(watched_until(*cluster, [] { return true; }));
  }
  EXPECT_TRUE(has_news("Its old data, which may hold what was never replicated, are kept in "));
  EXPECT_EQ(kept_aside(), std::vector<std::string>{"primary"});
  EXPECT_EQ(answer(cluster->socket_url(), "SELECT to_regclass('too_late') IS NULL"), "t");
}

TEST_F(Replicas, one_whose_wal_is_gone_is_made_anew) {
  auto* cluster = begin(1);
  ASSERT_TRUE(cluster);
  cluster = begin(0);
  ASSERT_TRUE(cluster);
  EXPECT_EQ(slots(*cluster), "");
  // Nothing keeps WAL for the replica that is not started.
  EXPECT_EQ(answer(cluster->superuser_url(), "ALTER SYSTEM SET wal_keep_size = 0"), "");
  EXPECT_EQ(answer(cluster->superuser_url(), "SELECT pg_reload_conf()"), "t");
  for (int i = 0; i < 3; ++i) {
    EXPECT_NE(answer(cluster->superuser_url(), "SELECT pg_switch_wal()"), "");
    write(*cluster, fmt::format("t{}", i));
    EXPECT_EQ(answer(cluster->superuser_url(), "CHECKPOINT"), "");
  }
  cluster = begin(1);
  ASSERT_TRUE(cluster);
  // It may find out that its WAL is gone only after it has been called ready.
  EXPECT_TRUE(
      watched_until(*cluster, [&] { return has_news("PostgreSQL (replica_1) was made anew as a copy of primary."); }));
  EXPECT_TRUE(arrives(*cluster, "t2"));
}

TEST_F(Replicas, a_directory_of_replicas_alone_is_refused) {
  fs::create_directories(path_ / "postgres/replica_1");
  std::ofstream(path_ / "postgres/replica_1/PG_VERSION") << "15\n";
  std::ofstream(path_ / "postgres/replica_1/standby.signal").flush();
  EXPECT_EQ(refusal(path_), fmt::format("All nodes in {}/postgres are replicas. Remove the file standby.signal of the "
                                        "one that should be the primary, or bring the primary's directory back.",
                                        path_.native()));
  EXPECT_FALSE(fs::exists(data()));
}

TEST_F(Replicas, have_a_limit) {
  EXPECT_EQ(refusal(path_, {.replicas = 9}), "There can be 0 to 8 replicas.");
}

}  // namespace
}  // namespace cognive::embedded
