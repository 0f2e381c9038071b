// Where a Redis is, as REDIS_URL says it: redis://[user][:password]@host[:port][/database], rediss:// the same over
// TLS, unix:///path/to/socket[?db=database&password=…] without a network. As Python's redis reads them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace cognive::redis {

struct Url {
  enum class Transport { tcp, tls, unix_socket };

  Transport transport = Transport::tcp;
  std::string host = "localhost";
  std::string port = "6379";
  std::string path;  // of the socket
  std::string user;  // empty: the default one
  std::string password;
  std::int64_t database = 0;
  // Of rediss: ?ssl_ca_certs=FILE names authorities besides the system's; ?ssl_cert_reqs=none trusts everybody.
  std::string authority_file;
  bool verifies_peer = true;

  // For people; never the password.
  [[nodiscard]] std::string text() const;
};

// Code::unprocessable with what is wrong, without the password.
Result<Url> parse_url(std::string_view text);

}  // namespace cognive::redis
