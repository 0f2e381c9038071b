#include "http/server.hpp"

#include <boost/asio.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <list>

#include "base/compression.hpp"
#include "base/text.hpp"
#include "http/certificate.hpp"
#include "http/forwarded.hpp"
#include "http/problem.hpp"
#include "http/response_head.hpp"
#include "http/target.hpp"
#include "observe/log.hpp"
#include "runtime/wire.hpp"

namespace cognive::http {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace bhttp = boost::beast::http;
using tcp = asio::ip::tcp;
using boost::system::error_code;

namespace {

using Parser = bhttp::request_parser<bhttp::string_body>;
using StreamParser = bhttp::request_parser<bhttp::buffer_body>;
using ReusePort = asio::detail::socket_option::boolean<SOL_SOCKET, SO_REUSEPORT>;

// Longer targets need not be supported (RFC 9110, section 4.1).
constexpr std::size_t target_bytes_max = 8'192;

// A longer body is only read for whom we know: memory for it is nothing that anybody gets.
constexpr std::uint64_t unasked_body_bytes_max = 64 << 10;

std::string request_id(const Parser::value_type& message) {
  const auto given = message["X-Request-Id"];
  const std::string_view id(given.data(), given.size());
  return !id.empty() && id.size() <= 128 && is_visible(id) ? std::string(id) : Uuid::make().text();
}

Exchange exchange_of(const Parser::value_type& message) {
  return {.id = request_id(message),
          .instance = instance_of({message.target().data(), message.target().size()}),
          // Who sends bytes that no target may hold may mean something else by what follows, too.
          .keep_alive = message.keep_alive() && is_visible({message.target().data(), message.target().size()}),
          .http_1_0 = message.version() == 10,
          .head = message.method() == bhttp::verb::head};
}

// Everything but the body.
Result<Request> head_of(const Parser::value_type& message, std::string id) {
  // RFC 9112, section 3.2: exactly one Host, which 1.0 did not know yet.
  if (message.version() >= 11 && message.count(bhttp::field::host) != 1) {
    return fail(Code::malformed, "The request must have exactly one Host header.");
  }
  Request out;
  out.id = std::move(id);
  if (message.target().size() > target_bytes_max)
    return fail(Code::uri_too_long, fmt::format("Path and query have more than {} bytes.", target_bytes_max));
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
  return out;
}

Result<void> take_body(Parser::value_type&& message, Request& out, const ServerOptions& options) {
  const auto encoding = lower(trim(out.header("content-encoding")));
  if (encoding == "gzip" || encoding == "x-gzip") {
    auto body = decompress(message.body(), Compression::gzip, options.body_bytes_max);
    if (!body) return std::unexpected(std::move(body.error()));
    out.body = std::move(*body);
  } else if (encoding.empty() || encoding == "identity") {
    out.body = std::move(message.body());
  } else {
    return fail(Code::unsupported_media,
                "Content-Encoding must be gzip or absent, not " + shortened(encoding, 64) + ".");
  }
  return {};
}

// What a parser's refusal means to the client; nothing when the connection is simply over.
std::optional<Error> refusal(error_code error, const ServerOptions& options, std::uint64_t body_max) {
  if (error == asio::error::timed_out) return Error{Code::timed_out, "The request did not arrive in time.", {}};
  if (error == bhttp::error::body_limit) {
    return Error{Code::too_large,
                 fmt::format("The body is larger than {} bytes; {}.", body_max,
                             body_max == options.body_bytes_max ? "HTTP_BODY_BYTES_MAX allows no more"
                                                                : "no more is read without credentials"),
                 {}};
  }
  if (error == bhttp::error::header_limit || error == bhttp::error::buffer_overflow) {
    return Error{Code::headers_too_large,
                 fmt::format("The request head is larger than {} bytes.", options.header_bytes_max),
                 {}};
  }
  if (error == bhttp::error::bad_transfer_encoding) {
    return Error{Code::malformed, "Transfer-Encoding must be chunked or absent.", {}};
  }
  if (error == bhttp::error::end_of_stream || error == bhttp::error::partial_message) return std::nullopt;
  if (error.category() == bhttp::make_error_code(bhttp::error::bad_method).category()) {
    return Error{Code::malformed, "This is not an HTTP/1.1 request: " + error.message() + ".", {}};
  }
  return std::nullopt;
}

// Beast takes every coding but a final `chunked` for no body at all, and what follows for the next request: that is how
// requests are smuggled (RFC 9112, section 6.1).
bool framing_is_clear(const Parser::value_type& message) {
  const auto count = message.count(bhttp::field::transfer_encoding);
  if (count == 0) return true;
  const auto coding = message[bhttp::field::transfer_encoding];
  return count == 1 && equal_ignoring_case(trim({coding.data(), coding.size()}), "chunked");
}

// How long a stopping server waits for the first request of a connection that it has just accepted.
constexpr std::chrono::milliseconds first_request_grace{200};

using TcpWire = Wire<tcp::socket>;

// How long it may take to agree on encryption, and to say goodbye.
constexpr std::chrono::milliseconds handshake_max{10'000};
constexpr std::chrono::milliseconds goodbye_max{1'000};

// How exactly times are kept: a timer of each connection, set anew several times for each request, would cost too much.
constexpr std::chrono::milliseconds watch_interval{100};

// One connection. When its time is over, the wait in progress is interrupted but the socket left open, so that the
// client can still be told why.
struct Session {
  using Clock = std::chrono::steady_clock;
  Session(tcp::socket connected, std::shared_ptr<asio::ssl::context> encryption)
      : wire(std::move(connected), std::move(encryption)) {
    error_code error;
    const auto endpoint = wire.socket().remote_endpoint(error);
    if (!error) peer = InternetAddress::of(*endpoint.data()).value_or(peer);
  }

  TcpWire wire;
  InternetAddress peer;
  Clock::time_point due = Clock::time_point::max();
  bool expired = false;
  bool busy = false;    // between the first byte of a request and the last of its answer
  bool served = false;  // answered at least one request

  // Waits from here on may last `duration` together.
  void expect_within(std::chrono::milliseconds duration) {
    expired = false;
    due = Clock::now() + duration;
  }
  void expect_whenever() { due = Clock::time_point::max(); }
  // Again and again until somebody sets another time: what is interrupted may have been about to begin its next part.
  void interrupt_if_due(Clock::time_point now) {
    if (due > now) return;
    expired = true;
    error_code ignored;
    wire.socket().cancel(ignored);
  }

  // The error of a wait, told apart: interrupted is a time-out.
  [[nodiscard]] error_code outcome(error_code error) const {
    return expired && error ? error_code(asio::error::timed_out) : error;
  }
};

// With who goes on to send what nobody reads.
struct Patience {
  std::chrono::milliseconds time{1'000};
  std::size_t bytes = 1 << 20;
};
// Who sends much and reads nothing meanwhile would see no answer but a broken connection.
constexpr Patience with_streams{std::chrono::milliseconds{20'000}, std::size_t{64} << 20U};

// The body of a request as it comes over a connection.
class IncomingBody final : public BodyStream {
 public:
  IncomingBody(Session& session, beast::flat_buffer& buffer, Parser&& parser, std::chrono::milliseconds patience)
      : session_(session), buffer_(buffer), parser_(std::move(parser)), patience_(patience) {
    parser_.body_limit(boost::none);
    if (const auto announced = parser_.content_length()) length_ = *announced;
    wants_go_on_ = beast::iequals(parser_.get()[bhttp::field::expect], "100-continue");
  }

  Async<Result<std::string>> read() override {
    if (parser_.is_done()) co_return std::string();
    error_code error;
    session_.expect_within(patience_);
    if (std::exchange(wants_go_on_, false)) {
      constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
      co_await asio::async_write(session_.wire, asio::buffer(go_on), asio::redirect_error(asio::use_awaitable, error));
    }
    std::string out;
    while (!error && out.empty() && !parser_.is_done()) {
      out.resize(read_bytes);
      auto& body = parser_.get().body();
      body.data = out.data();
      body.size = out.size();
      body.more = true;
      co_await bhttp::async_read_some(session_.wire, buffer_, parser_,
                                      asio::redirect_error(asio::use_awaitable, error));
      if (error == bhttp::error::need_buffer) error = {};
      out.resize(out.size() - body.size);
    }
    error = session_.outcome(error);
    session_.expect_whenever();
    if (error == asio::error::timed_out) co_return fail(Code::timed_out, "The body did not come on in time.");
    if (error) co_return fail(Code::malformed, "The body came to no end: " + error.message() + ".");
    co_return out;
  }

  [[nodiscard]] std::optional<std::uint64_t> length() const override { return length_; }
  [[nodiscard]] bool is_complete() const { return parser_.is_done(); }

 private:
  static constexpr std::size_t read_bytes = 64 << 10;

  Session& session_;
  beast::flat_buffer& buffer_;
  StreamParser parser_;
  std::chrono::milliseconds patience_;
  std::optional<std::uint64_t> length_;
  bool wants_go_on_ = false;
};

}  // namespace

struct Server::State : std::enable_shared_from_this<State> {
  State(Executor server_executor, ServerOptions server_options, const Router& server_router, Metrics& metrics)
      : executor(std::move(server_executor)),
        options(std::move(server_options)),
        router(server_router),
        certificate(options.tls_certificate_file, options.tls_key_file),
        acceptor(executor),
        tasks(executor, [](const std::exception_ptr&) {}),
        response_size(metrics.histogram("http_response_size_bytes", "Size of answers' bodies", {}, size_buckets())),
        connections_open(metrics.gauge("http_connections_open", "Client connections")) {}

  Executor executor;
  ServerOptions options;
  const Router& router;
  Certificate certificate;
  tcp::acceptor acceptor;
  TaskGroup tasks;
  std::list<std::shared_ptr<Session>> sessions;
  bool stopping = false;
  std::size_t answering = 0;
  Histogram response_size;
  Gauge connections_open;

  Async<> write(Session& session, const Response& response, const Exchange& exchange) {
    const auto head = response_head(response, exchange);
    const std::array<asio::const_buffer, 2> buffers{asio::buffer(head),
                                                    exchange.head ? asio::const_buffer{} : asio::buffer(response.body)};
    session.expect_within(options.request_timeout);
    co_await asio::async_write(session.wire, buffers, asio::use_awaitable);
    if (!response.stream) co_return response_size.observe(static_cast<double>(response.body.size()));
    if (!exchange.head) co_await write_stream(session, response, exchange);
  }

  // Each piece within the time for an answer. Throws when there is no way to go on but to close the connection.
  Async<> write_stream(Session& session, const Response& response, const Exchange& exchange) {
    constexpr std::size_t slice_bytes = 128 << 10;
    const bool is_chunked = !response.stream_length && !exchange.http_1_0;
    std::uint64_t written = 0;
    for (;;) {
      session.expect_whenever();
      const auto piece = co_await response.stream();
      if (!piece) {
        log(Level::warning, "an answer was broken off",
            {{"request_id", exchange.id}, {"bytes", written}, {"reason", piece.error().detail}});
        throw std::runtime_error(piece.error().detail);
      }
      if (piece->empty()) break;
      // Slowly, whoever cannot take more.
      for (std::string_view rest = *piece; !rest.empty(); rest.remove_prefix(std::min(rest.size(), slice_bytes))) {
        const auto slice = rest.substr(0, slice_bytes);
        const auto size = is_chunked ? fmt::format("{:x}\r\n", slice.size()) : std::string();
        const std::array<asio::const_buffer, 3> buffers{asio::buffer(size), asio::buffer(slice),
                                                        asio::buffer("\r\n", is_chunked ? 2 : 0)};
        session.expect_within(options.request_timeout);
        co_await asio::async_write(session.wire, buffers, asio::use_awaitable);
      }
      written += piece->size();
    }
    session.expect_within(options.request_timeout);
    constexpr std::string_view last_chunk = "0\r\n\r\n";
    if (is_chunked) co_await asio::async_write(session.wire, asio::buffer(last_chunk), asio::use_awaitable);
    if (response.stream_length && written != *response.stream_length)
      throw std::runtime_error("an answer had another length than was announced");
    response_size.observe(static_cast<double>(written));
  }

  // Waits for the first byte of a request. Nothing to answer when none comes.
  Async<error_code> await_request(Session& session, beast::flat_buffer& buffer) {
    constexpr std::size_t first_read_bytes = 4096;
    session.busy = false;
    // A connection that never got an answer may have its first request on the way; others know that they may be closed.
    if (stopping && session.served) co_return asio::error::operation_aborted;
    session.expect_within(stopping ? std::min(options.idle_timeout, first_request_grace) : options.idle_timeout);
    error_code error;
    const auto room = buffer.prepare(first_read_bytes);
    const auto count = co_await session.wire.async_read_some(room, asio::redirect_error(asio::use_awaitable, error));
    buffer.commit(count);
    co_return error;
  }

  // Set for the part of it that does not depend on the body.
  void complete(Request& request, const Session& session) const {
    request.address = client_address(session.peer, request.header("x-forwarded-for"), options.trusted_proxies);
    request.deadline = Deadline::in(options.handler_timeout);
  }

  static Response too_much(const Exchange& exchange) {
    return problem({Code::unavailable, "The server has too much to do at this moment; nothing was done.", {}},
                   exchange.instance, exchange.id);
  }

  // One of those that are being answered, until it is let go.
  [[nodiscard]] std::unique_ptr<std::size_t, void (*)(std::size_t*)> take_place() {
    ++answering;
    return {&answering, [](std::size_t* count) { --*count; }};
  }

  // The answer to a request whose body need not be read; else `body_max` is how much of it may be.
  Async<std::optional<Response>> refuse_early(const Session& session, Parser& parser, const Exchange& exchange,
                                              std::uint64_t& body_max) {
    const auto length = parser.content_length();
    const bool is_long = parser.chunked() || (length && *length > unasked_body_bytes_max);
    if (!is_long) co_return std::nullopt;
    auto head = head_of(parser.get(), exchange.id);
    if (!head) co_return problem(head.error(), exchange.instance, exchange.id);
    complete(*head, session);
    if (router.is_open(*head)) {
      body_max = std::min<std::uint64_t>(body_max, unasked_body_bytes_max);
      parser.body_limit(body_max);
      if (!length || *length <= body_max) co_return std::nullopt;
      co_return problem(*refusal(bhttp::error::body_limit, options, body_max), exchange.instance, exchange.id);
    }
    if (answering >= options.requests_max) co_return too_much(exchange);
    const auto place = take_place();
    co_return co_await router.refuse_early(*head);
  }

  // Answers a request that was not read to its end, and ends the connection.
  Async<> refuse(Session& session, const Response& response, Exchange exchange, Patience patience = {}) {
    exchange.keep_alive = false;
    co_await write(session, response, exchange);
    co_await linger(session, patience);
  }

  // Reads the head of one request into `parser`. The error that ended the connection, if any.
  Async<error_code> read_head(Session& session, beast::flat_buffer& buffer, Parser& parser) {
    error_code error;
    for (;;) {
      if (buffer.size() == 0) error = co_await await_request(session, buffer);
      if (error) co_return asio::error::operation_aborted;
      // Empty lines before a request are ignored (RFC 9112, section 2.2).
      const auto* text = static_cast<const char*>(buffer.data().data());
      if (*text != '\r' && *text != '\n') break;
      buffer.consume(1);
    }
    session.busy = true;
    session.expect_within(options.request_timeout);
    co_await bhttp::async_read_header(session.wire, buffer, parser, asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return session.outcome(error);
    if (!framing_is_clear(parser.get())) co_return bhttp::error::bad_transfer_encoding;
    const auto length = parser.content_length();
    if (streams(parser)) co_return error_code();
    parser.body_limit(options.body_bytes_max);
    co_return length && *length > options.body_bytes_max ? error_code(bhttp::error::body_limit) : error_code();
  }

  [[nodiscard]] bool streams(const Parser& parser) const {
    const auto& target = parser.get().target();
    if (!router.may_stream_body({target.data(), target.size()})) return false;
    // Without a body there is nothing to stream.
    if (!parser.chunked() && parser.content_length().value_or(0) == 0) return false;
    const auto head = head_of(parser.get(), {});
    return head && router.streams_body(*head);
  }

  Async<error_code> read_body(Session& session, beast::flat_buffer& buffer, Parser& parser) {
    error_code error;
    session.expect_within(options.request_timeout);
    if (beast::iequals(parser.get()[bhttp::field::expect], "100-continue")) {
      constexpr std::string_view go_on = "HTTP/1.1 100 Continue\r\n\r\n";
      co_await asio::async_write(session.wire, asio::buffer(go_on), asio::redirect_error(asio::use_awaitable, error));
      if (error) co_return session.outcome(error);
    }
    co_await bhttp::async_read(session.wire, buffer, parser, asio::redirect_error(asio::use_awaitable, error));
    co_return session.outcome(error);
  }

  // Closes so that the client can still read a last answer although it was sending: a plain close would reset it.
  Async<> linger(Session& session, Patience patience) {
    error_code error;
    session.expect_within(patience.time);
    if (session.wire.is_encrypted()) {
      co_await session.wire.async_goodbye(asio::redirect_error(asio::use_awaitable, error));
    }
    session.wire.socket().shutdown(tcp::socket::shutdown_send, error);
    std::array<char, 16 * 1024> dropped{};
    std::size_t total = 0;
    while (!error && total < patience.bytes) {
      total += co_await session.wire.socket().async_read_some(asio::buffer(dropped),
                                                              asio::redirect_error(asio::use_awaitable, error));
    }
  }

  // Whether the connection goes on after the answer.
  void settle(Exchange& exchange, const Response& response) const {
    const bool ends_with_connection = response.stream && !response.stream_length && exchange.http_1_0;
    exchange.keep_alive = exchange.keep_alive && !stopping && !ends_with_connection;
  }

  static Async<> say_goodbye(Session& session) {
    error_code ignored;
    session.expect_within(goodbye_max);
    if (session.wire.is_encrypted()) {
      co_await session.wire.async_goodbye(asio::redirect_error(asio::use_awaitable, ignored));
    } else {
      session.wire.socket().shutdown(tcp::socket::shutdown_send, ignored);
    }
  }

  // Answers while the body comes. False: the connection cannot be used any more.
  Async<bool> answer_stream(Session& session, beast::flat_buffer& buffer, Parser& parser, Exchange exchange) {
    auto request = head_of(parser.get(), exchange.id);
    Response response;
    IncomingBody body(session, buffer, std::move(parser), options.request_timeout);
    const auto encoding = lower(trim(request->header("content-encoding")));
    if (!encoding.empty() && encoding != "identity") {
      response = problem({Code::unsupported_media, "A body that is stored as it comes has no Content-Encoding.", {}},
                         exchange.instance, exchange.id);
    } else if (answering >= options.requests_max) {
      response = too_much(exchange);
    } else {
      complete(*request, session);
      request->stream = &body;
      const auto place = take_place();
      response = co_await router.dispatch(*request);
    }
    settle(exchange, response);
    if (!body.is_complete()) {
      co_await refuse(session, response, exchange, with_streams);
      co_return false;
    }
    co_await write(session, response, exchange);
    if (!exchange.keep_alive) co_await say_goodbye(session);
    co_return exchange.keep_alive;
  }

  Async<Response> answer(Parser& parser, const Exchange& exchange, const Session& session) {
    auto request = head_of(parser.get(), exchange.id);
    if (!request) co_return problem(request.error(), exchange.instance, exchange.id);
    if (const auto taken = take_body(parser.release(), *request, options); !taken)
      co_return problem(taken.error(), exchange.instance, exchange.id);
    complete(*request, session);
    if (answering >= options.requests_max) co_return too_much(exchange);
    const auto place = take_place();
    co_return co_await router.dispatch(*request);
  }

  Async<> serve(Session& session) {
    beast::flat_buffer buffer(std::max<std::size_t>(options.header_bytes_max, 4096) + 64 * 1024);
    for (;;) {
      Parser parser;
      parser.header_limit(static_cast<std::uint32_t>(options.header_bytes_max));
      parser.body_limit(boost::none);  // as long as it is not known whether the body is streamed
      std::uint64_t body_max = options.body_bytes_max;
      auto error = co_await read_head(session, buffer, parser);
      auto exchange = exchange_of(parser.get());
      exchange.encrypted = session.wire.is_encrypted();
      if (!error) {
        session.expect_whenever();
        if (const auto response = co_await refuse_early(session, parser, exchange, body_max))
          co_return co_await refuse(session, *response, exchange);
        if (streams(parser)) {
          if (!co_await answer_stream(session, buffer, parser, exchange)) co_return;
          session.served = true;
          continue;
        }
        error = co_await read_body(session, buffer, parser);
      }
      if (error) {
        const auto refused = refusal(error, options, body_max);
        if (refused) co_await refuse(session, problem(*refused, exchange.instance, exchange.id), exchange);
        co_return;
      }
      session.expect_whenever();
      const auto response = co_await answer(parser, exchange, session);
      settle(exchange, response);
      co_await write(session, response, exchange);
      session.served = true;
      if (!exchange.keep_alive) co_return co_await say_goodbye(session);
    }
  }

  static Async<> run_session(std::shared_ptr<State> state, tcp::socket socket) {
    error_code ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    const auto session = std::make_shared<Session>(std::move(socket), state->certificate.current());
    const auto place = state->sessions.insert(state->sessions.end(), session);
    state->connections_open.add(1);
    try {
      if (session->wire.is_encrypted()) {
        session->expect_within(std::min(handshake_max, state->options.request_timeout));
        co_await session->wire.async_handshake(asio::ssl::stream_base::server, asio::use_awaitable);
      }
      co_await state->serve(*session);
    } catch (const std::exception&) {
      // The client went away while we wrote, or the server is being stopped.
    }
    state->connections_open.add(-1);
    state->sessions.erase(place);
  }

  static Async<> watch(std::shared_ptr<State> state) {
    while (!state->stopping || !state->sessions.empty()) {
      co_await sleep_for(watch_interval);
      for (const auto& session : state->sessions) session->interrupt_if_due(Session::Clock::now());
    }
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

Server::Server(Executor executor, ServerOptions options, const Router& router, Metrics& metrics)
    : state_(std::make_shared<State>(std::move(executor), std::move(options), router, metrics)) {}

Server::~Server() = default;

Result<std::uint16_t> Server::listen() {
  auto& acceptor = state_->acceptor;
  const auto& options = state_->options;
  if (const auto loaded = state_->certificate.load(); !loaded) return std::unexpected(loaded.error());
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
  state_->tasks.spawn(State::watch(state_));
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
  state->tasks.spawn(State::watch(state));  // the other may have seen none, and ended
  for (const auto& session : state->sessions) {
    if (!session->busy) session->wire.socket().cancel(ignored);
  }
  co_await state->tasks.join(deadline);
  state->tasks.stop();
  co_await state->tasks.join(Deadline::in(std::chrono::milliseconds{1000}));
}

}  // namespace cognive::http
