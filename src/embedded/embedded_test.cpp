// What a start makes, what it finds again, and what it refuses.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>

#include "embedded/cluster.hpp"
#include "embedded/port.hpp"
#include "embedded/test_support.hpp"

namespace cognive::embedded {
namespace {
namespace fs = std::filesystem;
using namespace std::chrono_literals;
using namespace test;

using Embedded = TemporaryDirectory;

TEST_F(Embedded, the_first_start_makes_a_server_that_answers) {
  const auto begin = Clock::now();
  const auto started = start(path_);
  RecordProperty("first_start_ms", static_cast<int>((Clock::now() - begin) / 1ms));
  fmt::print("first start: {} ms\n", (Clock::now() - begin) / 1ms);
  ASSERT_TRUE(started && started->cluster) << started->cluster.error().detail;
  const auto url = started->cluster->socket_url();
  EXPECT_EQ(answer(url, "SELECT current_user, current_database()"), "cognive|cognive");
  EXPECT_EQ(answer(url, "SHOW data_checksums"), "on");
  EXPECT_EQ(answer(url, "SHOW server_encoding"), "UTF8");
  EXPECT_EQ(answer(url, "SELECT datcollate FROM pg_database WHERE datname = 'cognive'"), "C.UTF-8");
  EXPECT_EQ(answer(url, "SELECT rolsuper OR rolcreatedb FROM pg_roles WHERE rolname = 'cognive'"), "f");
  EXPECT_EQ(answer(url, "CREATE TABLE t(); DROP TABLE t; SELECT pg_has_role('pg_monitor', 'member')"), "t");
  EXPECT_EQ(
      answer(
          url,
          "SELECT string_agg(name || '=' || setting, ' ' ORDER BY name COLLATE \"C\") FROM pg_settings WHERE name IN "
          "('fsync', 'jit', 'listen_addresses', 'TimeZone', 'wal_level', 'cluster_name')"),
      "TimeZone=UTC cluster_name=primary fsync=on jit=off listen_addresses=127.0.0.1 wal_level=replica");
  EXPECT_EQ(answer(started->cluster->superuser_url(),
                   "SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user"),
            "postgres|t");
}

TEST_F(Embedded, the_socket_trusts_the_kernel_and_loopback_wants_the_password) {
  const auto started = start(path_);
  ASSERT_TRUE(started && started->cluster) << started->cluster.error().detail;
  EXPECT_EQ(answer(started->cluster->tcp_url(), "SELECT inet_server_addr()"), "127.0.0.1");
  EXPECT_EQ(answer(started->cluster->superuser_url(),
                   "SELECT left(rolpassword, 13) FROM pg_authid WHERE rolname = 'cognive'"),
            "SCRAM-SHA-256");

  const auto port = started->cluster->primary().port();
  const auto without = psql(fmt::format("postgresql://cognive@127.0.0.1:{}/cognive?passfile=/none", port), "SELECT 1");
  EXPECT_NE(without->text.find("no password supplied"), std::string::npos) << without->text;
  const auto wrong = psql(fmt::format("postgresql://cognive:no@127.0.0.1:{}/cognive", port), "SELECT 1");
  EXPECT_NE(wrong->text.find("password authentication failed"), std::string::npos) << wrong->text;
  const auto superuser = psql(fmt::format("postgresql://postgres@127.0.0.1:{}/cognive", port), "SELECT 1");
  EXPECT_NE(superuser->text.find("no pg_hba.conf entry"), std::string::npos) << superuser->text;

  struct stat status{};
  ASSERT_EQ(::stat((path_ / "postgres/password").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600U);
  EXPECT_EQ(status.st_uid, ::geteuid());
}

TEST_F(Embedded, the_second_start_takes_less_than_two_seconds_and_finds_everything_again) {
  std::string urls;
  {
    const auto started = start(path_);
    ASSERT_TRUE(started && started->cluster) << started->cluster.error().detail;
    EXPECT_EQ(answer(started->cluster->socket_url(), "CREATE TABLE kept AS SELECT 42 AS n; SELECT n FROM kept"), "42");
    urls = started->cluster->socket_url() + started->cluster->tcp_url();
  }
  EXPECT_TRUE(servers_under(path_).empty());
  const auto begin = Clock::now();
  const auto again = start(path_);
  const auto took = Clock::now() - begin;
  fmt::print("second start: {} ms\n", took / 1ms);
  ASSERT_TRUE(again && again->cluster) << again->cluster.error().detail;
  EXPECT_LT(took, 2s);
  EXPECT_EQ(answer(again->cluster->tcp_url(), "SELECT n FROM kept"), "42");
  EXPECT_EQ(again->cluster->socket_url() + again->cluster->tcp_url(), urls);
}

TEST_F(Embedded, a_lost_password_file_is_replaced) {
  std::string before;
  {
    const auto started = start(path_);
    ASSERT_TRUE(started && started->cluster) << started->cluster.error().detail;
    before = started->cluster->tcp_url();
  }
  fs::remove(path_ / "postgres/password");
  const auto started = start(path_);
  ASSERT_TRUE(started && started->cluster) << started->cluster.error().detail;
  EXPECT_NE(started->cluster->tcp_url(), before);
  EXPECT_EQ(answer(started->cluster->tcp_url(), "SELECT 1"), "1");
}

TEST_F(Embedded, a_data_directory_of_another_version_is_refused) {
  fs::create_directories(data());
  std::ofstream(data() / "PG_VERSION") << "14\n";
  EXPECT_EQ(refusal(path_),
            fmt::format("{} was made by PostgreSQL 14, but 15 is installed: install postgresql-14, or convert "
                        "the directory with pg_upgrade.",
                        data().native()));
}

TEST_F(Embedded, a_missing_postgresql_is_named) {
  ::setenv("COGNIVE_POSTGRES_BIN", "/no/such/place", 1);
  EXPECT_EQ(
      refusal(path_),
      fmt::format("COGNIVE_POSTGRES_BIN is /no/such/place, where postgres, initdb and PostgreSQL's client programs "
                  "cannot all be run by user {}.",
                  Identity::unprivileged()->name));
  ::unsetenv("COGNIVE_POSTGRES_BIN");
}

class Listener {
 public:
  explicit Listener(std::uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const int yes = 1;
    ::setsockopt(socket_.number(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(socket_.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(socket_.number(), 1), 0);
  }

 private:
  Descriptor socket_;
};

TEST_F(Embedded, a_wanted_port_in_use_is_refused_and_a_remembered_one_is_replaced) {
  std::uint16_t port = 0;
  {
    const auto started = start(path_);
    ASSERT_TRUE(started && started->cluster) << started->cluster.error().detail;
    port = started->cluster->primary().port();
  }
  const Listener other(port);
  EXPECT_EQ(refusal(path_, {.port = port}), fmt::format("Port {} of 127.0.0.1 is in use by another program.", port));
  const auto started = start(path_);
  ASSERT_TRUE(started && started->cluster) << started->cluster.error().detail;
  EXPECT_NE(started->cluster->primary().port(), port);
  EXPECT_EQ(answer(started->cluster->tcp_url(), "SELECT 1"), "1");
}

TEST_F(Embedded, a_path_may_have_any_characters_and_any_length) {
  const std::array paths{temporary_ / "it's a \"data\" \\ directory, ünd %20", temporary_ / std::string(200, 'x')};
  for (const auto& path : paths) {
    fs::path sockets;
    {
      const auto started = start(path);
      ASSERT_TRUE(started && started->cluster) << started->cluster.error().detail;
      sockets = started->directory.sockets();
      EXPECT_TRUE(sockets.native().starts_with("/tmp/cognive-")) << sockets;
      EXPECT_EQ(answer(started->cluster->socket_url(), "SELECT 1"), "1");
    }
    EXPECT_FALSE(fs::exists(sockets));
  }
  const auto started = start(temporary_ / "it's a \"data\" dir");
  ASSERT_TRUE(started && started->cluster) << started->cluster.error().detail;
  EXPECT_EQ(started->directory.sockets(), temporary_ / "it's a \"data\" dir/run");
  EXPECT_EQ(answer(started->cluster->socket_url(), "SELECT 1"), "1");
}

TEST_F(Embedded, a_server_that_cannot_start_says_why) {
  {
    ASSERT_EQ(refusal(path_), "started");
  }
  std::ofstream(data() / "postgresql.auto.conf") << "shared_buffers = '1 fortnight'\n";
  const auto sentence = refusal(path_);
  EXPECT_TRUE(sentence.starts_with("PostgreSQL (primary) ended while starting, with exit code 1: ")) << sentence;
  EXPECT_TRUE(sentence.ends_with(fmt::format(" (see {}/log/primary.log).", path_.native()))) << sentence;
  fmt::print("{}\n", sentence);
}

TEST_F(Embedded, a_directory_that_the_database_user_cannot_reach_is_refused) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root runs PostgreSQL as somebody else";
  fs::create_directory(temporary_ / "closed");
  fs::permissions(temporary_ / "closed", fs::perms::owner_all);
  const auto directory = DataDirectory::open(temporary_ / "closed/a/b", *Identity::unprivileged());
  ASSERT_FALSE(directory);
  EXPECT_EQ(
      directory.error().detail,
      fmt::format(
          "User postgres, who runs PostgreSQL, may not pass through {}/closed: choose another data directory with "
          "--data, for instance /var/lib/cognive.",
          temporary_.native()));
  EXPECT_FALSE(fs::exists(temporary_ / "closed/a"));
}

TEST_F(Embedded, private_files_are_replaced_whole) {
  const auto directory = DataDirectory::open(path_, *Identity::unprivileged());
  ASSERT_TRUE(directory) << directory.error().detail;
  EXPECT_EQ(*directory->read_private("master-key"), std::nullopt);
  for (const std::string content : {"first", "second and longer", ""}) {
    ASSERT_TRUE(directory->write_private("master-key", content));
    EXPECT_EQ(*directory->read_private("master-key"), content);
  }
  struct stat status{};
  ASSERT_EQ(::stat((path_ / "master-key").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0600U);
}

}  // namespace
}  // namespace cognive::embedded
