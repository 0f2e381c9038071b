#include "embedded/port.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>

#include "base/crypto.hpp"
#include "embedded/files.hpp"

namespace cognive::embedded {

bool port_is_free(std::uint16_t port) {
  const Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  // As PostgreSQL does, so that connections of the last server that are still closing do not count.
  const int yes = 1;
  ::setsockopt(socket.number(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  // Two sockets may be bound with SO_REUSEADDR, but only one may listen.
  return socket && ::bind(socket.number(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
         ::listen(socket.number(), 1) == 0;
}

Result<std::uint16_t> free_port() {
  constexpr unsigned first = 20000;
  constexpr unsigned count = 10000;
  std::array<std::uint8_t, 2> random;
  for (int attempt = 0; attempt < 1000; ++attempt) {
    random_bytes(random);
    const auto port = static_cast<std::uint16_t>(first + (random[0] * 256U + random[1]) % count);
    if (port_is_free(port)) return port;
  }
  return fail(Code::unavailable, "No free port between 20000 and 29999 was found on 127.0.0.1.");
}

}  // namespace cognive::embedded
