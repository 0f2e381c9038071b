#include "embedded/settings.hpp"

#include <fmt/format.h>

namespace cognive::embedded {
namespace {

// For lists of paths and for pg_ident.conf: "text", quotes doubled.
std::string double_quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + '"';
}

}  // namespace

std::string server_settings(const Settings& settings) {
  const auto& follows = settings.follows;
  return fmt::format(
      R"(# Written by Cognive at every start: edits are lost. Use ALTER SYSTEM as role postgres, which wins over this file.
cluster_name = {}
hba_file = {}
ident_file = {}
listen_addresses = '127.0.0.1'
port = {}
unix_socket_directories = {}
unix_socket_permissions = 0700
password_encryption = 'scram-sha-256'
max_connections = {}
shared_buffers = '128MB'
jit = off
fsync = on
wal_level = 'replica'
min_wal_size = '512MB'
max_wal_size = '2GB'
wal_log_hints = on
max_wal_senders = 20
max_replication_slots = 20
max_slot_wal_keep_size = '1GB'
wal_keep_size = '128MB'
hot_standby = on
wal_retrieve_retry_interval = '1s'
recovery_target_timeline = 'latest'
primary_conninfo = {}
primary_slot_name = {}
timezone = 'UTC'
default_text_search_config = 'pg_catalog.english'
log_destination = 'stderr'
logging_collector = off
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %q%u@%d '
log_min_messages = 'warning'
log_checkpoints = off
)",
      quoted_setting(settings.cluster_name), quoted_setting(settings.hba_file.native()),
      quoted_setting(settings.ident_file.native()), settings.port,
      quoted_setting(double_quoted(settings.sockets.native())), settings.max_connections,
      quoted_setting(follows ? replication_conninfo(settings.sockets, *follows, settings.cluster_name) : ""),
      quoted_setting(follows ? settings.cluster_name : ""));
}

std::string replication_conninfo(const std::filesystem::path& sockets, std::uint16_t port, std::string_view name) {
  std::string host;
  for (const char c : sockets.native()) {
    if (c == '\'' || c == '\\') host += '\\';
    host += c;
  }
  return fmt::format("host='{}' port={} user={} application_name={}", host, port, replication_role, name);
}

std::string access_rules() {
  return R"(# Written by Cognive at every start.
local all          postgres,cognive               peer map=cognive
local replication  replicator                     peer map=cognive
host  all          cognive          127.0.0.1/32  scram-sha-256
host  all          cognive          ::1/128       scram-sha-256
)";
}

std::string peer_map(const std::vector<std::string>& os_users) {
  std::string out = "# Written by Cognive at every start.\n";
  for (const auto& user : os_users) {
    for (const auto role : {std::string_view("cognive"), std::string_view("postgres"), replication_role}) {
      out += fmt::format("cognive {} {}\n", double_quoted(user), role);
    }
  }
  return out;
}

std::string quoted_setting(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    switch (c) {
      case '\'':
        out += "''";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      default:
        out += c;
    }
  }
  return out + '\'';
}

std::string quoted_literal(std::string_view text) {
  std::string out = "E'";
  for (const char c : text) {
    if (c == '\'' || c == '\\') out += c;
    out += c;
  }
  return out + '\'';
}

std::string url_encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
                       c == '.' || c == '_' || c == '~';
    if (plain) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

}  // namespace cognive::embedded
