// The HTTP/1.1 server of one I/O thread: keep-alive, pipelining, deadlines, size limits, gzip request bodies, graceful
// stop.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/networks.hpp"
#include "http/router.hpp"

namespace cognive::http {

struct ServerOptions {
  std::string host = "127.0.0.1";  // an address, not a name
  std::uint16_t port = 0;          // 0: a free one
  std::size_t body_bytes_max = 16 << 20;
  std::size_t header_bytes_max = 16 << 10;
  std::size_t connections_max = 10'000;
  std::size_t requests_max = 2'048;  // that are being answered at a time
  std::string tls_certificate_file;  // PEM; empty: nothing is encrypted
  std::string tls_key_file;
  std::vector<Network> trusted_proxies;  // whose X-Forwarded-For counts
  std::chrono::milliseconds request_timeout{
      30'000};  // from the first byte of a request to its last, and for writing the answer
  std::chrono::milliseconds idle_timeout{75'000};  // between requests
  std::chrono::milliseconds handler_timeout{15'000};
};

// True when something listens on the port already. A listener of ours would share the port with it silently
// (SO_REUSEPORT).
Result<void> check_port_free(const std::string& host, std::uint16_t port);

class Server {
 public:
  // `router` must outlive the server and belong to the same thread.
  Server(Executor executor, ServerOptions options, const Router& router, Metrics& metrics);
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server();

  // Binds and starts to accept. Returns the port in use. Several servers of one process may share a port.
  Result<std::uint16_t> listen();

  // Stops accepting, closes idle connections, lets requests in flight finish until the deadline. Call on the server's
  // thread.
  Async<> stop(Deadline deadline);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace cognive::http
