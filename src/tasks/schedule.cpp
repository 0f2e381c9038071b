#include "tasks/schedule.hpp"

namespace cognive::tasks {
namespace {

// One statement, so that a slot and its task come together; two leaders meet at the row of the schedule. The key lets
// one task of a schedule wait or run at a time. What lies further ahead than a slot, or than anybody backs off or
// leases, was written while the clock was wrong, and shall not keep us waiting until that time comes.
constexpr pg::Query enqueue_query{
    "task_schedule_enqueue",
    "WITH wanted AS (SELECT *, date_bin(interval_ms * interval '1 millisecond', now(), '1970-01-01Z') AS slot "
    "FROM unnest($1::text[], $2::text[], $3::bigint[], $4::boolean[], $5::text[], $6::jsonb[], $7::integer[], "
    "$8::bigint[]) AS w (name, task, interval_ms, now_too, queue, payload, attempts_max, time_limit_ms)), "
    "due AS (INSERT INTO task_schedules AS s (name, task, interval_ms, last_slot) "
    "SELECT w.name, w.task, w.interval_ms, w.slot FROM wanted w LEFT JOIN task_schedules k ON k.name = w.name "
    "WHERE k.name IS NULL OR k.last_slot < w.slot OR k.last_slot > w.slot + w.interval_ms * interval '1 millisecond' "
    "OR k.interval_ms <> w.interval_ms OR k.task <> w.task OR w.now_too "
    "ORDER BY w.name ON CONFLICT (name) DO UPDATE SET task = excluded.task, interval_ms = excluded.interval_ms, "
    "last_slot = excluded.last_slot WHERE s.last_slot < excluded.last_slot "
    "OR s.last_slot > excluded.last_slot + excluded.interval_ms * interval '1 millisecond' "
    "OR s.interval_ms <> excluded.interval_ms OR s.task <> excluded.task RETURNING s.name) "
    "INSERT INTO tasks AS k (queue, name, payload, key, attempts_max, time_limit_ms) "
    "SELECT w.queue, w.task, w.payload, 'schedule:' || w.name, w.attempts_max, w.time_limit_ms FROM wanted w "
    "WHERE w.now_too OR w.name IN (SELECT name FROM due) ORDER BY w.task, w.name "
    "ON CONFLICT (name, key) WHERE key IS NOT NULL AND died_at IS NULL "
    "DO UPDATE SET due_at = now(), claimed_by = NULL, claimed_at = NULL, claimed_until = NULL "
    "WHERE k.due_at > now() + interval '1 day' OR k.claimed_until > now() + interval '1 day'"};

// What this version does not know any more, or is set up not to do.
constexpr pg::Query forget_query{"task_schedule_forget",
                                 "DELETE FROM task_schedules WHERE NOT (name = ANY ($1::text[]))"};

}  // namespace

void Scheduler::add(Schedule schedule) {
  schedules_.push_back(std::move(schedule));
}

Async<std::int64_t> Scheduler::enqueue_due(bool elected, Deadline deadline) {
  using Type = pg::ArrayBuilder::Type;
  pg::ArrayBuilder name(Type::text);
  pg::ArrayBuilder task(Type::text);
  pg::ArrayBuilder interval(Type::int8);
  pg::ArrayBuilder now_too(Type::boolean);
  pg::ArrayBuilder queue(Type::text);
  pg::ArrayBuilder payload(Type::jsonb);
  pg::ArrayBuilder attempts_max(Type::int4);
  pg::ArrayBuilder time_limit(Type::int8);
  std::vector<std::string> names;
  for (const auto& schedule : schedules_) {
    name.add(schedule.name);
    names.emplace_back(schedule.name);
    task.add(schedule.task.name);
    interval.add(std::int64_t{schedule.interval.count()});
    now_too.add(elected && schedule.when_elected);
    queue.add(schedule.task.queue);
    payload.add(pg::Json{schedule.payload});
    attempts_max.add(schedule.task.attempts_max);
    time_limit.add(std::int64_t{schedule.task.time_limit.count()});
  }
  pg::Params params;
  for (auto* array : {&name, &task, &interval, &now_too, &queue, &payload, &attempts_max, &time_limit})
    std::move(*array).move_into(params);
  Call call;
  call.deadline = deadline;
  if (elected) co_await database_.primary().write(forget_query, pg::Params::of(names), call);
  const auto rows = co_await database_.primary().write(enqueue_query, std::move(params), call);
  co_return rows.affected();
}

}  // namespace cognive::tasks
