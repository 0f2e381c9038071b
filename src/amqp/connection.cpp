#include "amqp/connection.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/this_coro.hpp>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "amqp/session.hpp"
#include "base/error.hpp"
#include "observe/log.hpp"

namespace cognive::amqp {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds backoff_first{100};
constexpr milliseconds backoff_max{5'000};
// A connection that ends sooner was none: the next one waits longer, and nobody is told.
constexpr milliseconds proven_after{3'000};
// Of what AMQP calls a short string, and of headers, which have to fit into a frame.
constexpr std::size_t short_text_max = 255;
constexpr std::size_t headers_json_max = std::size_t{48} << 10U;
constexpr milliseconds look_interval{500};  // at what is due without a message: heartbeats, probes

// Somebody who waits for the broker, in a coroutine of its own thread.
struct Waiting {
  explicit Waiting(Executor of_caller) : executor(std::move(of_caller)), settled(executor) {}

  Executor executor;
  Signal settled;
  bool is_done = false;  // these three: of the caller's thread
  std::string failure;
  bool has_no_queue = false;
  std::size_t open = 0;  // messages that are not confirmed; the rest is of the state, under its lock
  bool is_settled = false;
};

struct Publication {
  Message message;
  std::shared_ptr<Waiting> waiting;  // null: nobody
};

struct Settlement {
  std::uint64_t connection = 0;
  std::uint16_t channel = 0;
  std::uint64_t tag = 0;
  std::optional<Connection::Then> rejected;
};

// Whether librabbitmq can send it: otherwise it would take the connection along.
bool can_be_sent(const Message& message) {
  const auto& properties = message.properties;
  for (const auto* text : {&message.exchange, &message.routing_key, &properties.content_type,
                           &properties.content_encoding, &properties.correlation_id, &properties.reply_to,
                           &properties.message_id, &properties.expiration, &properties.type}) {
    if (text->size() > short_text_max) return false;
  }
  return properties.headers.empty() || json_of(properties.headers).size() <= headers_json_max;
}

milliseconds backoff(int attempt) {
  thread_local std::mt19937 random{std::random_device{}()};
  const auto longest = std::min(backoff_max, backoff_first * (1 << std::min(attempt, 10)));
  return milliseconds{std::uniform_int_distribution<std::int64_t>(longest.count() / 2, longest.count())(random)};
}

}  // namespace

struct Connection::State : Listener, std::enable_shared_from_this<State> {
  State(Executor of_connection, ConnectionOptions given, Metrics& metrics)
      : executor(std::move(of_connection)),
        options(std::move(given)),
        wake_up(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        open_connections(metrics.gauge("mq_connections_open", "Connections to RabbitMQ that are signed in",
                                       {{"connection", options.name}})),
        blocked_connections(metrics.gauge("mq_connections_blocked", "Connections that RabbitMQ takes no messages from",
                                          {{"connection", options.name}})),
        ended(executor) {}
  ~State() override { ::close(wake_up); }

  Executor executor;
  ConnectionOptions options;
  int wake_up;
  Gauge open_connections;
  Gauge blocked_connections;
  Signal ended;
  bool has_ended = false;  // of the executor's thread

  std::mutex mutex;  // for everything down to the next comment
  std::condition_variable changed;
  std::deque<Publication> outgoing;
  std::deque<Settlement> settlements;
  std::map<std::uint64_t, Publication> unconfirmed;  // by number; only what fails is looked up again
  std::vector<std::shared_ptr<Waiting>> probes;      // that are to be asked
  std::vector<std::shared_ptr<Waiting>> asked;
  std::string reason = "it is being connected to";  // why there is no connection; empty: there is one
  std::optional<std::string> blocked;
  bool wants_subscriptions = true;
  bool is_stopping = false;
  bool is_abandoned = false;  // nothing may be posted any more
  int socket = -1;            // to be shut down by whoever has no more patience

  // Of the connection's own thread.
  std::atomic<std::uint64_t> connection = 0;                    // which one it is; written here, read by all
  int attempt = 0;                                              // to connect, since one was proven
  std::string told;                                             // why it is away, as the log says
  std::map<std::uint16_t, std::set<std::uint64_t>> unsettled;   // tags that were delivered, by channel
  std::map<std::uint16_t, std::set<std::uint64_t>> settleable;  // of those, acknowledged here and not told yet

  void wake() const {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(wake_up, &one, sizeof one);
  }

  // The lock must be held.
  void settle(const std::shared_ptr<Waiting>& waiting, std::string failure, bool has_no_queue = false) {
    if (waiting->is_settled || is_abandoned) return;
    waiting->is_settled = true;
    post(waiting->executor, [waiting, has_no_queue, failure = std::move(failure)]() mutable {
      waiting->is_done = true;
      waiting->has_no_queue = has_no_queue;
      waiting->failure = std::move(failure);
      waiting->settled.notify_all();
    });
  }

  void confirm(Publication& publication, bool is_safe) {
    const auto& waiting = publication.waiting;
    if (waiting == nullptr) return;
    if (!is_safe) settle(waiting, "it has refused a message");
    if (--waiting->open == 0) settle(waiting, {});
  }

  void on_confirm(std::uint64_t number, bool multiple, bool is_safe) override {
    const std::lock_guard lock(mutex);
    const auto end = unconfirmed.upper_bound(number);
    const auto begin = multiple ? unconfirmed.begin() : unconfirmed.find(number);
    if (begin == unconfirmed.end()) return;
    for (auto one = begin; one != end; ++one) confirm(one->second, is_safe);
    unconfirmed.erase(begin, end);
  }

  void on_return(std::string correlation_id, std::string why) override {
    const std::lock_guard lock(mutex);
    for (auto& [number, publication] : unconfirmed) {
      if (publication.waiting != nullptr && publication.message.is_mandatory &&
          publication.message.properties.correlation_id == correlation_id)
        settle(publication.waiting, fmt::format("There is no queue {}: {}", publication.message.routing_key, why),
               true);
    }
  }

  void on_blocked(std::optional<std::string> why) override {
    log(why ? Level::warning : Level::info,
        why ? "RabbitMQ takes no messages: it is short of something" : "RabbitMQ takes messages again",
        {{"url", options.url.text()}, {"connection", options.name}, {"reason", why.value_or("")}});
    const std::lock_guard lock(mutex);
    if (!is_abandoned) blocked_connections.set(why ? 1 : 0);
    blocked = std::move(why);
    if (!blocked) return;
    for (const auto& publication : outgoing) {
      if (publication.waiting != nullptr) settle(publication.waiting, blocked_reason());
    }
    outgoing.clear();
  }

  void on_probe_answered() override {
    const std::lock_guard lock(mutex);
    for (const auto& waiting : std::exchange(asked, {})) settle(waiting, {});
  }

  void on_delivery(std::size_t subscription, Delivery delivery) override {
    delivery.connection = connection;
    unsettled[delivery.channel].insert(delivery.tag);
    const std::lock_guard lock(mutex);
    if (is_abandoned) return;
    post(executor, [self = shared_from_this(), subscription, delivery = std::move(delivery)]() mutable {
      self->options.subscriptions[subscription].handle(std::move(delivery));
    });
  }

  // The lock must be held.
  [[nodiscard]] std::string blocked_reason() const {
    return fmt::format("it takes no messages: {}", blocked.value_or(""));
  }

  // All that waits fails: nobody knows what the broker has got.
  void fail_all(const std::string& why) {
    const std::lock_guard lock(mutex);
    reason = why;
    blocked.reset();
    for (auto& [number, publication] : std::exchange(unconfirmed, {})) {
      if (publication.waiting != nullptr) settle(publication.waiting, why);
    }
    for (auto& publication : std::exchange(outgoing, {})) {
      if (publication.waiting != nullptr) settle(publication.waiting, why);
    }
    for (auto* list : {&probes, &asked}) {
      for (const auto& waiting : std::exchange(*list, {})) settle(waiting, why);
    }
    settlements.clear();
  }

  void send_publications(Session& session) {
    for (;;) {
      Publication next;
      {
        const std::lock_guard lock(mutex);
        if (outgoing.empty() || blocked) return;
        next = std::move(outgoing.front());
        outgoing.pop_front();
        // Whoever has given up would not hear of it.
        if (next.waiting != nullptr && next.waiting->is_settled) continue;
        if (!can_be_sent(next.message)) {
          if (next.waiting != nullptr) settle(next.waiting, "a message has names or headers that are too long");
          continue;
        }
      }
      const auto number = session.publish(next.message);
      {
        const std::lock_guard lock(mutex);
        if (!next.message.is_mandatory) next.message = {};
        unconfirmed.emplace(number, std::move(next));
      }
      session.receive();
    }
  }

  // Acknowledged tags below all others of their channel are told with one frame.
  void send_settlements(Session& session) {
    std::deque<Settlement> all;
    {
      const std::lock_guard lock(mutex);
      all.swap(settlements);
    }
    for (const auto& one : all) {
      if (one.connection != connection || unsettled[one.channel].count(one.tag) == 0) continue;
      if (one.rejected) {
        session.reject(one.channel, one.tag, *one.rejected == Then::requeue);
        unsettled[one.channel].erase(one.tag);
        settleable[one.channel].erase(one.tag);
      } else {
        settleable[one.channel].insert(one.tag);
      }
    }
    for (auto& [channel, tags] : settleable) {
      auto& left = unsettled[channel];
      std::uint64_t last = 0;
      while (!tags.empty() && !left.empty() && *tags.begin() == *left.begin()) {
        last = *tags.begin();
        tags.erase(tags.begin());
        left.erase(left.begin());
      }
      if (last != 0) session.acknowledge(channel, last, true);
      for (const auto tag : std::exchange(tags, {})) {
        session.acknowledge(channel, tag, false);
        left.erase(tag);
      }
    }
  }

  void send_probes(Session& session) {
    {
      const std::lock_guard lock(mutex);
      if (probes.empty()) return;
      const bool is_asking = !asked.empty();
      std::ranges::move(probes, std::back_inserter(asked));
      probes.clear();
      if (is_asking) return;
    }
    session.probe();
  }

  void note_proven() {
    attempt = 0;
    if (!told.empty())
      log(Level::info, "RabbitMQ is there again", {{"url", options.url.text()}, {"connection", options.name}});
    told.clear();
  }

  void set_socket(int descriptor) {
    const std::lock_guard lock(mutex);
    socket = descriptor;
    if (!is_abandoned) open_connections.set(descriptor >= 0 ? 1 : 0);
    if (!is_abandoned && descriptor < 0) blocked_connections.set(0);
  }

  // Until the connection fails, which is thrown, or is to be closed.
  void serve(Session& session) {
    const auto since = std::chrono::steady_clock::now();
    bool is_subscribed = false;
    for (;;) {
      bool wants = false;
      bool stops = false;
      {
        const std::lock_guard lock(mutex);
        wants = wants_subscriptions && !is_stopping;
        if (reason.empty() && std::chrono::steady_clock::now() - since > proven_after) note_proven();
        stops = is_stopping;
      }
      if (wants != is_subscribed && !options.subscriptions.empty()) {
        if (wants) {
          session.subscribe();
        } else {
          session.unsubscribe();
        }
        is_subscribed = wants;
      }
      send_settlements(session);
      send_probes(session);
      send_publications(session);
      session.receive();
      if (stops) return session.close();
      std::array<pollfd, 2> sources{{{session.socket(), POLLIN, 0}, {wake_up, POLLIN, 0}}};
      ::poll(sources.data(), sources.size(), static_cast<int>(look_interval.count()));
      std::uint64_t count = 0;
      [[maybe_unused]] const auto drained = ::read(wake_up, &count, sizeof count);
    }
  }

  // Why it ended; empty: it was to end.
  std::string connect_and_serve() {
    try {
      Session session(options, *this);
      // Before the session closes it: then the number may be somebody else's.
      struct Forget {
        State& state;
        ~Forget() { state.set_socket(-1); }
      } const forget{*this};
      ++connection;
      unsettled.clear();
      settleable.clear();
      {
        const std::lock_guard lock(mutex);
        if (is_stopping) return {};
        reason.clear();
      }
      set_socket(session.socket());
      serve(session);
      return {};
    } catch (const std::exception& error) {
      return error.what();
    }
  }

  [[nodiscard]] bool stops() {
    const std::lock_guard lock(mutex);
    return is_stopping;
  }

  void run() {
    for (; !stops(); ++attempt) {
      auto failure = connect_and_serve();
      if (failure.empty()) break;
      if (told != failure)
        log(Level::warning, "RabbitMQ is away",
            {{"url", options.url.text()}, {"connection", options.name}, {"reason", failure}});
      told = failure;
      fail_all(failure);
      std::unique_lock lock(mutex);
      changed.wait_for(lock, backoff(attempt), [this] { return is_stopping; });
    }
    fail_all("this process is stopping");
    const std::lock_guard lock(mutex);
    if (is_abandoned) return;
    post(executor, [self = shared_from_this()] {
      self->has_ended = true;
      self->ended.notify_all();
    });
  }

  void order_stop() {
    {
      const std::lock_guard lock(mutex);
      is_stopping = true;
    }
    changed.notify_all();
    wake();
  }

  // The thread ends when it can, and touches nothing of others.
  void abandon() {
    const std::lock_guard lock(mutex);
    is_stopping = true;
    is_abandoned = true;
    if (socket >= 0) ::shutdown(socket, SHUT_RDWR);
  }
};

Connection::Connection(Executor executor, ConnectionOptions options, Metrics& metrics)
    : state_(std::make_shared<State>(std::move(executor), std::move(options), metrics)) {}

Connection::~Connection() {
  state_->abandon();
  state_->changed.notify_all();
  state_->wake();
}

void Connection::start() {
  std::thread([state = state_] { state->run(); }).detach();
}

Async<> Connection::publish(std::vector<Message> messages, Deadline deadline) {
  if (messages.empty()) co_return;
  const auto state = state_;
  const auto waiting = std::make_shared<Waiting>(co_await boost::asio::this_coro::executor);
  waiting->open = messages.size();
  std::string refused;
  {
    const std::lock_guard lock(state->mutex);
    if (state->is_stopping) {
      refused = "this process is stopping";
    } else if (!state->reason.empty()) {
      refused = state->reason;
    } else if (state->blocked) {
      refused = state->blocked_reason();
    } else if (state->outgoing.size() + state->unconfirmed.size() + messages.size() > state->options.waiting_max) {
      refused = "too many messages wait for it";
    } else {
      for (auto& message : messages) state->outgoing.push_back({std::move(message), waiting});
    }
  }
  if (!refused.empty()) throw Unavailable(fmt::format("RabbitMQ is away: {}", refused));
  state->wake();
  while (!waiting->is_done && !deadline.passed()) co_await waiting->settled.wait(deadline);
  if (waiting->is_done && waiting->failure.empty()) co_return;
  {
    const std::lock_guard lock(state->mutex);
    waiting->is_settled = true;
  }
  if (waiting->has_no_queue) throw NoQueue(waiting->failure);
  throw Unavailable(fmt::format("RabbitMQ has not taken it: {}",
                                waiting->is_done ? waiting->failure : "it has not confirmed in time"));
}

bool Connection::publish_if_possible(Message message) {
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->is_stopping || !state_->reason.empty() || state_->blocked ||
        state_->outgoing.size() + state_->unconfirmed.size() >= state_->options.waiting_max)
      return false;
    state_->outgoing.push_back({std::move(message), nullptr});
  }
  state_->wake();
  return true;
}

void Connection::acknowledge(const Delivery& delivery) {
  {
    const std::lock_guard lock(state_->mutex);
    state_->settlements.push_back({delivery.connection, delivery.channel, delivery.tag, std::nullopt});
  }
  state_->wake();
}

void Connection::reject(const Delivery& delivery, Then then) {
  {
    const std::lock_guard lock(state_->mutex);
    state_->settlements.push_back({delivery.connection, delivery.channel, delivery.tag, then});
  }
  state_->wake();
}

bool Connection::is_current(const Delivery& delivery) const {
  return is_connected() && state_->connection == delivery.connection;
}

void Connection::unsubscribe() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->wants_subscriptions = false;
  }
  state_->wake();
}

Async<> Connection::stop(Deadline deadline) {
  const auto state = state_;
  state->order_stop();
  while (!state->has_ended && !deadline.passed()) co_await state->ended.wait(deadline);
  state->abandon();
}

Async<std::string> Connection::check(Deadline deadline) {
  const auto state = state_;
  constexpr milliseconds look_again{20};
  std::string failure;
  for (;;) {
    {
      const std::lock_guard lock(state->mutex);
      failure = state->blocked ? state->blocked_reason() : state->reason;
      if (state->blocked) co_return failure;
    }
    if (failure.empty()) break;
    if (deadline.remaining() <= look_again) co_return failure;
    co_await sleep_for(look_again);
  }
  const auto waiting = std::make_shared<Waiting>(co_await boost::asio::this_coro::executor);
  {
    const std::lock_guard lock(state->mutex);
    if (!state->reason.empty() || state->is_stopping) co_return "the connection has just ended";
    state->probes.push_back(waiting);
  }
  state->wake();
  while (!waiting->is_done && !deadline.passed()) co_await waiting->settled.wait(deadline);
  if (waiting->is_done) co_return waiting->failure;
  const std::lock_guard lock(state->mutex);
  waiting->is_settled = true;
  co_return "no answer in time";
}

bool Connection::takes_messages() const {
  const std::lock_guard lock(state_->mutex);
  return state_->reason.empty() && !state_->blocked;
}

bool Connection::is_connected() const {
  const std::lock_guard lock(state_->mutex);
  return state_->reason.empty();
}

}  // namespace cognive::amqp
