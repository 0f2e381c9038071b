#include "redis/client.hpp"

#include <fmt/format.h>

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <deque>
#include <random>

#include "base/error.hpp"
#include "observe/log.hpp"
#include "runtime/wire.hpp"

namespace cognive::redis {

namespace asio = boost::asio;
using boost::system::error_code;
using boost::system::system_error;
using Clock = std::chrono::steady_clock;

namespace {

using Socket = asio::generic::stream_protocol::socket;
using SocketWire = Wire<Socket>;

constexpr std::chrono::milliseconds backoff_first{100};
constexpr std::chrono::milliseconds backoff_max{1'000};

struct Waiting {
  explicit Waiting(const Executor& executor) : settled(executor) {}

  Signal settled;
  std::optional<Reply> reply;
  bool has_failed = false;
  Clock::time_point since = Clock::now();
};

std::shared_ptr<asio::ssl::context> encryption_of(const Url& url) {
  if (url.transport != Url::Transport::tls) return nullptr;
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_client);
  context->set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_sslv2 |
                       asio::ssl::context::no_sslv3 | asio::ssl::context::no_tlsv1 | asio::ssl::context::no_tlsv1_1);
  if (!url.verifies_peer) return context;
  context->set_default_verify_paths();
  if (!url.authority_file.empty()) context->load_verify_file(url.authority_file);
  context->set_verify_mode(asio::ssl::verify_peer);
  context->set_verify_callback(asio::ssl::host_name_verification(url.host));
  return context;
}

std::chrono::milliseconds backoff(int attempt) {
  thread_local std::mt19937 random{std::random_device{}()};
  const auto longest = std::min(backoff_max, backoff_first * (1 << std::min(attempt, 10)));
  return std::chrono::milliseconds{
      std::uniform_int_distribution<std::int64_t>(longest.count() / 2, longest.count())(random)};
}

}  // namespace

struct Client::State : std::enable_shared_from_this<State> {
  enum class Phase { idle, connecting, connected, reconnecting, closed };

  State(Executor of_thread, ClientOptions given, Metrics& metrics)
      : executor(std::move(of_thread)),
        options(std::move(given)),
        changed(executor),
        tasks(executor, [](const std::exception_ptr&) {}),
        failures(metrics.counter("redis_failures_total", "Commands that Redis has not answered")),
        connections(metrics.gauge("redis_connections_open", "Connections to Redis that are signed in")) {}

  Executor executor;
  ClientOptions options;
  Phase phase = Phase::idle;
  std::uint64_t connection = 0;  // that was made last
  std::string reason;            // why the last connection ended, or could not be made
  std::string outgoing;
  std::deque<std::shared_ptr<Waiting>> waiting;  // the oldest first, each with its command sent or in `outgoing`
  Signal changed;                                // there is something to send
  std::shared_ptr<SocketWire> wire;
  TaskGroup tasks;
  Counter failures;
  Gauge connections;

  Async<std::shared_ptr<SocketWire>> connected_socket() {
    Socket socket(executor);
    if (options.url.transport == Url::Transport::unix_socket) {
      const asio::local::stream_protocol::endpoint endpoint(options.url.path);
      co_await socket.async_connect(endpoint, asio::use_awaitable);
    } else {
      asio::ip::tcp::resolver resolver(executor);
      const auto found = co_await resolver.async_resolve(options.url.host, options.url.port, asio::use_awaitable);
      error_code error = asio::error::host_not_found;
      for (const auto& entry : found) {
        socket = Socket(executor);
        co_await socket.async_connect(entry.endpoint(), asio::redirect_error(asio::use_awaitable, error));
        if (!error) break;
      }
      if (error) throw system_error(error);
      socket.set_option(asio::ip::tcp::no_delay(true));
      socket.set_option(asio::socket_base::keep_alive(true));
    }
    co_return std::make_shared<SocketWire>(std::move(socket), encryption_of(options.url));
  }

  // Commands that only mean something at the begin of a connection; each must be answered well.
  Async<> sign_in(SocketWire& one) {
    if (one.is_encrypted()) {
      SSL_set_tlsext_host_name(one.native_handle(), options.url.host.c_str());
      co_await one.async_handshake(asio::ssl::stream_base::client, asio::use_awaitable);
    }
    std::vector<Command> commands;
    if (!options.url.password.empty()) {
      Command auth{"AUTH"};
      if (!options.url.user.empty()) auth.push_back(options.url.user);
      auth.push_back(options.url.password);
      commands.push_back(std::move(auth));
    }
    commands.push_back({"CLIENT", "SETNAME", "cognive"});
    if (options.url.database != 0) commands.push_back({"SELECT", std::to_string(options.url.database)});
    std::string text;
    for (const auto& command : commands) append(text, command);
    co_await asio::async_write(one, asio::buffer(text), asio::use_awaitable);
    ReplyReader reader;
    std::array<char, 4'096> buffer{};
    for (const auto& command : commands) {
      std::optional<Reply> reply;
      while (!(reply = reader.next())) {
        const auto size = co_await one.async_read_some(asio::buffer(buffer), asio::use_awaitable);
        reader.feed({buffer.data(), size});
      }
      if (reply->kind == Reply::Kind::error) throw std::runtime_error(command.front() + ": " + reply->text);
    }
  }

  // Why it could not be done; empty: the connection is there.
  Async<std::string> open() {
    try {
      auto one = co_await connected_socket();
      co_await sign_in(*one);
      wire = std::move(one);
    } catch (const system_error& error) {
      co_return error.code().message();
    } catch (const std::exception& error) {
      co_return error.what();
    }
    co_return std::string();
  }

  Async<> send() {
    for (;;) {
      while (!outgoing.empty()) {
        const auto text = std::exchange(outgoing, {});
        co_await asio::async_write(*wire, asio::buffer(text), asio::use_awaitable);
      }
      co_await changed.wait(Deadline::in(std::chrono::hours{1}));
    }
  }

  Async<> receive() {
    ReplyReader reader;
    std::array<char, 16'384> buffer{};
    for (;;) {
      const auto size = co_await wire->async_read_some(asio::buffer(buffer), asio::use_awaitable);
      reader.feed({buffer.data(), size});
      while (auto reply = reader.next()) {
        if (waiting.empty()) throw std::runtime_error("Redis answers what nobody has asked");
        const auto first = std::move(waiting.front());
        waiting.pop_front();
        first->reply = std::move(*reply);
        first->settled.notify_all();
      }
    }
  }

  // Ends the connection when the oldest command has waited for too long, whether or not somebody still waits for it.
  Async<> watch() {
    for (;;) {
      co_await sleep_for(std::max(options.reply_timeout / 4, std::chrono::milliseconds{1}));
      if (!waiting.empty() && Clock::now() - waiting.front()->since > options.reply_timeout)
        throw std::runtime_error(fmt::format("no answer in {} ms", options.reply_timeout.count()));
    }
  }

  void fail_all() {
    outgoing.clear();
    for (const auto& one : std::exchange(waiting, {})) {
      one->has_failed = true;
      one->settled.notify_all();
    }
  }

  // Until it is closed. Each of the parts ends the others when it fails.
  Async<> run() {
    const auto self = shared_from_this();
    using namespace asio::experimental::awaitable_operators;
    for (int attempt = 0;; ++attempt) {
      std::string failure;
      try {
        const auto opened = co_await (open() || sleep_for(options.connect_timeout));
        if (opened.index() == 1)
          throw std::runtime_error(fmt::format("not connected in {} ms", options.connect_timeout.count()));
        if (const auto& fault = std::get<0>(opened); !fault.empty()) throw std::runtime_error(fault);
        phase = Phase::connected;
        ++connection;
        attempt = 0;
        connections.add(1);
        if (!reason.empty()) log(Level::info, "Redis is there again", {{"url", options.url.text()}});
        reason.clear();
        for (const auto& one : waiting) one->since = Clock::now();
        co_await (send() && receive() && watch());
      } catch (const system_error& error) {
        if (phase == Phase::closed) throw;
        failure = error.code().message();
      } catch (const std::exception& error) {
        failure = error.what();
      }
      if (phase == Phase::connected) connections.add(-1);
      wire.reset();
      if (phase == Phase::closed) co_return;
      if (reason.empty()) log(Level::warning, "Redis is away", {{"url", options.url.text()}, {"reason", failure}});
      reason = failure.empty() ? "the connection ended" : failure;
      phase = Phase::reconnecting;
      fail_all();
      co_await sleep_for(backoff(attempt));
      if (phase == Phase::closed) co_return;
    }
  }
};

Client::Client(Executor executor, ClientOptions options, Metrics& metrics)
    : state_(std::make_shared<State>(std::move(executor), std::move(options), metrics)) {}

Client::~Client() {
  state_->phase = State::Phase::closed;
  state_->tasks.stop();
}

Async<Reply> Client::execute(Command command, Deadline deadline) {
  const auto state = state_;
  using Phase = State::Phase;
  const auto fail_with = [&](const std::string& reason) {
    state->failures.add();
    throw Unavailable(fmt::format("Redis is away: {}", reason));
  };
  if (state->phase == Phase::closed) fail_with("this process is stopping");
  if (state->phase == Phase::reconnecting) fail_with(state->reason);
  if (state->waiting.size() >= state->options.waiting_max) fail_with("too many commands wait for their replies");
  if (!state->waiting.empty() && Clock::now() - state->waiting.front()->since > deadline.remaining())
    fail_with("it answers too slowly");
  if (state->phase == Phase::idle) {
    state->phase = Phase::connecting;
    state->tasks.spawn(state->run());
  }
  const auto mine = std::make_shared<Waiting>(state->executor);
  append(state->outgoing, command);
  state->waiting.push_back(mine);
  state->changed.notify_all();
  while (!mine->reply && !mine->has_failed && !deadline.passed()) co_await mine->settled.wait(deadline);
  if (mine->has_failed) fail_with(state->reason);
  if (!mine->reply) fail_with("no answer in time");
  co_return std::move(*mine->reply);
}

std::uint64_t Client::connection() const {
  return state_->connection;
}

Async<> Client::close(Deadline deadline) {
  state_->phase = State::Phase::closed;
  state_->reason = "this process is stopping";
  state_->tasks.stop();
  co_await state_->tasks.join(deadline);
  state_->fail_all();
}

}  // namespace cognive::redis
