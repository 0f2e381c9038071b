#include "inbound/inbound.hpp"

#include <fmt/format.h>

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <random>

#include "amqp/topology.hpp"
#include "inbound/request.hpp"
#include "json/cursor.hpp"
#include "observe/log.hpp"

namespace cognive::inbound {
namespace {

using std::chrono::milliseconds;

constexpr int tries_max = 3;
// About five seconds: what begins a run is published before what happens in it.
constexpr int tries_without_run = 5;
constexpr milliseconds backoff_first{200};
constexpr milliseconds backoff_max{15'000};
// Before the deadline of a stop, for acknowledgements.
constexpr milliseconds farewell_time{500};
constexpr std::size_t detail_length_max = 300;

// From half of the wait to all of it.
milliseconds backoff(int attempt) {
  thread_local std::mt19937 random{std::random_device{}()};
  const auto longest = std::min(backoff_max, backoff_first * (1 << std::min(attempt, 10)));
  return milliseconds{std::uniform_int_distribution<std::int64_t>(longest.count() / 2, longest.count())(random)};
}

// What the first of its faults is, of an answer that names some. Never what was rejected, which is the sender's.
struct Fault {
  bool is_any = false;
  bool has_no_run = false;  // it is about a run that nobody knows, or not yet
  std::string text;
};

void note(Fault& out, json::Cursor& errors) {
  errors.each_item([&](std::size_t, json::Cursor& error) {
    if (error.kind() != json::Kind::object) return;
    std::string pointer;
    std::string message;
    error.each_field([&](std::string_view key, json::Cursor& value) {
      if (value.kind() != json::Kind::string) return;
      if (key == "pointer") pointer = value.string();
      if (key == "message") message = value.string();
    });
    out.has_no_run = out.has_no_run || (pointer == "/run_id" && message.starts_with("There is no such run"));
    if (out.text.empty()) out.text = pointer + ": " + message;
  });
}

// Of a problem document (`errors`), or of a batch (`errors` of each of those `rejected`).
Fault fault_of(std::string body) {
  Fault out;
  std::string title;
  const auto walked = json::walk(body, [&](json::Cursor& root) {
    if (root.kind() != json::Kind::object) return;
    root.each_field([&](std::string_view key, json::Cursor& value) {
      if (key == "title" && value.kind() == json::Kind::string) title = value.string();
      if (value.kind() != json::Kind::array) return;
      if (key == "errors") note(out, value);
      if (key != "rejected") return;
      value.each_item([&](std::size_t, json::Cursor& item) {
        out.is_any = true;
        if (item.kind() != json::Kind::object) return;
        item.each_field([&](std::string_view name, json::Cursor& errors) {
          if (name == "errors" && errors.kind() == json::Kind::array) note(out, errors);
        });
      });
    });
  });
  if (!walked) return {};
  if (out.text.empty()) out.text = title;
  return out;
}

// Because of a dependency, or how often the sender asks: not of the message.
bool may_pass_later(int status) {
  return status == 429 || status == 503 || status == 408;
}

}  // namespace

struct Inbound::State : std::enable_shared_from_this<State> {
  State(Executor of_thread, InboundOptions given, const http::Router& of_product, Metrics& all_metrics)
      : executor(std::move(of_thread)),
        options(std::move(given)),
        router(of_product),
        metrics(all_metrics),
        stopped(executor),
        messages(executor, [](const std::exception_ptr&) {}) {}

  Executor executor;
  InboundOptions options;
  const http::Router& router;
  Metrics& metrics;
  Signal stopped;
  bool stopping = false;
  std::unique_ptr<amqp::Connection> connection;
  TaskGroup messages;  // that are under way
  LogThrottle throttle;

  void connect() {
    amqp::ConnectionOptions wanted{.url = options.url,
                                   .name = "cognive events",
                                   .body_bytes_max = options.body_bytes_max,
                                   .topology = amqp::topology()};
    for (const auto queue : amqp::inbound_queues) {
      wanted.subscriptions.push_back({.queue = std::string(queue),
                                      .prefetch = options.prefetch,
                                      .handle = [this](amqp::Delivery message) { take(std::move(message)); }});
    }
    connection = std::make_unique<amqp::Connection>(executor, std::move(wanted), metrics);
    connection->start();
  }

  void take(amqp::Delivery message) {
    if (stopping) return;  // the broker will give it to somebody else
    if (amqp::find(message.properties.headers, "task") != nullptr)
      return options.tasks.take(std::move(message), *connection);
    messages.spawn(answer(shared_from_this(), std::move(message)));
  }

  static Async<> answer(std::shared_ptr<State> state, amqp::Delivery message) {
    auto request = request_of(message, state->options.body_bytes_max);
    message.body = {};
    if (!request) {
      state->refuse(message, "malformed", request.error().detail);
      co_return;
    }
    for (int tries = 1; state->connection->is_current(message); ++tries) {
      auto attempt = *request;
      attempt.deadline = Deadline::in(state->options.answer_timeout);
      const auto response = co_await state->router.dispatch(attempt);
      const auto fault = fault_of(response.body);
      const bool is_done = response.status < 300 && !fault.is_any;
      if (is_done) {
        state->connection->acknowledge(message);
        state->count("mq_messages_consumed_total", "Messages that were taken from a queue and acknowledged",
                     {{"queue", message.queue}});
        co_return;
      }
      // Messages are worked on side by side, and that which begins the run may still be on its way.
      const bool lacks_run = response.status == 404 || (response.status < 300 && fault.has_no_run);
      const bool is_tried_again = may_pass_later(response.status) || (lacks_run && tries < tries_without_run) ||
                                  (response.status >= 500 && tries < tries_max);
      if (!is_tried_again) {
        const auto reason = response.status < 300 ? "rejected" : std::to_string(response.status);
        state->refuse(message, reason, fault.text);
        co_return;
      }
      if (!co_await state->pause(tries)) co_return;
    }
  }

  // Whether it was not cut short by the end.
  Async<bool> pause(int tries) {
    const auto until = Deadline::in(backoff(tries));
    while (!stopping && !until.passed()) co_await stopped.wait(until);
    co_return !stopping;
  }

  void count(const std::string& name, const std::string& help, const Labels& labels) {
    metrics.counter(name, help, labels).add();
  }

  // To the dead letters.
  void refuse(const amqp::Delivery& message, const std::string& reason, std::string_view detail) {
    connection->reject(message, amqp::Connection::Then::dead_letter);
    count("mq_messages_failed_total", "Messages that were refused", {{"queue", message.queue}, {"reason", reason}});
    if (const auto held_back = throttle.pass()) {
      log(Level::warning, "a message was refused and is a dead letter now",
          {{"queue", message.queue},
           {"message_id", message.properties.message_id},
           {"reason", reason},
           {"detail", detail.substr(0, detail_length_max)},
           {"more_before", *held_back}});
    }
  }
};

Inbound::Inbound(Executor executor, InboundOptions options, const http::Router& router, Metrics& metrics)
    : state_(std::make_shared<State>(std::move(executor), std::move(options), router, metrics)) {}

Inbound::~Inbound() = default;

void Inbound::start() {
  state_->connect();
}

Async<> Inbound::stop(Deadline deadline) {
  const auto state = state_;
  if (!state->connection) co_return;
  state->connection->unsubscribe();
  state->stopping = true;
  state->stopped.notify_all();
  const Deadline patience{deadline.at - std::min(farewell_time, deadline.remaining() / 2)};
  if (!co_await state->messages.join(patience)) {
    state->messages.stop();
    co_await state->messages.join(deadline);
  }
  co_await state->connection->stop(deadline);
}

}  // namespace cognive::inbound
