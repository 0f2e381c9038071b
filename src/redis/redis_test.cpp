// How Redis is found, and what goes over the line. Against a real one: tests/api/redis_limits_test.py.
#include <gtest/gtest.h>

#include "redis/protocol.hpp"
#include "redis/url.hpp"

namespace cognive::redis {
namespace {

TEST(Url, names_host_port_credentials_and_database) {
  const auto url = parse_url("redis://user:p%40ss%2Fword@cache.example.com:6380/3").value();
  EXPECT_EQ(url.transport, Url::Transport::tcp);
  EXPECT_EQ(url.host, "cache.example.com");
  EXPECT_EQ(url.port, "6380");
  EXPECT_EQ(url.user, "user");
  EXPECT_EQ(url.password, "p@ss/word");
  EXPECT_EQ(url.database, 3);
  EXPECT_EQ(url.text(), "redis://cache.example.com:6380/3");
}

TEST(Url, has_defaults) {
  const auto url = parse_url("redis://").value();
  EXPECT_EQ(url.host, "localhost");
  EXPECT_EQ(url.port, "6379");
  EXPECT_EQ(url.database, 0);
  EXPECT_EQ(parse_url("redis://:secret@cache").value().password, "secret");
  EXPECT_EQ(parse_url("redis://[::1]:1/0").value().host, "::1");
  EXPECT_EQ(parse_url("redis://cache?db=2").value().database, 2);
}

TEST(Url, may_be_encrypted_or_a_socket) {
  const auto encrypted = parse_url("rediss://cache:6380/0?ssl_ca_certs=/etc/authority.pem").value();
  EXPECT_EQ(encrypted.transport, Url::Transport::tls);
  EXPECT_EQ(encrypted.authority_file, "/etc/authority.pem");
  EXPECT_TRUE(encrypted.verifies_peer);
  EXPECT_FALSE(parse_url("rediss://cache?ssl_cert_reqs=none").value().verifies_peer);
  const auto socket = parse_url("unix:///run/redis.sock?db=1&password=secret").value();
  EXPECT_EQ(socket.transport, Url::Transport::unix_socket);
  EXPECT_EQ(socket.path, "/run/redis.sock");
  EXPECT_EQ(socket.password, "secret");
  EXPECT_EQ(socket.database, 1);
}

TEST(Url, that_is_none_is_refused_without_its_password) {
  for (const auto* text :
       {"hunter2", "http://user:hunter2@cache", "redis://user:hunter2@cache/x", "unix://", "redis://cache/-1"}) {
    const auto url = parse_url(text);
    ASSERT_FALSE(url) << text;
    EXPECT_EQ(url.error().detail.find("hunter2"), std::string::npos);
  }
}

TEST(Protocol, a_command_holds_any_bytes) {
  std::string out;
  append(out, {"SET", std::string("a\r\n\0b", 5), ""});
  EXPECT_EQ(out, std::string("*3\r\n$3\r\nSET\r\n$5\r\na\r\n\0b\r\n$0\r\n\r\n", 30));
}

TEST(Protocol, replies_come_in_any_pieces) {
  const std::string text =
      "+OK\r\n:-7\r\n$-1\r\n$4\r\na\r\nb\r\n-NOSCRIPT none\r\n*2\r\n:1\r\n*1\r\n$1\r\nx\r\n*-1\r\n";
  for (std::size_t piece = 1; piece <= text.size(); ++piece) {
    ReplyReader reader;
    std::vector<Reply> replies;
    for (std::size_t at = 0; at < text.size(); at += piece) {
      reader.feed(std::string_view(text).substr(at, piece));
      while (auto reply = reader.next()) replies.push_back(std::move(*reply));
    }
    ASSERT_EQ(replies.size(), 7U) << piece;
    EXPECT_EQ(replies[0].text, "OK");
    EXPECT_EQ(replies[1].integer, -7);
    EXPECT_EQ(replies[2].kind, Reply::Kind::null);
    EXPECT_EQ(replies[3].text, "a\r\nb");
    EXPECT_TRUE(replies[4].is_error("NOSCRIPT"));
    EXPECT_EQ(replies[5].items.at(1).items.at(0).text, "x");
    EXPECT_EQ(replies[6].kind, Reply::Kind::null);
  }
}

TEST(Protocol, what_is_no_reply_is_told) {
  ReplyReader reader;
  reader.feed("HTTP/1.1 400 Bad Request\r\n");
  EXPECT_THROW((void)reader.next(), std::runtime_error);
}

}  // namespace
}  // namespace cognive::redis
