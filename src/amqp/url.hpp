// Where a RabbitMQ is, as RABBITMQ_URL says it: amqp://user:password@host:5672//, whose last part is the virtual host
// (`//` and nothing at all mean `/`), amqps:// the same over TLS. As Python's kombu reads them.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace cognive::amqp {

struct Url {
  bool is_encrypted = false;
  std::string host = "localhost";
  std::uint16_t port = 5672;  // of amqps:// 5671
  std::string user = "guest";
  std::string password = "guest";
  std::string virtual_host = "/";
  // ?heartbeat=SECONDS: either side that is not heard of for twice as long is given up. 1 to 600.
  std::chrono::seconds heartbeat{10};
  // Of amqps://: ?ssl_ca_certs=FILE names the authorities instead of the system's; ?ssl_cert_reqs=none trusts
  // everybody.
  std::string authority_file;
  bool verifies_peer = true;

  // For people; never the password.
  [[nodiscard]] std::string text() const;
};

// Code::unprocessable with what is wrong, without the password.
Result<Url> parse_url(std::string_view text);

}  // namespace cognive::amqp
