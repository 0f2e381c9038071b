#include "celery/worker.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <boost/asio/experimental/awaitable_operators.hpp>

#include "amqp/topology.hpp"
#include "celery/control.hpp"
#include "celery/functions.hpp"
#include "celery/sent_tasks.hpp"
#include "observe/log.hpp"
#include "tasks/worker.hpp"

namespace cognive::celery {
namespace {

using std::chrono::milliseconds;

constexpr std::string_view events_exchange = "celeryev";
constexpr std::string_view replies_exchange = "reply.celery.pidbox";

// As Celery's own workers beat; monitors take a worker for lost that has not for a minute.
constexpr milliseconds heartbeat_interval{2'000};
constexpr std::size_t revoked_max = 10'000;
constexpr std::uint16_t control_prefetch = 100;
// What a clock of a worker may be set to: whole numbers that JSON readers keep, and nobody reaches.
constexpr std::int64_t clock_max = std::int64_t{1} << 53U;
constexpr milliseconds after_hard_limit{10'000};
constexpr milliseconds hand_over_interval{2'000};
constexpr milliseconds hand_over_deadline{10'000};

constexpr tasks::Definition prune_arrivals{.name = "celery.prune", .time_limit = milliseconds{60'000}};

std::string node_name() {
  auto process = tasks::process_name();  // host:process
  const auto colon = process.rfind(':');
  return fmt::format("cognive.{}@{}", process.substr(colon + 1), process.substr(0, colon));
}

double seconds_of(Timestamp time) {
  return std::chrono::duration<double>(time.point().time_since_epoch()).count();
}

// What became of one call.
struct Outcome {
  std::string result;  // JSON
  std::optional<Failure> failure;
  bool may_pass_later = false;
};

Async<Outcome> call_once(const Function& function, const Invocation& invocation, Deadline deadline) {
  Outcome out;
  try {
    out.result = co_await function(invocation, deadline);
  } catch (const TaskFailed& error) {
    out.failure = Failure{error.type(), "builtins", error.what()};
  } catch (const boost::system::system_error&) {
    throw;  // cancelled
  } catch (const Unavailable& error) {
    out.failure = Failure{"ConnectionError", "builtins", error.what()};
    out.may_pass_later = true;
  } catch (const std::exception& error) {
    out.failure = Failure{"RuntimeError", "builtins", error.what()};
  }
  co_return out;
}

}  // namespace

struct Worker::State : std::enable_shared_from_this<State> {
  State(Executor of_thread, WorkerOptions given, pg::Cluster& cluster, amqp::Connection& to_tell, redis::Client* redis,
        Metrics& all_metrics)
      : executor(std::move(of_thread)),
        options(std::move(given)),
        database(cluster),
        publisher(to_tell),
        metrics(all_metrics),
        results(cluster, redis),
        intake(executor, database, results, definitions(), metrics),
        loops(executor, [](const std::exception_ptr&) {}) {
    self.node = node_name();
    for (const auto& entry : functions()) self.names.emplace_back(entry.definition.name);
    self.queues = options.queues;
    self.concurrency = options.concurrency;
    self.prefetch = options.prefetch;
    self.started_at = std::chrono::steady_clock::now();
    self.broker_host = options.url.host;
    self.broker_port = options.url.port;
    self.broker_user = options.url.user;
    self.virtual_host = options.url.virtual_host;
  }

  Executor executor;
  WorkerOptions options;
  pg::Cluster& database;
  amqp::Connection& publisher;
  Metrics& metrics;
  Results results;
  Intake intake;
  Inspection self;
  std::unique_ptr<amqp::Connection> connection;
  std::function<void()> wake;
  TaskGroup loops;
  bool was_connected = false;

  [[nodiscard]] std::string control_queue() const { return self.node + "." + std::string(control_exchange); }

  void connect() {
    amqp::ConnectionOptions wanted{.url = options.url, .name = "cognive worker", .topology = amqp::topology()};
    auto& topology = wanted.topology;
    topology.exchanges.push_back({.name = std::string(events_exchange), .type = "topic"});
    topology.exchanges.push_back(control_exchange_declaration());
    topology.exchanges.push_back({.name = std::string(replies_exchange), .type = "direct", .is_durable = false});
    topology.queues.push_back(
        {.name = control_queue(),
         .is_durable = false,
         .is_auto_delete = true,
         .arguments = {{"x-expires", std::int64_t{10'000}}, {"x-message-ttl", std::int64_t{300'000}}}});
    topology.bindings.push_back({.queue = control_queue(), .exchange = std::string(control_exchange)});
    for (const auto& queue : options.queues) {
      topology.queues.push_back({.name = queue});
      wanted.subscriptions.push_back({.queue = queue,
                                      .prefetch = options.prefetch,
                                      .handle = [this](amqp::Delivery delivery) { take(std::move(delivery)); }});
    }
    wanted.subscriptions.push_back(
        {.queue = control_queue(), .prefetch = control_prefetch, .handle = [this](const amqp::Delivery& delivery) {
           control(delivery);
           connection->acknowledge(delivery);
         }});
    wanted.body_bytes_max = body_bytes_max;
    connection = std::make_unique<amqp::Connection>(executor, std::move(wanted), metrics);
    connection->start();
  }

  void take(amqp::Delivery delivery) { intake.take(std::move(delivery), *connection); }

  // Nobody may be listening, and nothing depends on it.
  void tell(std::string_view type, const std::function<void(json::Writer&)>& more) {
    if (!connection || !connection->is_connected()) return;
    json::Writer body;
    body.begin_object();
    body.field("hostname", self.node);
    body.key("utcoffset");
    body.integer(0);
    body.key("pid");
    body.integer(getpid());
    body.key("clock");
    body.integer(++self.clock);
    body.key("timestamp");
    body.real(seconds_of(Timestamp::now()));
    body.field("type", type);
    more(body);
    body.end_object();
    amqp::Message message;
    message.exchange = events_exchange;
    message.routing_key = type;
    std::ranges::replace(message.routing_key, '-', '.');
    message.properties.content_type = "application/json";
    message.properties.content_encoding = "utf-8";
    message.properties.is_persistent = false;
    message.properties.headers = {{"hostname", self.node}};
    message.body = std::move(body).text();
    publisher.publish_if_possible(std::move(message));
  }

  void tell_of_itself(std::string_view type) {
    tell(type, [this](json::Writer& out) {
      out.key("freq");
      out.real(std::chrono::duration<double>(heartbeat_interval).count());
      out.key("active");
      out.integer(static_cast<std::int64_t>(self.active.size()));
      out.key("processed");
      std::int64_t processed = 0;
      for (const auto& [name, count] : self.processed) processed += count;
      out.integer(processed);
      std::array<double, 3> load{};
      [[maybe_unused]] const int known = getloadavg(load.data(), load.size());
      out.key("loadavg");
      out.begin_array();
      for (const double one : load) out.real(one);
      out.end_array();
      out.field("sw_ident", "cognive");
      out.field("sw_ver", "1");
      out.field("sw_sys", "Linux");
    });
  }

  // Only while a monitor wants them.
  void tell_of_task(std::string_view type, const TaskMessage& task, const std::function<void(json::Writer&)>& more) {
    if (!self.sends_events) return;
    tell(type, [&](json::Writer& out) {
      out.field("uuid", task.id);
      more(out);
    });
  }

  void tell_of_arrival(const TaskMessage& task) {
    tell_of_task("task-received", task, [&](json::Writer& out) {
      const auto or_null = [&](std::string_view name, const std::optional<std::string>& text) {
        out.key(name);
        if (text) {
          out.string(*text);
        } else {
          out.null();
        }
      };
      const auto time = [](const std::optional<Timestamp>& at) {
        return at ? std::optional(at->text()) : std::nullopt;
      };
      out.field("name", task.name);
      out.field("args", task.args_text);
      out.field("kwargs", task.kwargs_text);
      out.field("root_id", task.root_id.empty() ? task.id : task.root_id);
      or_null("parent_id", task.parent_id.empty() ? std::nullopt : std::optional(task.parent_id));
      out.key("retries");
      out.integer(task.retries);
      or_null("eta", time(task.eta));
      or_null("expires", time(task.expires));
    });
  }

  void control(const amqp::Delivery& delivery) {
    auto request = read_control(delivery.body, self.node);
    if (!request || request->is_for_others) return;
    if (const auto* clock = amqp::find(delivery.properties.headers, "clock")) {
      const auto* theirs = std::get_if<std::int64_t>(&clock->of);
      if (theirs != nullptr && *theirs < clock_max) self.clock = std::max(self.clock, *theirs);
    }
    if (request->method == "revoke") {
      if (self.revoked.size() + request->ids.size() > revoked_max) self.revoked.clear();
      self.revoked.insert(request->ids.begin(), request->ids.end());
    }
    if (request->method == "enable_events") self.sends_events = true;
    if (request->method == "disable_events") self.sends_events = false;
    if (request->method == "heartbeat") tell_of_itself("worker-heartbeat");
    // To nobody but whom Celery's clients name: an exchange that is not there would end the connection.
    if (!request->wants_reply || request->reply_exchange != replies_exchange) return;
    json::Writer body;
    body.begin_object();
    body.key(self.node);
    body.raw(answer(*request, self));
    body.end_object();
    amqp::Message reply;
    reply.exchange = replies_exchange;
    reply.routing_key = request->reply_key;
    reply.properties.content_type = "application/json";
    reply.properties.content_encoding = "utf-8";
    reply.properties.is_persistent = false;
    reply.properties.headers = {{"ticket", request->ticket}, {"clock", ++self.clock}};
    reply.body = std::move(body).text();
    publisher.publish_if_possible(std::move(reply));
  }

  static Async<> beat(std::shared_ptr<State> state) {
    for (;;) {
      const bool is_connected = state->connection->is_connected();
      if (is_connected) state->tell_of_itself(state->was_connected ? "worker-heartbeat" : "worker-online");
      state->was_connected = is_connected;
      co_await sleep_for(is_connected ? heartbeat_interval : heartbeat_interval / 4);
    }
  }

  static Async<> hand_over_results(std::shared_ptr<State> state) {
    for (;;) {
      bool is_done = true;
      try {
        is_done = co_await state->results.hand_over(Deadline::in(hand_over_deadline));
      } catch (const boost::system::system_error& error) {
        if (error.code() == boost::asio::error::operation_aborted) throw;  // the process is stopping
      } catch (const std::exception&) {
        // Redis or the database is away, which others tell.
      }
      if (is_done) co_await sleep_for(tasks::jittered(hand_over_interval));
    }
  }

  // One attempt at a row.
  Async<> run(const Entry& entry, const tasks::Task& row) {
    auto read = json::decode<TaskMessage>(row.payload);
    if (!read) throw tasks::Hopeless("It is no task of Celery: " + read.error().detail);
    const auto task = std::move(*read);
    if (const auto reason = reason_not_to_begin(task); !reason.empty()) {
      tell_of_task("task-revoked", task, [&](json::Writer& out) {
        out.key("terminated");
        out.boolean(false);
        out.key("expired");
        out.boolean(reason == "expired");
      });
      self.revoked.erase(task.id);
      co_await results.revoke(task.id, reason);
      co_return;
    }
    self.active[task.id] = {task.id, task.name, task.args, task.kwargs, Timestamp::now()};
    struct Leave {
      State& state;
      const std::string& id;
      ~Leave() { state.self.active.erase(id); }
    } const leave{*this, task.id};
    tell_of_task("task-started", task, [](json::Writer&) {});
    const auto begun = std::chrono::steady_clock::now();
    const milliseconds hard{task.hard_limit_ms.value_or(entry.definition.time_limit.count())};
    // Without a soft limit the hard one comes first.
    const milliseconds soft{task.soft_limit_ms.value_or((hard + after_hard_limit).count())};
    const Invocation invocation{task.args, task.kwargs};
    using namespace boost::asio::experimental::awaitable_operators;
    auto ended = co_await (call_once(entry.function, invocation, Deadline::in(soft)) || sleep_for(hard));
    Outcome outcome;
    if (ended.index() == 0) {
      outcome = std::move(std::get<0>(ended));
    } else {
      outcome.failure = Failure{"TimeLimitExceeded", "billiard.exceptions",
                                fmt::format("{} s", static_cast<double>(hard.count()) / 1'000)};
    }
    const std::chrono::duration<double> runtime = std::chrono::steady_clock::now() - begun;
    co_await report(task, row, outcome, runtime.count());
  }

  [[nodiscard]] std::string reason_not_to_begin(const TaskMessage& task) const {
    if (self.revoked.contains(task.id)) return "revoked";
    if (task.expires && *task.expires <= Timestamp::now()) return "expired";
    return {};
  }

  Async<> report(const TaskMessage& task, const tasks::Task& row, const Outcome& outcome, double runtime) {
    if (!outcome.failure) {
      if (!task.ignores_result) co_await results.succeed(task.id, outcome.result);
      ++self.processed[task.name];
      tell_of_task("task-succeeded", task, [&](json::Writer& out) {
        out.field("result", outcome.result);
        out.key("runtime");
        out.real(runtime);
      });
      co_return;
    }
    const auto& failure = *outcome.failure;
    const auto text = fmt::format("{}: {}", failure.type, failure.message);
    const bool is_tried_again = outcome.may_pass_later && row.attempts < row.attempts_max;
    if (!task.ignores_result) {
      if (is_tried_again) {
        co_await results.retry(task.id, failure);
      } else {
        co_await results.fail(task.id, failure);
      }
    }
    if (!is_tried_again) ++self.processed[task.name];
    tell_of_task(is_tried_again ? "task-retried" : "task-failed", task, [&](json::Writer& out) {
      out.field("exception", text);
      out.field("traceback", text);
    });
    if (is_tried_again) throw std::runtime_error(text);
    throw tasks::Hopeless(text);
  }
};

Worker::Worker(Executor executor, WorkerOptions options, pg::Cluster& database, amqp::Connection& publisher,
               redis::Client* redis, Metrics& metrics)
    : state_(std::make_shared<State>(std::move(executor), std::move(options), database, publisher, redis, metrics)) {}

Worker::~Worker() = default;

void Worker::add_handlers(tasks::Handlers& handlers) {
  for (const auto& entry : functions()) {
    handlers.add(entry.definition,
                 [state = state_.get(), &entry](const tasks::Task& task, Deadline) { return state->run(entry, task); });
  }
  handlers.add(prune_arrivals, [state = state_.get()](const tasks::Task&, Deadline deadline) -> Async<> {
    co_await Intake::prune(state->database, deadline);
    co_await state->results.prune(deadline);
    co_await prune_sent(state->database, deadline);
  });
}

tasks::Schedule Worker::schedule() {
  return {.name = prune_arrivals.name, .interval = std::chrono::hours{1}, .task = prune_arrivals};
}

void Worker::start(std::function<void()> wake) {
  const auto& state = state_;
  state->wake = std::move(wake);
  state->intake.on_arrival([state = state.get()](const TaskMessage& task) {
    state->tell_of_arrival(task);
    if (!task.eta) state->wake();
  });
  state->intake.start();
  state->connect();
  state->loops.spawn(State::beat(state));
  state->loops.spawn(State::hand_over_results(state));
}

void Worker::stop_taking() {
  if (state_->connection) state_->connection->unsubscribe();
}

Async<> Worker::stop(Deadline deadline) {
  const auto state = state_;
  if (!state->connection) co_return;
  state->loops.stop();
  co_await state->loops.join(deadline);
  co_await state->intake.stop(deadline);
  state->tell_of_itself("worker-offline");
  co_await state->connection->stop(deadline);
}

}  // namespace cognive::celery
