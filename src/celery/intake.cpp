#include "celery/intake.hpp"

#include <algorithm>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <deque>

#include "base/crypto.hpp"
#include "observe/log.hpp"
#include "pg/error.hpp"

namespace cognive::celery {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t batch_max = 500;
constexpr milliseconds statement_timeout{10'000};
constexpr milliseconds retry_wait{500};
constexpr std::size_t reason_length_max = 200;
// After the limit of the task itself, to tell of it.
constexpr milliseconds report_time{15'000};

// What came before is left out, also when its task is done and gone. A task that Celery sends again to be retried has
// another number of retries.
constexpr pg::Query adopt_query{
    "celery_adopt",
    "WITH come AS (SELECT DISTINCT ON (id, retries) * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::jsonb[], "
    "$5::timestamptz[], $6::bigint[], $7::bigint[]) AS t (id, retries, name, payload, due_at, attempts_max, "
    "time_limit) "
    "ORDER BY id, retries), "
    "fresh AS (INSERT INTO task_arrivals (id, retries) SELECT id, retries FROM come ON CONFLICT DO NOTHING "
    "RETURNING id, retries) "
    "INSERT INTO tasks (id, queue, name, payload, due_at, attempts_max, time_limit_ms) "
    "SELECT c.id, 'celery', c.name, c.payload, coalesce(c.due_at, now()), c.attempts_max, c.time_limit "
    "FROM come c JOIN fresh f ON f.id = c.id AND f.retries = c.retries ON CONFLICT (id) DO NOTHING RETURNING id"};

constexpr pg::Query prune_query{"celery_prune",
                                "DELETE FROM task_arrivals WHERE arrived_at < now() - interval '7 days'"};

// Of a row. Ids that are no UUIDs get one that follows from them, as do those of tasks that are sent again to be
// retried: the row of the try before may still be there, dead.
Uuid row_id(const std::string& id, std::int64_t retries) {
  if (const auto uuid = Uuid::parse(id); uuid && retries == 0) return *uuid;
  const auto digest = sha256(fmt::format("celery task {} {}", retries, id));
  auto text = to_hex(std::span(digest).first(16));
  for (const auto place : {20U, 16U, 12U, 8U}) text.insert(place, "-");
  return Uuid::parse(text).value_or(Uuid{});
}

// PostgreSQL's classes 22 (data exception) and 23 (integrity constraint violation). Whatever else is wrong, rights, the
// schema, the disk, is no fault of the message, which waits until it is mended.
bool is_fault_of_values(std::string_view state) {
  return state.starts_with("22") || state.starts_with("23");
}

}  // namespace

struct Intake::State : std::enable_shared_from_this<State> {
  struct Arrived {
    TaskMessage task;
    amqp::Delivery delivery;
    amqp::Connection* from = nullptr;
  };

  State(Executor executor, pg::Cluster& cluster, Results& all_results, Definitions all, Metrics& all_metrics)
      : database(cluster),
        results(all_results),
        definitions(std::move(all)),
        metrics(all_metrics),
        changed(executor),
        loops(executor, [](const std::exception_ptr&) {}) {}

  pg::Cluster& database;
  Results& results;
  Definitions definitions;
  Metrics& metrics;
  std::function<void(const TaskMessage&)> arrived;
  std::deque<Arrived> waiting;  // bounded by the prefetch of the connections
  bool stopping = false;
  Signal changed;
  TaskGroup loops;
  LogThrottle throttle;

  void count(std::string name, std::string help, Labels labels) { metrics.counter(name, help, labels).add(); }

  void refuse(const amqp::Delivery& delivery, amqp::Connection& from, std::string reason, std::string type,
              std::string module, std::string message) {
    from.reject(delivery, amqp::Connection::Then::dead_letter);
    count("mq_messages_failed_total", "Messages that were refused",
          {{"queue", delivery.queue}, {"reason", std::move(reason)}});
    const std::string id(amqp::text_of(delivery.properties.headers, "id"));
    if (const auto held_back = throttle.pass()) {
      log(Level::warning, "a task was refused",
          {{"queue", delivery.queue},
           {"id", id.substr(0, reason_length_max)},
           {"task", std::string(amqp::text_of(delivery.properties.headers, "task").substr(0, reason_length_max))},
           {"reason", message},
           {"more_before", *held_back}});
    }
    // Whoever waits for it hears why.
    if (id.empty() || id.size() > id_length_max || !json::valid_utf8(id)) return;
    loops.spawn(tell(shared_from_this(), id, {std::move(type), std::move(module), std::move(message)}));
  }

  static Async<> tell(std::shared_ptr<State> state, std::string id, Failure failure) {
    co_await state->results.fail(std::move(id), std::move(failure));
  }

  void take(amqp::Delivery delivery, amqp::Connection& from) {
    if (stopping) return;  // the broker gives it to somebody else
    auto task = read(delivery);
    if (!task) return refuse(delivery, from, "malformed", "ContentDisallowed", "kombu.exceptions", task.error().detail);
    if (!definitions.contains(task->name)) {
      auto message = fmt::format("No task is named {}.", task->name);
      return refuse(delivery, from, "unknown", "NotRegistered", "celery.exceptions", std::move(message));
    }
    delivery.body = {};
    waiting.push_back({std::move(*task), std::move(delivery), &from});
    changed.notify_all();
  }

  Async<> adopt(std::span<const Arrived> some) {
    using Type = pg::ArrayBuilder::Type;
    pg::ArrayBuilder id(Type::uuid);
    pg::ArrayBuilder retries(Type::int8);
    pg::ArrayBuilder name(Type::text);
    pg::ArrayBuilder payload(Type::jsonb);
    pg::ArrayBuilder due_at(Type::timestamptz);
    pg::ArrayBuilder attempts_max(Type::int8);
    pg::ArrayBuilder time_limit(Type::int8);
    for (const auto& one : some) {
      const auto& definition = definitions.find(one.task.name)->second;
      const milliseconds limit{one.task.hard_limit_ms.value_or(definition.time_limit.count())};
      const auto text = json::encode(one.task);
      id.add(row_id(one.task.id, one.task.retries));
      retries.add(one.task.retries);
      name.add(std::string_view(one.task.name));
      payload.add(pg::Json{text});
      due_at.add(one.task.eta);
      attempts_max.add(std::int64_t{definition.attempts_max});
      time_limit.add(std::int64_t{(limit + report_time).count()});
    }
    pg::Params params;
    for (auto* array : {&id, &retries, &name, &payload, &due_at, &attempts_max, &time_limit})
      std::move(*array).move_into(params);
    Call call;
    call.deadline = Deadline::in(statement_timeout);
    co_await database.primary().write(adopt_query, std::move(params), call);
  }

  static Async<> run(std::shared_ptr<State> state) {
    std::string last_failure;
    std::size_t batch = batch_max;
    std::size_t alone = 0;  // that are still to be tried one by one
    for (;;) {
      while (state->waiting.empty()) co_await state->changed.wait(Deadline::in(std::chrono::hours{1}));
      std::vector<Arrived> some;
      while (!state->waiting.empty() && some.size() < batch) {
        // Of a connection that is gone: the broker delivers it again.
        if (state->waiting.front().from->is_current(state->waiting.front().delivery))
          some.push_back(std::move(state->waiting.front()));
        state->waiting.pop_front();
      }
      if (some.empty()) continue;
      std::string failure;
      bool is_refused = false;
      try {
        co_await state->adopt(some);
      } catch (const pg::SqlError& error) {
        failure = error.what();
        is_refused = is_fault_of_values(error.state());
      } catch (const boost::system::system_error&) {
        throw;  // the process is stopping
      } catch (const std::exception& error) {
        failure = error.what();
      }
      if (is_refused && some.size() == 1) {
        state->refuse(some.front().delivery, *some.front().from, "unstorable", "ValueError", "builtins", failure);
        if (alone > 0 && --alone == 0) batch = batch_max;
        continue;
      }
      // Each by itself, so that one that cannot be stored holds up no other.
      if (is_refused) {
        batch = 1;
        alone = some.size();
      }
      if (failure != last_failure && !failure.empty())
        log(Level::warning, "tasks of RabbitMQ wait for the database", {{"reason", failure}});
      last_failure = failure;
      if (!failure.empty()) {
        std::move(some.rbegin(), some.rend(), std::front_inserter(state->waiting));
        co_await sleep_for(tasks::jittered(retry_wait));
        continue;
      }
      if (alone > 0 && --alone == 0) batch = batch_max;
      for (const auto& one : some) {
        one.from->acknowledge(one.delivery);
        state->count("mq_messages_consumed_total", "Messages that were taken from a queue and acknowledged",
                     {{"queue", one.delivery.queue}});
        if (state->arrived) state->arrived(one.task);
      }
    }
  }
};

Intake::Intake(Executor executor, pg::Cluster& database, Results& results, Definitions definitions, Metrics& metrics)
    : state_(std::make_shared<State>(std::move(executor), database, results, std::move(definitions), metrics)) {}

Intake::~Intake() = default;

void Intake::on_arrival(std::function<void(const TaskMessage&)> arrived) {
  state_->arrived = std::move(arrived);
}

void Intake::start() {
  state_->loops.spawn(State::run(state_));
}

void Intake::take(amqp::Delivery delivery, amqp::Connection& from) {
  state_->take(std::move(delivery), from);
}

Async<> Intake::stop(Deadline deadline) {
  const auto state = state_;
  state->stopping = true;
  state->loops.stop();
  co_await state->loops.join(deadline);
}

Async<> Intake::prune(pg::Cluster& database, Deadline deadline) {
  Call call;
  call.deadline = deadline;
  co_await database.primary().write(prune_query, {}, call);
}

}  // namespace cognive::celery
