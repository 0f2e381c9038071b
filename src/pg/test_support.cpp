#include "pg/test_support.hpp"

#include <unistd.h>

#include <boost/asio.hpp>
#include <filesystem>
#include <list>

namespace cognive::pg::test {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

class Server : public ::testing::Environment {
 public:
  void SetUp() override {
    const auto user = embedded::Identity::unprivileged();
    ASSERT_TRUE(user) << user.error().detail;
    root = std::filesystem::temp_directory_path() / ("cognive-pg-test-" + std::to_string(getpid()));
    auto opened = embedded::DataDirectory::open(root, *user);
    ASSERT_TRUE(opened) << opened.error().detail;
    directory.emplace(std::move(*opened));
    auto started = embedded::Cluster::start(*directory, {});
    ASSERT_TRUE(started) << started.error().detail;
    cluster.emplace(std::move(*started));
  }
  void TearDown() override {
    cluster.reset();
    directory.reset();
    std::filesystem::remove_all(root);
  }

  std::filesystem::path root;
  std::optional<embedded::DataDirectory> directory;
  std::optional<embedded::Cluster> cluster;
};

Server& environment() {
  static auto* instance = static_cast<Server*>(::testing::AddGlobalTestEnvironment(new Server));
  return *instance;
}
[[maybe_unused]] const auto& registered = environment();

void report(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const boost::system::system_error&) {
    // Stopped, or the other side has gone: what these tasks are there for.
  } catch (const std::exception& failure) {
    ADD_FAILURE() << failure.what();
  }
}

}  // namespace

embedded::Cluster& server() {
  return *environment().cluster;
}

Async<std::unique_ptr<Connection>> open_superuser(Executor executor) {
  return Connection::open(std::move(executor), server().superuser_url(), milliseconds{0}, soon());
}

Async<std::unique_ptr<Connection>> open_connection(Executor executor) {
  return Connection::open(std::move(executor), server().socket_url(), milliseconds{0}, soon());
}

Async<> administrate(Executor executor, std::string sql) {
  const auto connection = co_await open_superuser(std::move(executor));
  co_await connection->run_script(std::move(sql), soon());
}

PoolOptions pool_options(std::size_t shared, std::size_t exclusive) {
  PoolOptions options;
  options.url = server().socket_url();
  options.shared_connections = shared;
  options.exclusive_connections_max = exclusive;
  return options;
}

void run_test(const std::function<Async<>(Executor)>& test) {
  const auto body = [&]() -> Async<> {
    const auto executor = co_await asio::this_coro::executor;
    co_await test(executor);
  };
  run_to_end(body());
}

void with_pool(const std::function<Async<>(Pool&, Executor)>& test, PoolOptions options) {
  Metrics metrics;
  const auto body = [&](Executor executor) -> Async<> {
    Pool pool(executor, std::move(options), metrics);
    co_await test(pool, executor);
    co_await pool.close();
  };
  run_test(body);
}

void with_cluster(const std::function<Async<>(Cluster&, Executor)>& test) {
  Metrics metrics;
  const auto body = [&](Executor executor) -> Async<> {
    MonitorOptions options;
    options.primary_url = server().socket_url();
    Monitor monitor(executor, std::move(options), metrics);
    co_await monitor.start(soon());
    Cluster cluster(executor, pool_options(1, 4), monitor, metrics);
    co_await test(cluster, executor);
    co_await cluster.close();
    co_await monitor.stop(soon());
  };
  run_test(body);
}

Call some_call(Written* written) {
  Call call;
  call.deadline = Deadline::in(milliseconds{10'000});
  call.written = written;
  return call;
}

Async<bool> eventually(const std::function<Async<bool>()>& question, milliseconds patience) {
  const auto deadline = Deadline::in(patience);
  for (;;) {
    if (co_await question()) co_return true;
    if (deadline.passed()) co_return false;
    co_await sleep_for(milliseconds{10});
  }
}

std::ostream& operator<<(std::ostream& out, Outcome::Kind kind) {
  constexpr const char* names[] = {"pending", "answered", "refused", "unavailable", "other"};
  return out << names[static_cast<int>(kind)];
}

Async<> note_outcome(Async<Rows> statement, Outcome& outcome) {
  const auto begin = std::chrono::steady_clock::now();
  using enum Outcome::Kind;
  try {
    co_await std::move(statement);
    outcome.kind = answered;
  } catch (const SqlError& error) {
    outcome.kind = refused;
    outcome.reason = error.what();
    outcome.state = error.state();
  } catch (const Unavailable& error) {
    outcome.kind = unavailable;
    outcome.reason = error.what();
  } catch (const std::exception& error) {
    outcome.kind = other;
    outcome.reason = error.what();
  }
  ++outcome.ends;
  outcome.took = std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - begin);
}

Async<Outcome> outcome_of(Async<Rows> statement) {
  Outcome outcome;
  co_await note_outcome(std::move(statement), outcome);
  co_return outcome;
}

Async<Outcome> outcome_of_opening(Executor executor, std::string url, Deadline deadline) {
  const auto opening = [](Executor on, std::string where, Deadline until) -> Async<Rows> {
    const auto connection = co_await Connection::open(std::move(on), std::move(where), milliseconds{0}, until);
    co_return co_await connection->execute(one, {}, until);
  };
  co_return co_await outcome_of(opening(std::move(executor), std::move(url), deadline));
}

Tasks::Tasks(const Executor& executor) : TaskGroup(executor, report) {}

struct Ticker::State {
  explicit State(const Executor& executor) : tasks(executor) {}

  static Async<> tick(std::shared_ptr<State> state) {
    for (;;) {
      co_await sleep_for(milliseconds{5});
      const auto now = std::chrono::steady_clock::now();
      state->longest = std::max(state->longest, now - state->last);
      state->last = now;
    }
  }

  Tasks tasks;
  std::chrono::steady_clock::time_point last = std::chrono::steady_clock::now();
  std::chrono::steady_clock::duration longest{0};
};

Ticker::Ticker(const Executor& executor) : state_(std::make_shared<State>(executor)) {
  state_->tasks.spawn(State::tick(state_));
}

Ticker::~Ticker() {
  state_->tasks.stop();
}

milliseconds Ticker::longest_gap() const {
  const auto since = std::chrono::steady_clock::now() - state_->last;
  return std::chrono::duration_cast<milliseconds>(std::max(state_->longest, since));
}

struct Relay::State {
  struct Link {
    explicit Link(const Executor& executor) : client(executor), server(executor) {}
    void close() {
      boost::system::error_code ignored;
      client.close(ignored);
      server.close(ignored);
    }
    tcp::socket client;
    tcp::socket server;
    std::optional<std::size_t> budget;  // towards the client
  };

  explicit State(const Executor& relay_executor)
      : executor(relay_executor), acceptor(relay_executor), changed(relay_executor), tasks(relay_executor) {}

  Executor executor;
  tcp::acceptor acceptor;
  std::uint16_t port = 0;
  std::list<std::shared_ptr<Link>> links;
  std::size_t accepted = 0;
  std::size_t piece = 0;  // 0: all at once
  milliseconds pause{0};
  bool stalled = false;
  Signal changed;
  Tasks tasks;

  void open_port() {
    const tcp::endpoint endpoint(asio::ip::address_v4::loopback(), port);
    acceptor.open(endpoint.protocol());
    acceptor.set_option(tcp::acceptor::reuse_address(true));
    acceptor.bind(endpoint);
    acceptor.listen();
    port = acceptor.local_endpoint().port();
  }

  void close_all() {
    for (const auto& link : std::exchange(links, {})) link->close();
  }

  Async<> passage() {
    while (stalled) co_await changed.wait(Deadline::in(milliseconds{60'000}));
  }

  static Async<> accept(std::shared_ptr<State> state) {
    for (;;) {
      auto link = std::make_shared<Link>(state->executor);
      co_await state->acceptor.async_accept(link->client, asio::use_awaitable);
      ++state->accepted;
      state->links.push_back(link);
      state->tasks.spawn(serve(state, link));
    }
  }

  static Async<> serve(std::shared_ptr<State> state, std::shared_ptr<Link> link) {
    co_await state->passage();
    const tcp::endpoint target(asio::ip::address_v4::loopback(), server().primary().port());
    co_await link->server.async_connect(target, asio::use_awaitable);
    link->client.set_option(tcp::no_delay(true));
    link->server.set_option(tcp::no_delay(true));
    state->tasks.spawn(pump(state, link, true));
    state->tasks.spawn(pump(state, link, false));
  }

  static Async<> pump(std::shared_ptr<State> state, std::shared_ptr<Link> link, bool to_client) {
    auto& from = to_client ? link->server : link->client;
    auto& to = to_client ? link->client : link->server;
    std::vector<char> buffer(64UL * 1024);
    boost::system::error_code error;
    while (!error) {
      co_await state->passage();
      auto length =
          co_await from.async_read_some(asio::buffer(buffer), asio::redirect_error(asio::use_awaitable, error));
      co_await state->passage();
      const bool last = to_client && link->budget && length >= *link->budget;
      if (last) length = *link->budget;
      if (to_client && link->budget) *link->budget -= length;
      for (std::size_t sent = 0; sent < length;) {
        const bool in_pieces = to_client && state->piece > 0;
        const auto part = in_pieces ? std::min(state->piece, length - sent) : length - sent;
        co_await asio::async_write(to, asio::buffer(buffer.data() + sent, part), asio::use_awaitable);
        sent += part;
        if (in_pieces) co_await sleep_for(state->pause);
      }
      if (last) break;
    }
    link->close();
    std::erase(state->links, link);
  }
};

Relay::Relay(const Executor& executor) : state_(std::make_shared<State>(executor)) {
  listen();
}

Relay::~Relay() {
  state_->tasks.stop();
  state_->close_all();
  close_port();
}

std::string Relay::url() const {
  const auto url = server().tcp_url();
  const auto real = fmt::format(":{}/", server().primary().port());
  const auto at = url.find(real, url.find('@'));
  return url.substr(0, at) + fmt::format(":{}/", state_->port) + url.substr(at + real.size());
}

std::uint16_t Relay::port() const {
  return state_->port;
}

std::size_t Relay::accepted() const {
  return state_->accepted;
}

void Relay::dribble(std::size_t bytes, milliseconds pause) {
  state_->piece = bytes;
  state_->pause = pause;
}

void Relay::stall() {
  state_->stalled = true;
}

void Relay::flow() {
  state_->stalled = false;
  state_->piece = 0;
  state_->changed.notify_all();
}

void Relay::cut() {
  state_->close_all();
}

void Relay::cut_after(std::size_t bytes) {
  for (const auto& link : state_->links) link->budget = bytes;
}

void Relay::end_answers() {
  boost::system::error_code ignored;
  for (const auto& link : state_->links) link->client.shutdown(tcp::socket::shutdown_send, ignored);
}

void Relay::close_port() {
  boost::system::error_code ignored;
  state_->acceptor.close(ignored);
}

void Relay::listen() {
  state_->open_port();
  state_->tasks.spawn(State::accept(state_));
}

struct RefusingServer::State {
  explicit State(const Executor& executor)
      : acceptor(executor, tcp::endpoint(asio::ip::address_v4::loopback(), 0)), tasks(executor) {}

  tcp::acceptor acceptor;
  Tasks tasks;
  std::string answer;
  std::size_t knocks = 0;

  static Async<> accept(std::shared_ptr<State> state) {
    for (;;) {
      const auto socket = std::make_shared<tcp::socket>(state->acceptor.get_executor());
      co_await state->acceptor.async_accept(*socket, asio::use_awaitable);
      ++state->knocks;
      state->tasks.spawn(refuse(state, socket));
    }
  }

  // https://www.postgresql.org/docs/15/protocol-flow.html: requests for encryption are declined with N.
  static Async<> refuse(std::shared_ptr<State> state, std::shared_ptr<tcp::socket> socket) {
    constexpr std::size_t encryption_request_length = 8;
    for (;;) {
      std::array<unsigned char, 4> prefix{};
      co_await asio::async_read(*socket, asio::buffer(prefix), asio::use_awaitable);
      const std::size_t length = prefix[2] * 256UL + prefix[3];
      std::string rest(length - prefix.size(), '\0');
      co_await asio::async_read(*socket, asio::buffer(rest), asio::use_awaitable);
      if (length > encryption_request_length) break;
      co_await asio::async_write(*socket, asio::buffer("N", 1), asio::use_awaitable);
    }
    co_await asio::async_write(*socket, asio::buffer(state->answer), asio::use_awaitable);
  }
};

RefusingServer::RefusingServer(const Executor& executor, std::string state, std::string message)
    : state_(std::make_shared<State>(executor)) {
  std::string fields;
  const std::pair<char, std::string> all[] = {{'S', "FATAL"}, {'V', "FATAL"}, {'C', state}, {'M', message}};
  for (const auto& [kind, text] : all) fields += kind + text + '\0';
  fields += '\0';
  const auto length = fields.size() + 4;
  state_->answer = std::string("E") + '\0' + '\0' + static_cast<char>(length / 256) + static_cast<char>(length % 256);
  state_->answer += fields;
  state_->tasks.spawn(State::accept(state_));
}

RefusingServer::~RefusingServer() {
  state_->tasks.stop();
}

std::string RefusingServer::url() const {
  return fmt::format("postgresql://cognive:wrong-secret@127.0.0.1:{}/cognive",
                     state_->acceptor.local_endpoint().port());
}

std::size_t RefusingServer::knocks() const {
  return state_->knocks;
}

}  // namespace cognive::pg::test
