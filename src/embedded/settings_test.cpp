#include "embedded/settings.hpp"

#include <gtest/gtest.h>

namespace cognive::embedded {
namespace {

TEST(Settings, quote_what_would_end_a_value) {
  EXPECT_EQ(quoted_setting("/srv/it's a \\ path\n"), "'/srv/it''s a \\\\ path\\n'");
  EXPECT_EQ(quoted_literal("it's a \\ password"), "E'it''s a \\\\ password'");
}

TEST(Settings, a_socket_directory_is_quoted_as_a_list_element_and_as_a_value) {
  const auto text = server_settings(
      {.cluster_name = "primary", .port = 5433, .sockets = "/a \"b\" 'c'", .hba_file = "/h", .ident_file = "/i"});
  EXPECT_NE(text.find("\nunix_socket_directories = '\"/a \"\"b\"\" ''c''\"'\n"), std::string::npos) << text;
  EXPECT_NE(text.find("\nport = 5433\n"), std::string::npos) << text;
}

TEST(Settings, a_replica_follows_over_the_socket_under_its_own_name) {
  const auto primary = server_settings({.cluster_name = "primary", .port = 1, .sockets = "/run"});
  EXPECT_NE(primary.find("\nprimary_conninfo = ''\nprimary_slot_name = ''\n"), std::string::npos) << primary;
  const auto replica = server_settings({.cluster_name = "replica_1",
                                        .port = 2,
                                        .sockets = "/it's",
                                        .max_connections = 300,
                                        .follows = std::uint16_t{1}});
  EXPECT_NE(replica.find("\nmax_connections = 300\n"), std::string::npos) << replica;
  EXPECT_NE(
      replica.find("\nprimary_conninfo = 'host=''/it\\\\''s'' port=1 user=replicator application_name=replica_1'\n"
                   "primary_slot_name = 'replica_1'\n"),
      std::string::npos)
      << replica;
}

TEST(Settings, each_user_may_be_both_roles) {
  const auto text = peer_map({"root", "od\"d user"});
  EXPECT_NE(text.find("cognive \"root\" cognive\ncognive \"root\" postgres\n"), std::string::npos) << text;
  EXPECT_NE(text.find("cognive \"od\"\"d user\" postgres\n"), std::string::npos) << text;
}

TEST(Settings, urls_keep_only_unreserved_characters) {
  EXPECT_EQ(url_encoded("/a b/c-d_e.f~1%é"), "%2Fa%20b%2Fc-d_e.f~1%25%C3%A9");
}

}  // namespace
}  // namespace cognive::embedded
