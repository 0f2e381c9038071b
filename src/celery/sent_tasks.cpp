#include "celery/sent_tasks.hpp"

#include <algorithm>
#include <boost/asio/this_coro.hpp>

#include "amqp/topology.hpp"
#include "base/crypto.hpp"
#include "base/text.hpp"
#include "celery/control.hpp"
#include "celery/worker.hpp"
#include "identity/permissions.hpp"
#include "pg/transact.hpp"
#include "tasks/worker.hpp"

namespace cognive::celery {
namespace {

using std::chrono::milliseconds;

constexpr std::int64_t sent_together_max = 500;
constexpr std::int64_t bytes_together_max = 8 << 20;
// Whoever has claimed some has so long to send them and to note it; then somebody else does.
constexpr milliseconds claim_time{30'000};
constexpr milliseconds claim_patience{5'000};
constexpr milliseconds confirm_patience{10'000};
constexpr milliseconds note_patience{10'000};
constexpr milliseconds backoff_max{30'000};
constexpr milliseconds result_patience{1'000};
constexpr std::chrono::seconds expiry_interval{10};
constexpr std::int64_t expired_together_max = 1'000;
constexpr std::int64_t pruned_together_max = 10'000;

#define COGNIVE_SENT_COLUMNS \
  "id, name, queue, created_at, due_at, expires_at, last_error, sent_at, given_up_at, revoked_at"
#define COGNIVE_WAITS "sent_at IS NULL AND given_up_at IS NULL AND revoked_at IS NULL"

constexpr pg::Query insert_query{
    "sent_task_insert",
    "INSERT INTO sent_tasks (id, name, queue, request_digest, message, message_bytes, due_at, expires_at) VALUES ($1, "
    "$2, $3, $4, $5, $6, coalesce($7, now() + coalesce($8, 0) * interval '1 second'), $9) ON CONFLICT (id) DO NOTHING"};
constexpr pg::Query same_query{"sent_task_same", "SELECT request_digest = $2 FROM sent_tasks WHERE id = $1"};
constexpr pg::Query get_query{"sent_task_get", "SELECT " COGNIVE_SENT_COLUMNS " FROM sent_tasks WHERE id = $1"};
constexpr pg::Query list_query{
    "sent_task_list",
    "SELECT " COGNIVE_SENT_COLUMNS
    " FROM sent_tasks WHERE ($1::timestamptz IS NULL OR (created_at, id) < ($1, $2)) AND ($4::text IS NULL OR queue = "
    "$4) AND ($5::text IS NULL OR name = $5) AND ($6::text IS NULL OR $6 = CASE WHEN sent_at IS NOT NULL THEN 'sent' "
    "WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN given_up_at IS NOT NULL THEN 'undeliverable' ELSE 'waiting' END) "
    "ORDER BY created_at DESC, id DESC LIMIT $3"};
// Whether somebody has tried to send it, and workers may have it.
constexpr pg::Query revoke_query{
    "sent_task_revoke",
    "UPDATE sent_tasks SET revoked_at = coalesce(revoked_at, now()), message = NULL WHERE id = $1 AND given_up_at IS "
    "NULL RETURNING attempts > 0"};

// The first of them whatever it has, the others as long as all together are not too large.
constexpr pg::Query claim_query{
    "sent_task_claim",
    "WITH due AS MATERIALIZED (SELECT id, message_bytes, due_at FROM sent_tasks WHERE " COGNIVE_WAITS
    " AND due_at <= now() AND (expires_at IS NULL OR expires_at > now()) ORDER BY due_at LIMIT $1 FOR UPDATE SKIP "
    "LOCKED), picked AS (SELECT id FROM (SELECT id, sum(message_bytes) OVER (ORDER BY due_at, id) AS bytes, "
    "row_number() OVER (ORDER BY due_at, id) AS place FROM due) d WHERE place = 1 OR bytes <= $2) "
    "UPDATE sent_tasks t SET attempts = t.attempts + 1, due_at = now() + $3 * interval '1 millisecond' "
    "FROM picked p WHERE t.id = p.id RETURNING t.id, t.queue, t.attempts, t.message"};
constexpr pg::Query sent_query{"sent_task_sent",
                               "UPDATE sent_tasks SET sent_at = now(), message = NULL, last_error = NULL, "
                               "given_up_at = NULL WHERE id = ANY($1::uuid[])"};
// Its queue may be misspelt, or its worker just being started: tried for ten minutes. Where it is not known whether
// RabbitMQ has it, it stays claimed: to send it again at once would be to send it twice.
constexpr pg::Query failed_query{
    "sent_task_failed",
    "UPDATE sent_tasks t SET last_error = f.error, due_at = coalesce(now() + f.wait * interval '1 millisecond', "
    "t.due_at), no_queue_since = CASE WHEN f.has_no_queue THEN coalesce(t.no_queue_since, now()) END, "
    "given_up_at = CASE WHEN f.has_no_queue AND t.no_queue_since < now() - interval '10 minutes' THEN now() END "
    "FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::bigint[], $5::boolean[]) "
    "AS f (id, attempts, error, wait, has_no_queue) WHERE t.id = f.id AND t.attempts = f.attempts AND t.sent_at IS "
    "NULL"};
// Not those that somebody is sending.
constexpr pg::Query expire_query{
    "sent_task_expire",
    "UPDATE sent_tasks SET given_up_at = now(), message = NULL, last_error = 'It expired before it could be sent.' || "
    "coalesce(' The error before: ' || last_error, '') WHERE id IN (SELECT id FROM sent_tasks WHERE " COGNIVE_WAITS
    " AND expires_at <= now() AND due_at <= now() LIMIT $1 FOR UPDATE SKIP LOCKED)"};
constexpr pg::Query waiting_query{"sent_task_waiting", "SELECT count(*) FROM sent_tasks WHERE " COGNIVE_WAITS};
constexpr pg::Query prune_query{
    "sent_task_prune",
    "DELETE FROM sent_tasks WHERE id IN (SELECT id FROM sent_tasks WHERE created_at < now() - interval '30 days' AND "
    "coalesce(sent_at, given_up_at, revoked_at) < now() - interval '30 days' LIMIT $1)"};

#undef COGNIVE_SENT_COLUMNS
#undef COGNIVE_WAITS

Error not_found() {
  return {Code::not_found, "There is no such task, or it was sent more than a month ago.", {}};
}

// A task runs whatever its worker lets it, whomever that is about.
Error teams_key() {
  return {Code::forbidden, "Only an organisation-wide key can send tasks to workers, or see them.", {}};
}

TaskMessage message_of(const TaskSend& request, const Uuid& id) {
  TaskMessage out;
  out.id = id.text();
  out.name = request.name;
  out.args = request.args.text;
  out.kwargs = request.kwargs.text;
  out.origin = "cognive@" + tasks::process_name();
  // Without the eta: what lies in a queue before its time lies in the memory of the worker that took it.
  out.expires = request.expires_at;
  if (request.time_limit_s) out.hard_limit_ms = *request.time_limit_s * 1'000;
  if (request.soft_time_limit_s) out.soft_limit_ms = *request.soft_time_limit_s * 1'000;
  out.ignores_result = request.ignore_result;
  return out;
}

Deadline sooner(Deadline deadline, milliseconds patience) {
  return Deadline{std::min(deadline.at, Deadline::in(patience).at)};
}

audit::Entry entry(std::string_view action, const Uuid& id, std::string details) {
  return {.action = action, .resource_kind = "task", .resource_id = id.text(), .details = std::move(details)};
}

// Arguments may be anything, secrets too, and the trail is for ever.
std::string details_of(const TaskSend& request) {
  json::Writer out;
  out.begin_object();
  out.field("name", request.name);
  out.field("queue", request.queue);
  if (request.eta) out.field("eta", request.eta->text());
  if (request.countdown_s) {
    out.key("countdown_s");
    out.integer(*request.countdown_s);
  }
  out.end_object();
  return std::move(out).text();
}

std::vector<SentTask> read(const pg::Rows& rows) {
  std::vector<SentTask> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& task = out[static_cast<std::size_t>(i)];
    std::optional<Timestamp> due_at;
    std::optional<Timestamp> given_up_at;
    rows[i].read(task.id, task.name, task.queue, task.created_at, due_at, task.expires_at, task.error, task.sent_at,
                 given_up_at, task.revoked_at);
    if (task.sent_at) {
      task.state = TaskState::sent;
    } else if (task.revoked_at) {
      task.state = TaskState::revoked;
      task.finished_at = task.revoked_at;
      task.error.reset();
    } else if (given_up_at) {
      task.state = TaskState::undeliverable;
      task.finished_at = given_up_at;
    } else {
      task.due_at = due_at;
    }
  }
  return out;
}

bool has_ended(TaskState state) {
  return state == TaskState::succeeded || state == TaskState::failed || state == TaskState::revoked ||
         state == TaskState::undeliverable;
}

TaskState state_of(std::string_view worker_state) {
  if (worker_state == "PENDING" || worker_state == "RECEIVED") return TaskState::sent;
  if (worker_state == "RETRY") return TaskState::retrying;
  if (worker_state == "SUCCESS") return TaskState::succeeded;
  if (worker_state == "FAILURE" || worker_state == "REJECTED" || worker_state == "IGNORED") return TaskState::failed;
  if (worker_state == "REVOKED") return TaskState::revoked;
  return TaskState::started;  // and what tasks call their own progress
}

void add(SentTask& task, StoredResult found) {
  task.state = state_of(found.state);
  task.worker_state = found.state;
  const bool has_failed = task.state == TaskState::failed || task.state == TaskState::retrying;
  task.error.reset();
  if (has_failed || task.state == TaskState::revoked) {
    task.error = exception_text(std::move(found.result));
  } else if (!found.result.empty()) {
    task.result = json::Any{std::move(found.result)};
  }
  if (!found.is_readable)
    task.error = "What its worker has stored cannot be shown: it is not JSON, or longer than 4 MiB.";
  if (!found.traceback.empty()) task.traceback = std::move(found.traceback);
  task.finished_at = has_ended(task.state) ? found.finished_at : std::nullopt;
}

}  // namespace

void TaskSend::check(json::Faults& faults) const {
  if (!faults.has_at("queue")) {
    const auto is_ours = [](std::string_view text) {
      return text == amqp::alerts_queue ||
             std::ranges::find(amqp::inbound_queues, text) != amqp::inbound_queues.end() || text.starts_with("dlq.");
    };
    // Of a short string of AMQP 0-9-1.
    if (queue.size() > 255) faults.add_at("queue", "It must have at most 255 bytes.");
    if (is_ours(queue)) faults.add_at("queue", "This queue is for events and alerts.", json::quoted(queue));
    if (queue.starts_with("amq.") || queue.ends_with(control_exchange))
      faults.add_at("queue", "This queue is not for tasks.", json::quoted(queue));
  }
  if (countdown_s && eta && !faults.has_at("eta") && !faults.has_at("countdown_s"))
    faults.add_at("eta", "Either countdown_s or eta says when it is sent.");
  if (eta && !faults.has_at("eta") && eta->point() > Timestamp::now().point() + std::chrono::seconds{countdown_s_max})
    faults.add_at("eta", "It must be within a year.", json::quoted(eta->text()));
  if (expires_at && !faults.has_at("expires_at")) {
    const auto due =
        eta.value_or(Timestamp::of(Timestamp::now().point() + std::chrono::seconds{countdown_s.value_or(0)}));
    if (*expires_at <= due)
      faults.add_at("expires_at", "It must be later than now, and than the task is due.",
                    json::quoted(expires_at->text()));
  }
  if (time_limit_s && soft_time_limit_s && !faults.has_at("time_limit_s") && !faults.has_at("soft_time_limit_s") &&
      *soft_time_limit_s > *time_limit_s)
    faults.add_at("soft_time_limit_s", "It must not be longer than time_limit_s.");
}

SentTasks::SentTasks(pg::Cluster& database, audit::Trail trail, amqp::Connection* publisher, redis::Client* redis,
                     SentTasksOptions options)
    : database_(database),
      trail_(std::move(trail)),
      publisher_(publisher),
      results_(database, redis),
      options_(std::move(options)) {}

Async<Result<SentTasks::Sent>> SentTasks::send(const Call& call, TaskSend request) {
  if (call.principal.team_id) co_return fail(teams_key());
  if (!options_.has_rabbitmq)
    co_return fail(Code::conflict, "Tasks are sent by RabbitMQ, and there is none: RABBITMQ_URL is not set.");
  if (std::ranges::find(options_.own_queues, request.queue) != options_.own_queues.end() &&
      !definitions().contains(request.name))
    co_return unprocessable("/name",
                            "Cognive's own workers read this queue (CELERY_QUEUES), and have no task of this name.",
                            json::quoted(shortened(request.name, 64)));
  const auto id = call.id_or_new(request.id);
  request.id.reset();
  const auto digest = sha256(json::encode(request));
  bool is_new = false;
  const auto message = json::encode(message_of(request, id));
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<SentTask>> {
    auto params =
        pg::Params::of(id, request.name, request.queue, pg::Bytes{digest}, pg::Json{message},
                       static_cast<std::int64_t>(message.size()), request.eta, request.countdown_s, request.expires_at);
    is_new = (co_await transaction.execute(insert_query, std::move(params))).affected() > 0;
    if (is_new) {
      trail_.record(transaction, call, entry("task_send", id, details_of(request)));
    } else {
      const auto same = co_await transaction.execute(same_query, pg::Params::of(id, pg::Bytes{digest}));
      if (same.empty() || !same[0].at<bool>(0))
        co_return fail(Code::conflict, "Another task has been sent with this id.");
    }
    co_return read(co_await transaction.execute(get_query, pg::Params::of(id))).at(0);
  };
  auto task = co_await pg::transact(database_, "task_send", call, body);
  if (!task) co_return std::unexpected(task.error());
  co_return Sent{std::move(*task), is_new};
}

Async<> SentTasks::add_result(SentTask& task, Deadline deadline) {
  if (task.state != TaskState::sent) co_return;
  if (auto found = co_await results_.find(task.id.text(), sooner(deadline, result_patience))) {
    add(task, std::move(*found));
  } else if (task.expires_at && *task.expires_at <= Timestamp::now()) {
    task.error = "It has expired, unless a worker had begun it.";
  }
}

void SentTasks::explain(SentTask& task) const {
  if (task.state == TaskState::waiting && !task.error && task.due_at && *task.due_at <= Timestamp::now() &&
      (publisher_ == nullptr || !publisher_->takes_messages()))
    task.error = "RabbitMQ is away, or takes no messages.";
}

Async<Result<SentTask>> SentTasks::get(const Call& call, Uuid id) {
  if (call.principal.team_id) co_return fail(teams_key());
  auto tasks = read(co_await database_.read_preferred(call).find(get_query, pg::Params::of(id), call.deadline));
  if (tasks.empty()) co_return fail(not_found());
  explain(tasks.front());
  try {
    co_await add_result(tasks.front(), call.deadline);
  } catch (const Unavailable&) {
    co_return fail(Code::unavailable, "Redis, where workers put their results, does not answer.");
  }
  co_return std::move(tasks.front());
}

Async<Result<json::Page<SentTask>>> SentTasks::list(const Call& call, SentTaskList query) {
  if (call.principal.team_id) co_return fail(teams_key());
  auto params = pg::Params::of(query.cursor, query.limit + 1, query.queue, query.name, query.state);
  auto tasks = read(co_await database_.read_preferred(call).execute(list_query, std::move(params), call.deadline));
  for (auto& task : tasks) explain(task);
  co_return json::page_of(std::move(tasks), query.limit,
                          [](const SentTask& task) { return json::PagePosition{task.created_at, task.id}; });
}

Async<Result<SentTask>> SentTasks::revoke(const Call& call, Uuid id) {
  auto known = co_await get(call, id);
  // Without Redis nobody can say whether it has ended, and it is revoked all the same.
  if (!known && known.error().code != Code::unavailable) co_return known;
  if (known && has_ended(known->state)) {
    // Results are for those who may read them.
    if (!call.principal.may(identity::permission::tasks_read)) {
      known->result.reset();
      known->error.reset();
      known->traceback.reset();
    }
    co_return known;
  }
  bool was_claimed = false;
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<SentTask>> {
    const auto revoked = co_await transaction.execute(revoke_query, pg::Params::of(id));
    if (!revoked.empty()) {
      was_claimed = revoked[0].at<bool>(0);
      trail_.record(transaction, call, entry("task_revoke", id, "{}"));
    }
    auto tasks = read(co_await transaction.execute(get_query, pg::Params::of(id)));
    if (tasks.empty()) co_return fail(not_found());
    co_return std::move(tasks.front());
  };
  auto task = co_await pg::transact(database_, "task_revoke", call, body);
  if (!task || !was_claimed) co_return task;
  // Its worker may have it by now; also one that is just being sent.
  try {
    if (publisher_ == nullptr) throw Unavailable("there is no RabbitMQ");
    std::vector<amqp::Message> messages;
    messages.push_back(revocation(id.text()));
    co_await publisher_->publish(std::move(messages), sooner(call.deadline, claim_patience));
  } catch (const Unavailable&) {
    co_return fail(Code::unavailable,
                   "It will not be sent if it has not been; but RabbitMQ is away, and workers cannot be told: repeat.");
  }
  co_return task;
}

// One publication, and what became of it.
struct Sender::Attempt {
  Uuid id;
  std::string queue;
  std::int64_t number = 0;
  std::string payload;
  std::string failure = "RabbitMQ has not confirmed it in time.";
  bool has_no_queue = false;
};

Sender::Sender(Executor executor, pg::Cluster& database, amqp::Connection& publisher, Metrics& metrics)
    : database_(database),
      publisher_(publisher),
      metrics_(metrics),
      waiting_(metrics.gauge("celery_tasks_to_send", "Tasks for Celery's workers that are not sent yet, due or not")),
      ended_(executor) {}

Async<> Sender::stop(Deadline deadline) {
  is_stopping_ = true;
  while (is_passing_ && co_await ended_.wait(deadline)) {
  }
}

Async<> Sender::send(amqp::Connection& publisher, std::shared_ptr<Attempt> attempt, Deadline deadline) {
  const auto task = json::decode<TaskMessage>(attempt->payload);
  if (!task) {
    attempt->failure = "It cannot be read: " + task.error().detail;
    co_return;
  }
  std::vector<amqp::Message> messages;
  messages.push_back(write(*task, attempt->queue));
  try {
    co_await publisher.publish(std::move(messages), deadline);
    attempt->failure.clear();
  } catch (const amqp::NoQueue& error) {
    attempt->failure = error.what();
    attempt->has_no_queue = true;
  } catch (const Unavailable& error) {
    attempt->failure = error.what();
  }
}

Async<> Sender::note(const std::vector<std::shared_ptr<Attempt>>& attempts) {
  using Type = pg::ArrayBuilder::Type;
  pg::ArrayBuilder sent(Type::uuid);
  pg::ArrayBuilder failed(Type::uuid);
  pg::ArrayBuilder numbers(Type::int8);
  pg::ArrayBuilder errors(Type::text);
  pg::ArrayBuilder waits(Type::int8);
  pg::ArrayBuilder without_queue(Type::boolean);
  std::size_t sent_count = 0;
  for (const auto& attempt : attempts) {
    if (attempt->failure.empty()) {
      sent.add(attempt->id);
      ++sent_count;
      continue;
    }
    failed.add(attempt->id);
    numbers.add(attempt->number);
    errors.add(std::string_view(attempt->failure));
    without_queue.add(attempt->has_no_queue);
    if (attempt->has_no_queue) {
      const auto number = static_cast<std::int32_t>(std::min<std::int64_t>(attempt->number, 100));
      waits.add(std::int64_t{tasks::backoff({.backoff_max = backoff_max}, number).count()});
    } else {
      waits.null();
    }
  }
  Call call;
  call.deadline = Deadline::in(note_patience);
  if (sent_count > 0) {
    pg::Params params;
    std::move(sent).move_into(params);
    co_await database_.primary().write(sent_query, std::move(params), call);
    metrics_.counter("celery_tasks_sent_total", "Tasks for Celery's workers that RabbitMQ has taken")
        .add(static_cast<double>(sent_count));
  }
  if (sent_count == attempts.size()) co_return;
  pg::Params params;
  for (auto* array : {&failed, &numbers, &errors, &waits, &without_queue}) std::move(*array).move_into(params);
  co_await database_.primary().write(failed_query, std::move(params), call);
}

Async<bool> Sender::pass() {
  if (is_stopping_) co_return false;
  struct Passing {
    Sender& sender;
    explicit Passing(Sender& of) : sender(of) { sender.is_passing_ = true; }
    Passing(const Passing&) = delete;
    Passing& operator=(const Passing&) = delete;
    ~Passing() {
      sender.is_passing_ = false;
      sender.ended_.notify_all();
    }
  } const passing(*this);
  Call call;
  call.deadline = Deadline::in(claim_patience);
  const auto now = std::chrono::steady_clock::now();
  if (now >= expires_next_) {
    co_await database_.primary().write(expire_query, pg::Params::of(expired_together_max), call);
    const auto waiting = co_await database_.primary().execute(waiting_query, {}, call.deadline);
    waiting_.set(static_cast<double>(waiting[0].at<std::int64_t>(0)));
    expires_next_ = now + expiry_interval;
  }
  // Not even looked at while nobody takes them.
  if (!publisher_.takes_messages()) throw Unavailable("RabbitMQ is away, or takes no messages");
  auto claimed = pg::Params::of(sent_together_max, bytes_together_max, std::int64_t{claim_time.count()});
  const auto rows = co_await database_.primary().write(claim_query, std::move(claimed), call);
  if (rows.empty()) co_return false;
  std::vector<std::shared_ptr<Attempt>> attempts;
  for (int i = 0; i < rows.size(); ++i) {
    auto& attempt = *attempts.emplace_back(std::make_shared<Attempt>());
    rows[i].read(attempt.id, attempt.queue, attempt.number, attempt.payload);
  }
  // Each by itself, since each may be without a queue, and all at once, since RabbitMQ takes its time to confirm.
  TaskGroup sending(co_await boost::asio::this_coro::executor, [](const std::exception_ptr&) {});
  for (const auto& attempt : attempts) sending.spawn(send(publisher_, attempt, Deadline::in(confirm_patience)));
  co_await sending.join(Deadline::in(confirm_patience + result_patience));
  co_await note(attempts);
  co_return rows.size() == sent_together_max;
}

Async<> prune_sent(pg::Cluster& database, Deadline deadline) {
  Call call;
  call.deadline = deadline;
  for (auto last = pruned_together_max; last == pruned_together_max && !deadline.passed();)
    last = (co_await database.primary().write(prune_query, pg::Params::of(pruned_together_max), call)).affected();
}

}  // namespace cognive::celery
