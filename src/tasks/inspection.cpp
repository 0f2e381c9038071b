#include "tasks/inspection.hpp"

#include "tasks/leader.hpp"

namespace cognive::tasks {
namespace {

#define COGNIVE_TASK_STATE \
  "CASE WHEN died_at IS NOT NULL THEN 'dead' WHEN claimed_until > now() THEN 'running' ELSE 'waiting' END"

#define COGNIVE_TASK_COLUMNS                                                                                          \
  "id, " COGNIVE_TASK_STATE                                                                                           \
  " AS state, queue, name, payload, key, attempts::bigint, attempts_max::bigint, time_limit_ms, created_at, due_at, " \
  "expires_at, "                                                                                                      \
  "claimed_by, claimed_at, claimed_until, died_at, last_error"

#define COGNIVE_TASK_FILTER                                    \
  " FROM tasks WHERE ($1::text IS NULL OR " COGNIVE_TASK_STATE \
  " = $1) AND ($2::text IS NULL OR queue = $2) AND ($3::text IS NULL OR name = $3)"

constexpr pg::Query list_query{
    "task_list", "SELECT " COGNIVE_TASK_COLUMNS COGNIVE_TASK_FILTER
                 " ORDER BY died_at DESC NULLS FIRST, claimed_until > now() DESC NULLS LAST, due_at, id LIMIT $4"};

constexpr pg::Query count_query{"task_count", "SELECT count(*)" COGNIVE_TASK_FILTER};

constexpr pg::Query find_query{"task_find", "SELECT " COGNIVE_TASK_COLUMNS " FROM tasks WHERE id = $1"};

#define COGNIVE_SELECTED "died_at IS NOT NULL AND ($1 OR id = ANY ($2::uuid[])) AND ($3::text IS NULL OR name = $3)"

// Of several dead letters with the same key, the latest.
constexpr pg::Query retry_query{
    "task_retry",
    "UPDATE tasks t SET died_at = NULL, attempts = 0, due_at = now(), expires_at = NULL WHERE t.id IN ("
    "SELECT DISTINCT ON (name, coalesce(key, id::text)) id FROM tasks WHERE " COGNIVE_SELECTED
    " ORDER BY name, coalesce(key, id::text), died_at DESC) AND NOT EXISTS (SELECT FROM tasks o WHERE o.name = t.name "
    "AND o.key = t.key AND o.died_at IS NULL) RETURNING t.id"};

constexpr pg::Query discard_query{"task_discard", "DELETE FROM tasks WHERE " COGNIVE_SELECTED " RETURNING id"};

constexpr pg::Query schedules_query{
    "task_schedules",
    "SELECT s.name, s.task, s.interval_ms / 1000, s.last_slot, s.last_slot + s.interval_ms * interval '1 millisecond', "
    "(SELECT " COGNIVE_TASK_STATE
    " FROM tasks t WHERE t.name = s.task AND t.key = 'schedule:' || s.name AND t.died_at IS NULL), "
    "EXISTS (SELECT FROM tasks t WHERE t.name = s.task AND t.key = 'schedule:' || s.name AND t.died_at IS NOT NULL) "
    "FROM task_schedules s ORDER BY s.name"};

constexpr pg::Query leader_query{"task_leader",
                                 "SELECT substr(application_name, length($1) + 1) FROM pg_stat_activity "
                                 "WHERE datname = current_database() AND starts_with(application_name, $1) "
                                 "ORDER BY backend_start LIMIT 1"};

#undef COGNIVE_TASK_STATE
#undef COGNIVE_TASK_COLUMNS
#undef COGNIVE_TASK_FILTER
#undef COGNIVE_SELECTED

void read(pg::Row row, ListedTask& task) {
  row.read(task.id, task.state, task.queue, task.name, task.payload, task.key, task.attempts, task.attempts_max,
           task.time_limit_ms, task.created_at, task.due_at, task.expires_at, task.worker, task.claimed_at,
           task.claimed_until, task.died_at, task.last_error);
}

pg::Params params_of(const Selection& selection) {
  pg::ArrayBuilder ids(pg::ArrayBuilder::Type::uuid);
  for (const auto& id : selection.ids) ids.add(id);
  pg::Params params;
  params.add(selection.ids.empty());
  std::move(ids).move_into(params);
  params.add(selection.name);
  return params;
}

Async<std::vector<Uuid>> change(pg::Cluster& database, const pg::Query& query, Selection selection, Deadline deadline) {
  Call call;
  call.deadline = deadline;
  const auto rows = co_await database.primary().write(query, params_of(selection), call);
  std::vector<Uuid> out;
  for (int i = 0; i < rows.size(); ++i) out.push_back(rows[i].at<Uuid>(0));
  co_return out;
}

}  // namespace

Async<TaskList> list(pg::Cluster& database, TaskFilter filter, Deadline deadline) {
  TaskList out;
  auto params = pg::Params::of(filter.state, filter.queue, filter.name, filter.limit);
  const auto rows = co_await database.primary().execute_apart(list_query, std::move(params), deadline);
  out.items.resize(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) read(rows[i], out.items[static_cast<std::size_t>(i)]);
  params = pg::Params::of(filter.state, filter.queue, filter.name);
  const auto count = co_await database.primary().execute_apart(count_query, std::move(params), deadline);
  out.total = count[0].at<std::int64_t>(0);
  co_return out;
}

Async<std::optional<ListedTask>> find(pg::Cluster& database, Uuid id, Deadline deadline) {
  const auto rows = co_await database.primary().execute(find_query, pg::Params::of(id), deadline);
  if (rows.empty()) co_return std::nullopt;
  ListedTask task;
  read(rows[0], task);
  co_return task;
}

Async<std::vector<Uuid>> retry(pg::Cluster& database, Selection selection, Deadline deadline) {
  co_return co_await change(database, retry_query, std::move(selection), deadline);
}

Async<std::vector<Uuid>> discard(pg::Cluster& database, Selection selection, Deadline deadline) {
  co_return co_await change(database, discard_query, std::move(selection), deadline);
}

Async<ScheduleList> list_schedules(pg::Cluster& database, Deadline deadline) {
  ScheduleList out;
  const auto rows = co_await database.primary().execute(schedules_query, pg::Params{}, deadline);
  out.items.resize(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& schedule = out.items[static_cast<std::size_t>(i)];
    rows[i].read(schedule.name, schedule.task, schedule.interval_s, schedule.last_slot, schedule.next_due_at,
                 schedule.state, schedule.failed);
  }
  const auto leader = co_await database.primary().execute(leader_query, pg::Params::of(leader_session), deadline);
  if (!leader.empty()) out.leader = leader[0].at<std::string>(0);
  co_return out;
}

}  // namespace cognive::tasks
