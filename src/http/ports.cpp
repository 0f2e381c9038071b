#include <fmt/format.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "http/server.hpp"

namespace cognive::http {

namespace asio = boost::asio;
using tcp = asio::ip::tcp;
using boost::system::error_code;

Result<void> check_port_free(const std::string& host, std::uint16_t port) {
  asio::io_context context(1);
  error_code error;
  const auto address = asio::ip::make_address(host, error);
  if (error) return fail(Code::unprocessable, "HTTP_HOST: " + host + " is not an IP address");
  tcp::acceptor acceptor(context);
  const tcp::endpoint endpoint(address, port);
  acceptor.open(endpoint.protocol());
  acceptor.set_option(tcp::acceptor::reuse_address(true));
  acceptor.bind(endpoint, error);
  if (error == asio::error::address_in_use) {
    return fail(
        Code::conflict,
        fmt::format("port {} of {} is in use; stop what listens there or choose another with --port", port, host));
  }
  if (error) return fail(Code::unprocessable, fmt::format("cannot listen on {}:{}: {}", host, port, error.message()));
  return {};
}

}  // namespace cognive::http
