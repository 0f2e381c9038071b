#include "tasks/embedded_queue.hpp"

#include <algorithm>
#include <boost/asio/this_coro.hpp>
#include <boost/system/system_error.hpp>
#include <deque>
#include <set>

namespace cognive::tasks {
namespace {

// A claim is told from a later one of the same task by the number of the attempt.
#define COGNIVE_CLAIM "id = $1 AND claimed_by = $2 AND attempts = $3 AND died_at IS NULL"

constexpr pg::Query enqueue_query{
    "task_enqueue",
    "INSERT INTO tasks (id, queue, name, payload, key, due_at, expires_at, attempts_max, time_limit_ms) "
    "SELECT id, queue, name, payload, key, now() + delay * interval '1 millisecond', "
    "now() + lifetime * interval '1 millisecond', attempts_max, time_limit FROM unnest($1::uuid[], $2::text[], "
    "$3::text[], $4::jsonb[], $5::text[], $6::bigint[], $7::bigint[], $8::integer[], $9::bigint[]) "
    "AS t (id, queue, name, payload, key, delay, lifetime, attempts_max, time_limit) "
    "ON CONFLICT (name, key) WHERE key IS NOT NULL AND died_at IS NULL DO NOTHING"};

constexpr pg::Query take_query{
    "task_take",
    "WITH picked AS MATERIALIZED (SELECT id FROM tasks WHERE queue = $1 AND died_at IS NULL AND due_at <= now() "
    "AND (claimed_until IS NULL OR claimed_until <= now()) AND attempts < attempts_max "
    "AND (expires_at IS NULL OR expires_at > now()) ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED) "
    "UPDATE tasks t SET attempts = t.attempts + 1, claimed_by = $3, claimed_at = now(), "
    "claimed_until = now() + $4::bigint * interval '1 millisecond' FROM picked p WHERE t.id = p.id "
    "RETURNING t.id, t.queue, t.name, t.payload, t.key, t.attempts, t.attempts_max, t.time_limit_ms, t.due_at, "
    "t.expires_at, t.created_at"};

constexpr pg::Query extend_query{
    "task_extend",
    "UPDATE tasks t SET claimed_until = now() + $4::bigint * interval '1 millisecond' "
    "FROM unnest($1::uuid[], $2::integer[]) AS c (id, attempts) "
    "WHERE t.id = c.id AND t.attempts = c.attempts AND t.claimed_by = $3 AND t.died_at IS NULL RETURNING t.id"};

constexpr pg::Query finish_query{
    "task_finish",
    "DELETE FROM tasks t USING unnest($1::uuid[], $2::text[], $3::integer[]) AS c (id, worker, attempts) "
    "WHERE t.id = c.id AND t.claimed_by = c.worker AND t.attempts = c.attempts AND t.died_at IS NULL "
    "RETURNING t.id, t.attempts"};
constexpr std::size_t finished_max = 500;  // with one commit

// The latest dead letter of a key stands for those before it: what fails periodically leaves one, not thousands.
#define COGNIVE_REPLACE_DEAD(dead)                                                                      \
  "DELETE FROM tasks o USING " dead                                                                     \
  " d WHERE d.died_at IS NOT NULL AND o.died_at IS NOT NULL AND o.name = d.name AND o.key = d.key AND " \
  "o.id <> d.id"

// A dead letter keeps the time at which it was due.
constexpr pg::Query fail_query{
    "task_fail",
    "WITH verdict AS MATERIALIZED (SELECT id, now() + $5::bigint * interval '1 millisecond' AS again_at, "
    "$5::bigint IS NULL OR attempts >= attempts_max OR coalesce(expires_at <= now() + $5::bigint * interval '1 "
    "millisecond', false) AS dies "
    "FROM tasks WHERE " COGNIVE_CLAIM
    " FOR UPDATE), failed AS (UPDATE tasks t SET claimed_by = NULL, claimed_at = NULL, claimed_until = NULL, "
    "last_error = $4, died_at = CASE WHEN v.dies THEN now() END, due_at = CASE WHEN v.dies THEN t.due_at "
    "ELSE v.again_at END FROM verdict v WHERE t.id = v.id RETURNING t.id, t.name, t.key, t.died_at), "
    "replaced AS (" COGNIVE_REPLACE_DEAD("failed") ") SELECT died_at IS NOT NULL FROM failed"};

constexpr pg::Query give_back_query{
    "task_give_back",
    "UPDATE tasks t SET attempts = t.attempts - 1, claimed_by = NULL, claimed_at = NULL, claimed_until = NULL "
    "FROM unnest($1::uuid[], $2::integer[]) AS c (id, attempts) "
    "WHERE t.id = c.id AND t.attempts = c.attempts AND t.claimed_by = $3 AND t.died_at IS NULL"};

constexpr pg::Query bury_query{
    "task_bury",
    "WITH found AS MATERIALIZED (SELECT id FROM tasks WHERE id IN ("
    "(SELECT id FROM tasks WHERE expires_at <= now() AND died_at IS NULL LIMIT $1) UNION ALL "
    "(SELECT id FROM tasks WHERE claimed_until <= now() AND attempts >= attempts_max LIMIT $1)) "
    "AND died_at IS NULL AND (claimed_until IS NULL OR claimed_until <= now()) "
    "AND (expires_at <= now() OR attempts >= attempts_max) LIMIT $1 FOR UPDATE SKIP LOCKED), "
    "buried AS (UPDATE tasks t SET died_at = now(), claimed_by = NULL, claimed_at = NULL, claimed_until = NULL, "
    "last_error = left(CASE WHEN t.attempts >= t.attempts_max THEN 'The worker ' || t.claimed_by || ' was lost during "
    "the last attempt.' ELSE 'It expired before it could be run.' END || coalesce(' The error before: ' || "
    "t.last_error, ''), 1000) FROM found f WHERE t.id = f.id RETURNING t.id, t.name, t.key, t.died_at, t.last_error), "
    "replaced AS (" COGNIVE_REPLACE_DEAD("buried") ") SELECT id, name, last_error FROM buried"};

constexpr pg::Query waiting_query{
    "task_waiting",
    "SELECT queue, count(*) FROM tasks WHERE died_at IS NULL AND (claimed_until IS NULL OR claimed_until <= now()) "
    "GROUP BY queue"};

#undef COGNIVE_CLAIM
#undef COGNIVE_REPLACE_DEAD

pg::Params claim_of(const Task& task) {
  return pg::Params::of(task.id, task.worker, task.attempts);
}

// All of the worker of the first. In one order, so that two statements that meet wait for each other and do not
// deadlock.
pg::Params claims_of(std::vector<Task> tasks) {
  std::ranges::sort(tasks, {}, &Task::id);
  pg::ArrayBuilder id(pg::ArrayBuilder::Type::uuid);
  pg::ArrayBuilder attempts(pg::ArrayBuilder::Type::int4);
  for (const auto& task : tasks) {
    id.add(task.id);
    attempts.add(task.attempts);
  }
  pg::Params params;
  std::move(id).move_into(params);
  std::move(attempts).move_into(params);
  params.add(tasks.front().worker);
  return params;
}

pg::Params params_of(std::vector<NewTask> tasks) {
  // In one order, so that two callers with the same keys wait for each other and do not deadlock.
  std::ranges::sort(tasks, {}, [](const NewTask& task) { return std::tie(task.name, task.key); });
  using Type = pg::ArrayBuilder::Type;
  pg::ArrayBuilder id(Type::uuid);
  pg::ArrayBuilder queue(Type::text);
  pg::ArrayBuilder name(Type::text);
  pg::ArrayBuilder payload(Type::jsonb);
  pg::ArrayBuilder key(Type::text);
  pg::ArrayBuilder delay(Type::int8);
  pg::ArrayBuilder lifetime(Type::int8);
  pg::ArrayBuilder attempts_max(Type::int4);
  pg::ArrayBuilder time_limit(Type::int8);
  for (const auto& task : tasks) {
    id.add(Uuid::make());
    queue.add(std::string_view(task.queue));
    name.add(std::string_view(task.name));
    payload.add(pg::Json{task.payload});
    if (task.key) {
      key.add(std::string_view(*task.key));
    } else {
      key.null();
    }
    delay.add(std::int64_t{task.delay.count()});
    if (task.lifetime) {
      lifetime.add(std::int64_t{task.lifetime->count()});
    } else {
      lifetime.null();
    }
    attempts_max.add(task.attempts_max);
    time_limit.add(std::int64_t{task.time_limit.count()});
  }
  pg::Params params;
  for (auto* array : {&id, &queue, &name, &payload, &key, &delay, &lifetime, &attempts_max, &time_limit})
    std::move(*array).move_into(params);
  return params;
}

}  // namespace

struct EmbeddedQueue::Done {
  Done(Task done, Deadline until, const Executor& executor)
      : task(std::move(done)), deadline(until), changed(executor) {}

  Task task;
  Deadline deadline;
  Signal changed;  // it is settled, or may write
  bool is_settled = false;
  bool was_ours = false;
  std::exception_ptr failure;
};

// Outlives the queue where a coroutine that waits does.
struct EmbeddedQueue::Ends {
  std::deque<std::shared_ptr<Done>> waiting;  // to be written by whoever comes to it first
  bool is_writing = false;

  void tell_next() {
    if (!is_writing && !waiting.empty()) waiting.front()->changed.notify_all();
  }
};

// The turn of one who writes for all that wait, and what it says at its end, however that comes.
struct EmbeddedQueue::Writing {
  explicit Writing(std::shared_ptr<Ends> of) : ends(std::move(of)) {
    ends->is_writing = true;
    while (!ends->waiting.empty() && batch.size() < finished_max) {
      batch.push_back(std::move(ends->waiting.front()));
      ends->waiting.pop_front();
    }
    // In one order, as leases are extended.
    std::ranges::sort(batch, {}, [](const auto& one) { return one->task.id; });
  }
  Writing(const Writing&) = delete;
  Writing& operator=(const Writing&) = delete;
  ~Writing() {
    ends->is_writing = false;
    for (const auto& one : batch) {
      if (!one->is_settled)
        one->failure = std::make_exception_ptr(Unavailable("whoever wrote the end of the task was stopped"));
      one->is_settled = true;
      one->changed.notify_all();
    }
    ends->tell_next();
  }

  // Of the most patient: nobody's haste is the failure of others.
  [[nodiscard]] Deadline deadline() const {
    auto latest = batch.front()->deadline;
    for (const auto& one : batch) latest.at = std::max(latest.at, one->deadline.at);
    return latest;
  }

  std::shared_ptr<Ends> ends;
  std::vector<std::shared_ptr<Done>> batch;
};

EmbeddedQueue::EmbeddedQueue(pg::Cluster& database) : database_(database), ends_(std::make_shared<Ends>()) {}

EmbeddedQueue::~EmbeddedQueue() = default;

Async<pg::Rows> EmbeddedQueue::write(const pg::Query& query, pg::Params params, Deadline deadline) {
  Call call;
  call.deadline = deadline;
  co_return co_await database_.primary().write(query, std::move(params), call);
}

Async<std::int64_t> EmbeddedQueue::enqueue(pg::Transaction& transaction, std::vector<NewTask> tasks) {
  if (tasks.empty()) co_return 0;
  const auto rows = co_await transaction.execute(enqueue_query, params_of(std::move(tasks)));
  co_return rows.affected();
}

Async<std::int64_t> EmbeddedQueue::enqueue(std::vector<NewTask> tasks, Deadline deadline) {
  if (tasks.empty()) co_return 0;
  const auto rows = co_await write(enqueue_query, params_of(std::move(tasks)), deadline);
  co_return rows.affected();
}

Async<std::vector<Task>> EmbeddedQueue::take(std::string queue, std::int64_t count, std::string worker,
                                             std::chrono::milliseconds lease, Deadline deadline) {
  auto params = pg::Params::of(queue, count, worker, std::int64_t{lease.count()});
  const auto rows = co_await write(take_query, std::move(params), deadline);
  std::vector<Task> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& task = out[static_cast<std::size_t>(i)];
    std::int64_t time_limit_ms = 0;
    rows[i].read(task.id, task.queue, task.name, task.payload, task.key, task.attempts, task.attempts_max,
                 time_limit_ms, task.due_at, task.expires_at, task.created_at);
    task.time_limit = std::chrono::milliseconds{time_limit_ms};
    task.worker = worker;
  }
  std::sort(out.begin(), out.end(), [](const Task& a, const Task& b) { return a.due_at < b.due_at; });
  co_return out;
}

Async<std::vector<Uuid>> EmbeddedQueue::extend(std::vector<Task> tasks, std::chrono::milliseconds lease,
                                               Deadline deadline) {
  if (tasks.empty()) co_return std::vector<Uuid>{};
  auto params = claims_of(std::move(tasks));
  params.add(std::int64_t{lease.count()});
  const auto rows = co_await write(extend_query, std::move(params), deadline);
  std::vector<Uuid> out;
  for (int i = 0; i < rows.size(); ++i) out.push_back(rows[i].at<Uuid>(0));
  co_return out;
}

Async<bool> EmbeddedQueue::finish(Task task, Deadline deadline) {
  const auto ends = ends_;
  const auto mine = std::make_shared<Done>(std::move(task), deadline, co_await boost::asio::this_coro::executor);
  ends->waiting.push_back(mine);
  // Whoever leaves without having been written had perhaps been told that it is its turn.
  struct Leave {
    Ends& ends;
    const std::shared_ptr<Done>& one;
    ~Leave() {
      if (std::erase(ends.waiting, one) > 0) ends.tell_next();
    }
  } const leave{*ends, mine};
  while (!mine->is_settled) {
    if (deadline.passed()) throw Unavailable("the ends of other tasks took too long to write");
    if (ends->is_writing) {
      co_await mine->changed.wait(deadline);
    } else {
      co_await finish_some();
    }
  }
  if (mine->failure) std::rethrow_exception(mine->failure);
  co_return mine->was_ours;
}

Async<> EmbeddedQueue::finish_some() {
  Writing writing(ends_);
  pg::ArrayBuilder id(pg::ArrayBuilder::Type::uuid);
  pg::ArrayBuilder worker(pg::ArrayBuilder::Type::text);
  pg::ArrayBuilder attempts(pg::ArrayBuilder::Type::int4);
  for (const auto& one : writing.batch) {
    id.add(one->task.id);
    worker.add(std::string_view(one->task.worker));
    attempts.add(one->task.attempts);
  }
  pg::Params params;
  for (auto* array : {&id, &worker, &attempts}) std::move(*array).move_into(params);
  std::exception_ptr failure;
  std::set<std::pair<Uuid, std::int32_t>> deleted;
  try {
    const auto rows = co_await write(finish_query, std::move(params), writing.deadline());
    for (int i = 0; i < rows.size(); ++i) deleted.emplace(rows[i].at<Uuid>(0), rows[i].at<std::int32_t>(1));
  } catch (const boost::system::system_error&) {
    throw;  // this one stops; the others hear of it from `writing`
  } catch (...) {
    failure = std::current_exception();
  }
  for (const auto& one : writing.batch) {
    one->failure = failure;
    one->was_ours = deleted.contains({one->task.id, one->task.attempts});
    one->is_settled = true;
  }
}

Async<Fate> EmbeddedQueue::fail(Task task, std::string error, std::optional<std::chrono::milliseconds> wait,
                                Deadline deadline) {
  auto params = claim_of(task);
  params.add(error);
  params.add(wait ? std::optional(std::int64_t{wait->count()}) : std::nullopt);
  const auto rows = co_await write(fail_query, std::move(params), deadline);
  if (rows.empty()) co_return Fate::lost;
  co_return rows[0].at<bool>(0) ? Fate::dead : Fate::retried;
}

Async<> EmbeddedQueue::give_back(std::vector<Task> tasks, Deadline deadline) {
  if (tasks.empty()) co_return;
  co_await write(give_back_query, claims_of(std::move(tasks)), deadline);
}

Async<std::vector<Buried>> EmbeddedQueue::bury(Deadline deadline) {
  constexpr std::int64_t count_max = 500;
  const auto rows = co_await write(bury_query, pg::Params::of(count_max), deadline);
  std::vector<Buried> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& buried = out[static_cast<std::size_t>(i)];
    rows[i].read(buried.id, buried.name, buried.error);
  }
  co_return out;
}

Async<std::map<std::string, std::int64_t>> EmbeddedQueue::waiting(Deadline deadline) {
  const auto rows = co_await database_.primary().execute_apart(waiting_query, pg::Params{}, deadline);
  std::map<std::string, std::int64_t> out;
  for (int i = 0; i < rows.size(); ++i) out[rows[i].at<std::string>(0)] = rows[i].at<std::int64_t>(1);
  co_return out;
}

}  // namespace cognive::tasks
