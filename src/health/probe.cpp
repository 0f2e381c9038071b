#include "health/probe.hpp"

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>

namespace cognive::health {

namespace asio = boost::asio;
using boost::system::error_code;

Endpoint endpoint_of(std::string_view url, std::string_view default_port) {
  const auto scheme = url.find("://");
  auto authority = scheme == std::string_view::npos ? url : url.substr(scheme + 3);
  authority = authority.substr(0, authority.find_first_of("/?#"));
  if (const auto at = authority.rfind('@'); at != std::string_view::npos) authority.remove_prefix(at + 1);
  const auto bracket = authority.find(']');  // IPv6
  const auto colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  std::string host(authority.substr(0, colon));
  if (host.starts_with('[')) host = host.substr(1, host.size() - 2);
  return {std::move(host), std::string(colon == std::string_view::npos ? default_port : authority.substr(colon + 1))};
}

namespace {

Async<error_code> connect(Executor executor, Endpoint endpoint) {
  error_code error;
  asio::ip::tcp::resolver resolver(executor);
  const auto addresses =
      co_await resolver.async_resolve(endpoint.host, endpoint.port, asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return error;
  asio::ip::tcp::socket socket(executor);
  co_await asio::async_connect(socket, addresses, asio::redirect_error(asio::use_awaitable, error));
  co_return error;
}

}  // namespace

Async<Result<void>> reach(Executor executor, Endpoint endpoint, Deadline deadline) {
  using namespace asio::experimental::awaitable_operators;
  auto attempt = connect(executor, std::move(endpoint));
  auto timeout = sleep_for(deadline.remaining());
  const auto first = co_await (std::move(attempt) || std::move(timeout));
  if (first.index() == 1) co_return fail(Code::unavailable, "no answer in time");
  const auto error = std::get<0>(first);
  if (error) co_return fail(Code::unavailable, error.message());
  co_return Result<void>{};
}

}  // namespace cognive::health
