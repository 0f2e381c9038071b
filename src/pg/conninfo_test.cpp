// Connection URLs: what servers are called, and what libpq is given so that it never looks a name up itself.
#include <optional>

#include "pg/conninfo.hpp"
#include "pg/test_support.hpp"

namespace cognive::pg::test {
namespace {

TEST(HostLabel, names_the_server_and_never_the_user_or_the_password) {
  EXPECT_EQ(host_label("postgresql://user:secret@db-1:6432/name"), "db-1:6432");
  EXPECT_EQ(host_label("postgresql://user:secret@db-1/name"), "db-1:5432");
  EXPECT_EQ(host_label("postgresql://user:secret@[::1]:5433/name"), "[::1]:5433");
  EXPECT_EQ(host_label("postgresql://user:secret@db-1:5433,db-2:5434/name"), "db-1:5433,db-2:5434");
  EXPECT_EQ(host_label("postgresql://user:secret@db-1,db-2:5434/name"), "db-1:5432,db-2:5434");
  EXPECT_EQ(host_label("postgresql://user:secret@/name?host=/run/postgresql"), "/run/postgresql:5432");
  EXPECT_EQ(host_label("postgresql:///name?user=user&password=secret"), "local:5432");
  EXPECT_EQ(host_label("host=db-1 user=user password='secret with @ and :'"), "db-1:5432");
  EXPECT_EQ(host_label("hostaddr=10.0.0.1 password=secret"), "10.0.0.1:5432");
}

TEST(HostLabel, of_what_is_no_url_tells_nothing) {
  for (const auto* url : {"postgresql://user:secret@db-1:5432/name?nonsense=1", "user:secret@db-1", "secret",
                          "postgresql://user:sec%zzret@db-1/", "host=db-1 password='secret"}) {
    EXPECT_EQ(host_label(url), "unreadable") << url;
  }
}

std::optional<std::string> value_of(const ConnectionParameters& parameters, std::string_view keyword) {
  std::optional<std::string> out;
  for (const auto& [name, value] : parameters) {
    if (name != keyword) continue;
    EXPECT_FALSE(out) << keyword << " is given twice";
    out = value;
  }
  return out;
}

ConnectionParameters parameters_of(const std::string& url) {
  ConnectionParameters out;
  run_test([&](Executor executor) -> Async<> { out = co_await connection_parameters(executor, url, soon()); });
  return out;
}

TEST(ConnectionParameters, give_every_name_its_addresses) {
  const auto parameters = parameters_of("postgresql://user@127.0.0.1:1,localhost:2,[::1]:3/name");
  const auto hosts = value_of(parameters, "host").value_or("");
  const auto addresses = value_of(parameters, "hostaddr").value_or("");
  const auto ports = value_of(parameters, "port").value_or("");
  const auto commas = std::ranges::count(hosts, ',');
  EXPECT_EQ(std::ranges::count(addresses, ','), commas) << addresses;
  EXPECT_EQ(std::ranges::count(ports, ','), commas) << ports;
  EXPECT_TRUE(hosts.starts_with("127.0.0.1,localhost,")) << hosts;
  EXPECT_TRUE(hosts.ends_with(",::1")) << hosts;
  EXPECT_TRUE(addresses.find("127.0.0.1") != std::string::npos || addresses.find("::1") != std::string::npos)
      << addresses;
  EXPECT_TRUE(ports.starts_with("1,2") && ports.ends_with(",3")) << ports;
}

TEST(ConnectionParameters, leave_one_port_for_all_hosts_alone) {
  const auto parameters = parameters_of("host=localhost,localhost port=7000");
  EXPECT_EQ(value_of(parameters, "port"), "7000");
  EXPECT_TRUE(value_of(parameters, "hostaddr"));
}

TEST(ConnectionParameters, look_nothing_up_for_sockets_and_addresses) {
  EXPECT_FALSE(value_of(parameters_of("host=/run/postgresql"), "hostaddr"));
  EXPECT_FALSE(value_of(parameters_of("host=10.0.0.1"), "hostaddr"));
  EXPECT_EQ(value_of(parameters_of("host=db-1 hostaddr=10.0.0.2"), "hostaddr"), "10.0.0.2");
}

TEST(ConnectionParameters, notice_a_server_that_vanished_unless_the_url_says_otherwise) {
  const auto parameters = parameters_of("host=10.0.0.1");
  EXPECT_EQ(value_of(parameters, "tcp_user_timeout"), "10000");
  EXPECT_EQ(value_of(parameters, "keepalives_idle"), "10");
  EXPECT_EQ(value_of(parameters, "client_encoding"), "UTF8");
  EXPECT_EQ(value_of(parameters_of("host=10.0.0.1 tcp_user_timeout=5"), "tcp_user_timeout"), "5");
}

TEST(ConnectionParameters, say_nothing_of_a_url_that_cannot_be_read) {
  std::string reason;
  try {
    parameters_of("postgresql://user:sec%zzret@db-1/");
  } catch (const Unavailable& error) {
    reason = error.what();
  }
  EXPECT_EQ(reason, "the database URL cannot be read");
}

TEST(ConnectionParameters, leave_out_a_name_without_address_when_the_url_has_others) {
  run_test([](Executor executor) -> Async<> {
    const auto parameters = co_await connection_parameters(executor, "host=no-such-host.invalid,127.0.0.1",
                                                           Deadline::in(milliseconds{3'000}));
    const auto host = std::ranges::find(parameters, "host",
                                        [](const auto& parameter) -> std::string_view { return parameter.first; });
    EXPECT_EQ(host->second, "127.0.0.1");
  });
}

TEST(ConnectionParameters, end_at_the_deadline_or_with_the_name_that_has_no_address) {
  run_test([](Executor executor) -> Async<> {
    const Ticker ticker(executor);
    std::string reason;
    try {
      co_await connection_parameters(executor, "host=no-such-host.invalid password=secret",
                                     Deadline::in(milliseconds{3'000}));
    } catch (const Unavailable& error) {
      reason = error.what();
    }
    EXPECT_NE(reason.find("no-such-host.invalid"), std::string::npos) << reason;
    EXPECT_EQ(reason.find("secret"), std::string::npos) << reason;
    EXPECT_LT(ticker.longest_gap(), gap_max);
  });
}

}  // namespace
}  // namespace cognive::pg::test
