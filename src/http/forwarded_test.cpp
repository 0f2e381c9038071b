#include "http/forwarded.hpp"

#include <gtest/gtest.h>

namespace cognive::http {
namespace {

std::string from(std::string_view peer, std::string_view forwarded_for, std::string_view trusted) {
  return client_address(InternetAddress::parse(peer).value(), forwarded_for, parse_networks(trusted).value());
}

TEST(ClientAddress, is_the_peer_when_no_proxy_is_trusted) {
  EXPECT_EQ(from("198.51.100.7", "", ""), "198.51.100.7");
  EXPECT_EQ(from("198.51.100.7", "203.0.113.9", ""), "198.51.100.7");
  EXPECT_EQ(from("198.51.100.7", "203.0.113.9", "10.0.0.0/8"), "198.51.100.7");
}

TEST(ClientAddress, is_what_the_last_trusted_proxy_saw) {
  EXPECT_EQ(from("10.0.0.1", "203.0.113.9", "10.0.0.0/8"), "203.0.113.9");
  EXPECT_EQ(from("10.0.0.1", "203.0.113.9, 10.0.0.2", "10.0.0.0/8"), "203.0.113.9");
  EXPECT_EQ(from("10.0.0.1", "2001:db8::9", "10.0.0.0/8"), "2001:db8::/64");
  EXPECT_EQ(from("10.0.0.1", "203.0.113.9:4711", "10.0.0.0/8"), "203.0.113.9");
  EXPECT_EQ(from("10.0.0.1", "[2001:db8::9]:443, 10.0.0.2:80", "10.0.0.0/8"), "2001:db8::/64");
}

TEST(ClientAddress, is_not_what_the_client_itself_claims) {
  EXPECT_EQ(from("10.0.0.1", "192.0.2.1, 203.0.113.9", "10.0.0.0/8"), "203.0.113.9");
  EXPECT_EQ(from("10.0.0.1", "10.0.0.3, 203.0.113.9", "10.0.0.0/8"), "203.0.113.9");
}

TEST(ClientAddress, is_the_proxy_when_it_says_nothing_that_can_be_read) {
  EXPECT_EQ(from("10.0.0.1", "", "10.0.0.0/8"), "10.0.0.1");
  EXPECT_EQ(from("10.0.0.1", "unknown", "10.0.0.0/8"), "10.0.0.1");
  EXPECT_EQ(from("10.0.0.1", ",,,", "10.0.0.0/8"), "10.0.0.1");
}

}  // namespace
}  // namespace cognive::http
