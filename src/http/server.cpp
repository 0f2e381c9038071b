#include "http/server.hpp"

#include <boost/asio.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/url.hpp>
#include <list>

#include "base/text.hpp"
#include "http/gzip.hpp"
#include "http/problem.hpp"
#include "observe/log.hpp"

namespace cognive::http {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace bhttp = boost::beast::http;
using tcp = asio::ip::tcp;
using boost::system::error_code;

namespace {

using Parser = bhttp::request_parser<bhttp::string_body>;
using ReusePort = asio::detail::socket_option::boolean<SOL_SOCKET, SO_REUSEPORT>;

std::string_view reason(int status) {
  const auto text = bhttp::obsolete_reason(static_cast<bhttp::status>(status));
  return {text.data(), text.size()};
}

// RFC 9110, section 5.6.7. One per second and thread is enough.
const std::string& http_date() {
  thread_local std::time_t formatted = 0;
  thread_local std::string text;
  const std::time_t now = std::time(nullptr);
  if (now != formatted) {
    std::tm utc{};
    gmtime_r(&now, &utc);
    std::array<char, 40> buffer{};
    const auto size = std::strftime(buffer.data(), buffer.size(), "%a, %d %b %Y %H:%M:%S GMT", &utc);
    text.assign(buffer.data(), size);
    formatted = now;
  }
  return text;
}

// The whole head in one buffer: one write sends head and body.
std::string response_head(const Response& response, std::string_view request_id, bool keep_alive) {
  std::string head;
  head.reserve(320);
  fmt::format_to(std::back_inserter(head), "HTTP/1.1 {} {}\r\nServer: cognive\r\nDate: {}\r\n", response.status,
                 reason(response.status), http_date());
  if (!response.content_type.empty()) {
    fmt::format_to(std::back_inserter(head), "Content-Type: {}\r\nX-Content-Type-Options: nosniff\r\n",
                   response.content_type);
  }
  if (response.status != 204) fmt::format_to(std::back_inserter(head), "Content-Length: {}\r\n", response.body.size());
  fmt::format_to(std::back_inserter(head), "X-Request-Id: {}\r\n", request_id);
  for (const auto& [name, value] : response.headers)
    fmt::format_to(std::back_inserter(head), "{}: {}\r\n", name, value);
  if (!keep_alive) head += "Connection: close\r\n";
  head += "\r\n";
  return head;
}

bool valid_request_id(std::string_view id) {
  return !id.empty() && id.size() <= 128 && std::ranges::all_of(id, [](char c) { return c > ' ' && c < 127; });
}

std::string request_id(const Parser::value_type& message) {
  const auto given = message["X-Request-Id"];
  const std::string_view id(given.data(), given.size());
  return valid_request_id(id) ? std::string(id) : Uuid::make().text();
}

// Splits and decodes the target. Code::malformed when it is not in origin form.
Result<void> read_target(std::string_view target, Request& out) {
  const auto parsed = boost::urls::parse_origin_form({target.data(), target.size()});
  if (!parsed) return fail(Code::malformed, "The request target is not a path with an optional query.");
  out.target = target;
  const boost::urls::decode_view path(parsed->encoded_path());
  out.path.assign(path.begin(), path.end());
  for (const auto parameter : parsed->params()) {
    out.query.emplace_back(std::string(parameter.key.data(), parameter.key.size()),
                           std::string(parameter.value.data(), parameter.value.size()));
  }
  return {};
}

Result<Request> to_request(Parser::value_type&& message, std::string id, const ServerOptions& options) {
  Request out;
  out.id = std::move(id);
  out.method = {message.method_string().data(), message.method_string().size()};
  if (auto target = read_target({message.target().data(), message.target().size()}, out); !target) {
    return std::unexpected(std::move(target.error()));
  }
  for (const auto& field : message) {
    const auto name = lower({field.name_string().data(), field.name_string().size()});
    const std::string_view value(field.value().data(), field.value().size());
    const auto [place, inserted] = out.headers.try_emplace(name, value);
    if (!inserted) place->second.append(", ").append(value);
  }
  const auto encoding = lower(trim(out.header("content-encoding")));
  if (encoding == "gzip" || encoding == "x-gzip") {
    auto body = gunzip(message.body(), options.body_bytes_max);
    if (!body) return std::unexpected(std::move(body.error()));
    out.body = std::move(*body);
  } else if (encoding.empty() || encoding == "identity") {
    out.body = std::move(message.body());
  } else {
    return fail(Code::unsupported_media,
                "Content-Encoding must be gzip or absent, not " + shortened(encoding, 64) + ".");
  }
  return out;
}

// What a parser's refusal means to the client; nothing when the connection is simply over.
std::optional<Error> refusal(error_code error, const ServerOptions& options) {
  if (error == bhttp::error::end_of_stream || error == asio::error::operation_aborted ||
      error == asio::error::connection_reset || error == asio::error::eof || error == bhttp::error::partial_message) {
    return std::nullopt;
  }
  if (error == beast::error::timeout) return Error{Code::timed_out, "The request did not arrive in time.", {}};
  if (error == bhttp::error::body_limit) {
    return Error{Code::too_large, fmt::format("The body is larger than {} bytes.", options.body_bytes_max), {}};
  }
  if (error == bhttp::error::header_limit || error == bhttp::error::buffer_overflow) {
    return Error{Code::headers_too_large,
                 fmt::format("The request head is larger than {} bytes.", options.header_bytes_max),
                 {}};
  }
  if (error.category() == bhttp::make_error_code(bhttp::error::bad_method).category()) {
    return Error{Code::malformed, "This is not an HTTP/1.1 request: " + error.message() + ".", {}};
  }
  return std::nullopt;
}

// How long a stopping server waits for the first request of a connection that it has just accepted.
constexpr std::chrono::milliseconds first_request_grace{200};

struct Session {
  explicit Session(tcp::socket socket) : stream(std::move(socket)) {}
  beast::tcp_stream stream;
  bool busy = false;    // between the first byte of a request and the last of its answer
  bool served = false;  // answered at least one request
};

}  // namespace

struct Server::State : std::enable_shared_from_this<State> {
  State(Executor server_executor, ServerOptions server_options, const Router& server_router, Metrics& metrics)
      : executor(std::move(server_executor)),
        options(std::move(server_options)),
        router(server_router),
        acceptor(executor),
        tasks(executor, [](const std::exception_ptr&) {}),
        response_size(metrics.histogram("http_response_size_bytes", "Size of answers' bodies", {}, size_buckets())),
        connections_open(metrics.gauge("http_connections_open", "Client connections")) {}

  Executor executor;
  ServerOptions options;
  const Router& router;
  tcp::acceptor acceptor;
  TaskGroup tasks;
  std::list<Session*> sessions;
  bool stopping = false;
  Histogram response_size;
  Gauge connections_open;

  Async<> write(Session& session, const Response& response, std::string_view id, bool keep_alive, bool with_body) {
    const auto head = response_head(response, id, keep_alive);
    const std::array<asio::const_buffer, 2> buffers{asio::buffer(head),
                                                    with_body ? asio::buffer(response.body) : asio::const_buffer{}};
    session.stream.expires_after(options.request_timeout);
    co_await asio::async_write(session.stream, buffers, asio::use_awaitable);
    response_size.observe(static_cast<double>(response.body.size()));
  }

  // Reads one request into `parser`. The error that ended the connection, if any.
  Async<error_code> read(Session& session, beast::flat_buffer& buffer, Parser& parser) {
    error_code error;
    if (buffer.size() == 0) {
      session.busy = false;
      // A connection that never got an answer may have its first request on the way; the others know that they may be
      // closed.
      if (stopping && session.served) co_return asio::error::operation_aborted;
      session.stream.expires_after(stopping ? std::min(options.idle_timeout, first_request_grace)
                                            : options.idle_timeout);
      const auto room = buffer.prepare(4096);
      const auto count =
          co_await session.stream.async_read_some(room, asio::redirect_error(asio::use_awaitable, error));
      buffer.commit(count);
      // An idle connection that times out is simply closed.
      if (error) co_return error == beast::error::timeout ? error_code(asio::error::operation_aborted) : error;
    }
    session.busy = true;
    session.stream.expires_after(options.request_timeout);
    co_await bhttp::async_read_header(session.stream, buffer, parser, asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return error;
    const auto length = parser.content_length();
    if (length && *length > options.body_bytes_max) co_return bhttp::error::body_limit;
    if (beast::iequals(parser.get()[bhttp::field::expect], "100-continue")) {
      constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
      co_await asio::async_write(session.stream, asio::buffer(go_on), asio::redirect_error(asio::use_awaitable, error));
      if (error) co_return error;
    }
    co_await bhttp::async_read(session.stream, buffer, parser, asio::redirect_error(asio::use_awaitable, error));
    co_return error;
  }

  // Closes so that the client can still read a last answer although it was sending: a plain close would reset the
  // connection.
  Async<> linger(Session& session) {
    constexpr std::chrono::milliseconds linger_max{1000};
    constexpr std::size_t lingering_bytes_max = 1 << 20;
    error_code error;
    session.stream.socket().shutdown(tcp::socket::shutdown_send, error);
    session.stream.expires_after(linger_max);
    std::array<char, 16 * 1024> dropped{};
    std::size_t total = 0;
    while (!error && total < lingering_bytes_max) {
      total += co_await session.stream.async_read_some(asio::buffer(dropped),
                                                       asio::redirect_error(asio::use_awaitable, error));
    }
  }

  Async<> serve(Session& session) {
    beast::flat_buffer buffer(std::max<std::size_t>(options.header_bytes_max, 4096) + 64 * 1024);
    for (;;) {
      Parser parser;
      parser.header_limit(static_cast<std::uint32_t>(options.header_bytes_max));
      parser.body_limit(options.body_bytes_max);
      const auto error = co_await read(session, buffer, parser);
      if (error) {
        const auto answer = refusal(error, options);
        if (!answer) co_return;
        const auto id = request_id(parser.get());
        const std::string target(parser.get().target().data(), parser.get().target().size());
        const auto path = target.empty() ? std::string("/") : target.substr(0, target.find('?'));
        co_await write(session, problem(*answer, path, id), id, false, true);
        co_await linger(session);
        co_return;
      }
      const bool client_keeps = parser.keep_alive();
      const bool with_body = parser.get().method() != bhttp::verb::head;
      auto id = request_id(parser.get());
      const std::string target(parser.get().target().data(), parser.get().target().size());
      session.stream.expires_never();
      Response response;
      auto request = to_request(parser.release(), id, options);
      if (request) {
        request->deadline = Deadline::in(options.handler_timeout);
        response = co_await router.dispatch(*request);
      } else {
        response = problem(request.error(), target.substr(0, target.find('?')), id);
      }
      const bool keep = client_keeps && !stopping;
      co_await write(session, response, id, keep, with_body);
      session.served = true;
      if (!keep) {
        error_code ignored;
        session.stream.socket().shutdown(tcp::socket::shutdown_send, ignored);
        co_return;
      }
    }
  }

  static Async<> run_session(std::shared_ptr<State> state, tcp::socket socket) {
    error_code ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    Session session(std::move(socket));
    const auto place = state->sessions.insert(state->sessions.end(), &session);
    state->connections_open.add(1);
    try {
      co_await state->serve(session);
    } catch (const std::exception&) {
      // The client went away while we wrote, or the server is being stopped.
    }
    state->connections_open.add(-1);
    state->sessions.erase(place);
  }

  static Async<> accept(std::shared_ptr<State> state) {
    while (state->acceptor.is_open()) {
      error_code error;
      auto socket = co_await state->acceptor.async_accept(asio::redirect_error(asio::use_awaitable, error));
      if (error == asio::error::operation_aborted) co_return;
      if (error) {
        // Out of descriptors or memory: give sessions time to end instead of spinning.
        log(Level::warning, "cannot accept a connection", {{"reason", error.message()}});
        co_await sleep_for(std::chrono::milliseconds{50});
        continue;
      }
      if (state->sessions.size() >= state->options.connections_max) continue;  // closes the socket
      state->tasks.spawn(run_session(state, std::move(socket)));
    }
  }
};

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

Server::Server(Executor executor, ServerOptions options, const Router& router, Metrics& metrics)
    : state_(std::make_shared<State>(std::move(executor), std::move(options), router, metrics)) {}

Server::~Server() = default;

Result<std::uint16_t> Server::listen() {
  auto& acceptor = state_->acceptor;
  const auto& options = state_->options;
  try {
    const tcp::endpoint endpoint(asio::ip::make_address(options.host), options.port);
    acceptor.open(endpoint.protocol());
    acceptor.set_option(tcp::acceptor::reuse_address(true));
    acceptor.set_option(ReusePort(true));
    acceptor.bind(endpoint);
    acceptor.listen(4096);
  } catch (const boost::system::system_error& error) {
    return fail(Code::unprocessable,
                fmt::format("cannot listen on {}:{}: {}", options.host, options.port, error.code().message()));
  }
  state_->tasks.spawn(State::accept(state_));
  return acceptor.local_endpoint().port();
}

Async<> Server::stop(Deadline deadline) {
  const auto state = state_;
  state->stopping = true;
  error_code ignored;
  // What the kernel has accepted for us is still answered; closing the listener would reset it.
  state->acceptor.non_blocking(true, ignored);
  for (;;) {
    error_code error;
    tcp::socket socket(state->executor);
    state->acceptor.accept(socket, error);
    if (error) break;
    state->tasks.spawn(State::run_session(state, std::move(socket)));
  }
  state->acceptor.close(ignored);
  for (auto* session : state->sessions) {
    if (!session->busy) session->stream.cancel();
  }
  co_await state->tasks.join(deadline);
  state->tasks.stop();
  co_await state->tasks.join(Deadline::in(std::chrono::milliseconds{1000}));
}

}  // namespace cognive::http
