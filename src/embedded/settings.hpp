// The text of PostgreSQL's configuration files, and the quoting that paths and names need in each of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cognive::embedded {

struct Settings {
  std::string cluster_name;  // shown in the process list and in pg_stat_replication
  std::uint16_t port;
  std::filesystem::path sockets;  // directory of the unix socket
  std::filesystem::path hba_file;
  std::filesystem::path ident_file;
  int max_connections = 100;
  std::optional<std::uint16_t> follows{};  // the primary's port; for a replica
};

// As whom replicas connect to the primary: only over the unix socket, where the kernel says who they are, so that no
// password lies on disk.
inline constexpr std::string_view replication_role = "replicator";

// postgresql.conf of one node. What an operator sets with ALTER SYSTEM wins over it.
std::string server_settings(const Settings& settings);

// pg_hba.conf: the unix socket asks the kernel who is there, loopback asks for the password, nothing else is let in.
std::string access_rules();

// pg_ident.conf: each of `os_users` may be role cognive, postgres or replicator on the unix socket.
std::string peer_map(const std::vector<std::string>& os_users);

// How node `name` reaches the primary that listens on `port`, for libpq.
std::string replication_conninfo(const std::filesystem::path& sockets, std::uint16_t port, std::string_view name);

// 'text' as a value in postgresql.conf.
std::string quoted_setting(std::string_view text);

// 'text' as an SQL literal, whatever standard_conforming_strings says.
std::string quoted_literal(std::string_view text);

// Percent-encoded for any part of a connection URL.
std::string url_encoded(std::string_view text);

}  // namespace cognive::embedded
