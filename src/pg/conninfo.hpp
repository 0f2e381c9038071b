// Connection URLs of PostgreSQL: what to call a server in logs and metrics, and the parameters that libpq gets.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/async.hpp"

namespace cognive::pg {

// "db-1:5432", "[::1]:5432" or "/run/postgresql:5432": names a server, never a user or a password. Several hosts of one
// URL are separated by commas.
std::string host_label(std::string_view url);

// The URL as parameters for PQconnectStartParams, with every host name resolved: libpq would look names up itself and
// hold up its thread meanwhile. Adds what a long-lived connection needs to notice a server that vanished without a
// word (keepalives, TCP user timeout), unless the URL says otherwise. Throws Unavailable when a name has no address or
// the deadline passes.
using ConnectionParameters = std::vector<std::pair<std::string, std::string>>;
Async<ConnectionParameters> connection_parameters(Executor executor, std::string url, Deadline deadline);

// The same for PostgreSQL's own programs, as variables (PGHOST=…, PGPASSWORD=…): command lines can be seen by
// everybody. Throws std::invalid_argument for what is no URL.
std::vector<std::string> environment_of(const std::string& url);

// The name of the database; empty: libpq's default.
std::string database_of(const std::string& url);

}  // namespace cognive::pg
