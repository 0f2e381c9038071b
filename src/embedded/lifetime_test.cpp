// Kills, crashes and leftovers: no process stays behind, no data is lost, the next start works.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>

#include "embedded/cluster.hpp"
#include "embedded/postmaster.hpp"
#include "embedded/test_support.hpp"

namespace cognive::embedded {
namespace {
namespace fs = std::filesystem;
using namespace std::chrono_literals;
using namespace test;

using Lifetime = TemporaryDirectory;

// Another process that has a cluster, as `cognive up` would, until it is killed.
class Owner {
 public:
  explicit Owner(const fs::path& path, int replicas = 0) {
    std::array<int, 2> pipe{};
    EXPECT_EQ(::pipe(pipe.data()), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      const auto started = start(path, {.replicas = replicas});
      const std::string said = started && started->cluster ? started->cluster->socket_url() : "failed";
      static_cast<void>(!::write(pipe[1], said.data(), said.size()));
      ::close(pipe[1]);
      while (true) ::pause();
    }
    ::close(pipe[1]);
    said_ = Descriptor(pipe[0]);
  }
  ~Owner() { kill(); }

  std::string url() {
    std::array<char, 4096> buffer;
    const auto count = ::read(said_.number(), buffer.data(), buffer.size());
    return {buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(count, 0))};
  }

  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  Descriptor said_;
};

TEST_F(Lifetime, a_killed_owner_leaves_no_process_and_the_data_intact) {
  Owner owner(path_, 1);
  const auto url = owner.url();
  ASSERT_EQ(answer(url, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n; SELECT count(*) FROM kept"),
            "1000");
  // A client in the middle of something must not keep the server alive.
  const auto binaries = find_binaries(*Identity::unprivileged(), std::nullopt);
  const Command sleeper{.argv = {binaries->program("psql"), url, "-Xc", "SELECT pg_sleep(600)"},
                        .identity = *Identity::current()};
  const auto client = Child::start(sleeper, temporary_ / "psql.log", SIGKILL);
  ASSERT_TRUE(client) << client.error().detail;
  ASSERT_TRUE(eventually(
      [&] { return answer(url, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'") == "1"; }));
  const auto begin = Clock::now();
  owner.kill();
  EXPECT_TRUE(eventually([&] { return servers_under(path_).empty(); }, 10s));
  fmt::print("gone after the kill: {} ms\n", (Clock::now() - begin) / 1ms);

  const auto again = start(path_);
  ASSERT_TRUE(again && again->cluster) << again->cluster.error().detail;
  EXPECT_EQ(answer(again->cluster->socket_url(), "SELECT count(*) FROM kept"), "1000");
}

TEST_F(Lifetime, a_start_right_after_a_kill_waits_for_the_old_server) {
  Owner owner(path_);
  const auto url = owner.url();
  ASSERT_EQ(answer(url, "CREATE TABLE kept AS SELECT 1 AS n; SELECT n FROM kept"), "1");
  const auto old = read_postmaster_file(data());
  ASSERT_TRUE(old);
  // Stopped, so that it certainly still runs when the next start begins; continued by a process of ours a little later.
  ::kill(old->pid, SIGSTOP);
  owner.kill();
  const Command later{.argv = {"/bin/sh", "-c", fmt::format("sleep 0.5; kill -CONT {}", old->pid)},
                      .identity = *Identity::current()};
  const auto helper = Child::start(later, temporary_ / "helper.log", SIGKILL);
  ASSERT_TRUE(helper);
  const auto again = start(path_);
  ASSERT_TRUE(again && again->cluster) << again->cluster.error().detail;
  EXPECT_EQ(again->cluster->socket_url(), url);
  EXPECT_EQ(answer(url, "SELECT n FROM kept"), "1");
}

TEST_F(Lifetime, a_creation_that_was_killed_is_started_over) {
  {
    Owner owner(path_);
    ASSERT_TRUE(eventually([&] { return !unfinished().empty(); }));
    owner.kill();
  }
  EXPECT_FALSE(fs::exists(data()));
  const auto started = start(path_);
  ASSERT_TRUE(started && started->cluster) << started->cluster.error().detail;
  EXPECT_EQ(answer(started->cluster->socket_url(), "SELECT 1"), "1");
  EXPECT_EQ(unfinished(), fs::path());
}

TEST_F(Lifetime, a_directory_has_one_process_at_a_time) {
  Owner owner(path_);
  owner.url();
  const auto second = DataDirectory::open(path_, *Identity::unprivileged());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::conflict);
  EXPECT_EQ(second.error().detail, fmt::format("{} is in use by process {}.", path_.native(), owner.pid()));
}

TEST_F(Lifetime, a_pid_file_with_the_number_of_somebody_else_does_not_hinder) {
  {
    ASSERT_EQ(refusal(path_), "started");
  }
  const Command sleeper{.argv = {"/bin/sleep", "600"}, .identity = *Identity::unprivileged()};
  const auto other = Child::start(sleeper, temporary_ / "sleep.log", SIGKILL);
  ASSERT_TRUE(other);
  std::ofstream(data() / "postmaster.pid")
      << fmt::format("{}\n{}\n1\n5432\n\n\n\nready\n", (*other)->pid(), data().native());
  EXPECT_EQ(refusal(path_), "started");
  EXPECT_FALSE((*other)->poll_exit());
}

TEST_F(Lifetime, a_server_that_dies_is_restarted_on_its_port) {
  const auto started = start(path_);
  ASSERT_TRUE(started && started->cluster) << started->cluster.error().detail;
  auto& cluster = *started->cluster;
  ASSERT_EQ(cluster.watch()->size(), 0U);
  const auto url = cluster.socket_url();
  ASSERT_EQ(answer(url, "CREATE TABLE kept AS SELECT 1 AS n; SELECT n FROM kept"), "1");
  ::kill(*cluster.primary().pid(), SIGKILL);
  std::vector<std::string> news;
  EXPECT_TRUE(eventually([&] {
    const auto more = cluster.watch();
    if (!more) return false;
    news.insert(news.end(), more->begin(), more->end());
    return !news.empty() && news.back() == "PostgreSQL (primary) is ready again.";
  }));
  ASSERT_FALSE(news.empty());
  EXPECT_TRUE(news.front().starts_with("PostgreSQL (primary) ended with signal 9: ")) << news.front();
  EXPECT_TRUE(news.front().ends_with(" It is started again in 1 s.")) << news.front();
  EXPECT_EQ(cluster.socket_url(), url);
  EXPECT_EQ(answer(url, "SELECT n FROM kept"), "1");
}

TEST_F(Lifetime, an_interrupted_start_leaves_nothing_running) {
  EXPECT_EQ(refusal(path_, {.interrupted = [] { return true; }}), "Interrupted.");
  EXPECT_TRUE(servers_under(path_).empty());
}

}  // namespace
}  // namespace cognive::embedded
