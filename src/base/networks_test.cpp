#include "base/networks.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>

namespace cognive {
namespace {

bool is_public_text(const char* text) {
  const auto address = InternetAddress::parse(text);
  EXPECT_TRUE(address) << text;
  return address && is_public(*address);
}

TEST(Networks, what_the_world_can_have_is_public) {
  for (const auto* text : {"1.1.1.1", "8.8.8.8", "172.32.0.1", "172.15.255.255", "100.128.0.1", "192.0.1.1",
                           "223.255.255.255", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"})
    EXPECT_TRUE(is_public_text(text)) << text;
}

TEST(Networks, what_belongs_to_a_host_its_link_or_a_private_network_is_not) {
  for (const auto* text : {"0.0.0.0",
                           "10.1.2.3",
                           "100.64.0.1",
                           "127.0.0.1",
                           "127.255.255.254",
                           "169.254.169.254",
                           "172.16.0.1",
                           "172.31.255.255",
                           "192.168.1.1",
                           "198.18.0.1",
                           "224.0.0.1",
                           "255.255.255.255",
                           "::",
                           "::1",
                           "fe80::1",
                           "fc00::1",
                           "fd12::1",
                           "ff02::1",
                           "168.63.129.16",
                           "::ffff:127.0.0.1",
                           "::ffff:10.0.0.1",
                           "64:ff9b::10.0.0.1",
                           "2002:7f00:1::",
                           "2001::1",
                           "2001:db8::1",
                           "::127.0.0.1"})
    EXPECT_FALSE(is_public_text(text)) << text;
}

TEST(Networks, an_address_of_this_machine_is_its_own) {
  EXPECT_TRUE(is_own(*InternetAddress::parse("127.0.0.1")));
  EXPECT_FALSE(is_own(*InternetAddress::parse("192.0.2.1")));
}

TEST(Networks, a_network_contains_what_has_its_prefix) {
  const auto network = Network::parse("172.16.0.0/12");
  ASSERT_TRUE(network);
  EXPECT_TRUE(network->contains(*InternetAddress::parse("172.31.0.9")));
  EXPECT_FALSE(network->contains(*InternetAddress::parse("172.32.0.9")));
  EXPECT_TRUE(Network::parse("::1")->contains(*InternetAddress::parse("[::1]")));
  EXPECT_TRUE(Network::parse("0.0.0.0/0")->contains(*InternetAddress::parse("9.9.9.9")));
  EXPECT_FALSE(Network::parse("0.0.0.0/0")->contains(*InternetAddress::parse("2a00::1")));
}

TEST(Networks, what_is_no_network_is_refused) {
  for (const auto* text : {"", "10.0.0.1/8", "10.0.0.0/33", "fd00::/129", "10.0.0.0/", "10.0.0.0/-1", "10/8",
                           "example.com", "10.0.0.0/8x"})
    EXPECT_FALSE(Network::parse(text)) << text;
  EXPECT_FALSE(parse_networks("10.0.0.0/8,nowhere"));
  EXPECT_EQ(parse_networks(" 10.0.0.0/8, fd00::/8,,127.0.0.1 ")->size(), 3U);
  EXPECT_TRUE(parse_networks("")->empty());
}

TEST(Networks, an_address_is_shown_as_it_is_written) {
  EXPECT_EQ(InternetAddress::parse("127.0.0.1")->text(), "127.0.0.1");
  EXPECT_EQ(InternetAddress::parse("2001:DB8::0:1")->text(), "2001:db8::1");
  sockaddr_in socket{};
  socket.sin_family = AF_INET;
  socket.sin_addr.s_addr = htonl(0x0A000001);
  EXPECT_EQ(InternetAddress::of(reinterpret_cast<const sockaddr&>(socket))->text(), "10.0.0.1");
}

}  // namespace
}  // namespace cognive
