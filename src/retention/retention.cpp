#include "retention/retention.hpp"

#include "json/bind.hpp"
#include "observe/log.hpp"

namespace cognive::retention {
namespace {

using std::chrono::milliseconds;

// Counting the rows of a large day takes its time.
constexpr tasks::Definition drop{.name = "retention.drop_days",
                                 .attempts_max = 8,
                                 .time_limit = milliseconds{1'800'000},
                                 .backoff_first = milliseconds{5'000}};
constexpr tasks::Definition begin_prune{.name = "retention.begin_pruning"};
constexpr tasks::Definition prune_some{
    .name = "retention.prune", .time_limit = milliseconds{300'000}, .backoff_first = milliseconds{5'000}};

constexpr std::int64_t pages_per_step = 500;  // 4 MB: some ten thousand rows at most

constexpr pg::Query parts_query{
    "retention_parts",
    "SELECT series, day, part::text FROM series_parts((now() - $1::bigint * interval '1 day')::date - 1) "
    "ORDER BY day, series"};

constexpr pg::Query timeout_query{"retention_statement_timeout", "SELECT set_config('statement_timeout', $1, true)"};

constexpr pg::Query drop_query{"retention_drop_day", "SELECT drop_day($1, $2, now() - $3::bigint * interval '1 day')"};

// A part that is gone has nothing to be pruned.
constexpr pg::Query prune_query{"retention_prune",
                                "SELECT p.deleted, p.more FROM (SELECT to_regclass($2) AS place) t CROSS JOIN LATERAL "
                                "prune_pages($1, t.place, $3, $4, now() - $5::bigint * interval '1 day') p "
                                "WHERE t.place IS NOT NULL"};

struct Part {
  std::string series;
  std::optional<std::chrono::sys_days> day;
  std::string table;
};

// Where pruning is.
struct Progress {
  std::string series;
  std::string table;
  std::int64_t page = 0;

  static constexpr auto fields() {
    return json::fields(json::field("series", &Progress::series, "Which table."),
                        json::field("table", &Progress::table, "Which part of it."),
                        json::field("page", &Progress::page, "The first page that has not been looked at."));
  }
};

tasks::NewTask task_of(const Progress& progress) {
  return tasks::NewTask::of(prune_some, json::encode(progress), fmt::format("{}/{}", progress.table, progress.page));
}

Async<std::vector<Part>> parts(pg::Cluster& database, std::int64_t days, Deadline deadline) {
  const auto rows = co_await database.primary().execute_apart(parts_query, pg::Params::of(days), deadline);
  std::vector<Part> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& part = out[static_cast<std::size_t>(i)];
    rows[i].read(part.series, part.day, part.table);
  }
  co_return out;
}

}  // namespace

void Retention::add_handlers(tasks::Handlers& handlers) {
  handlers.add(drop, [this](const tasks::Task&, Deadline deadline) { return drop_days(deadline); });
  handlers.add(begin_prune, [this](const tasks::Task&, Deadline deadline) { return begin_pruning(deadline); });
  handlers.add(prune_some, [this](const tasks::Task& task, Deadline deadline) { return prune(task, deadline); });
}

std::vector<tasks::Schedule> Retention::schedules() const {
  if (days_ == 0) return {};
  return {{.name = drop.name, .interval = std::chrono::hours{1}, .task = drop, .when_elected = true},
          {.name = begin_prune.name, .interval = std::chrono::hours{24}, .task = begin_prune}};
}

Async<> Retention::drop_day(std::string series, std::chrono::sys_days day, Deadline deadline) {
  auto transaction = co_await database_.begin(deadline);
  co_await transaction.execute(timeout_query, pg::Params::of(fmt::format("{}ms", deadline.remaining().count() + 1)));
  const auto rows = co_await transaction.execute(drop_query, pg::Params::of(series, day, days_));
  const auto count = rows[0].at<std::optional<std::int64_t>>(0);
  co_await transaction.commit();
  if (count)
    log(Level::info, "dropped a day of old rows", {{"table", series}, {"day", date_text(day)}, {"rows", *count}});
}

Async<> Retention::drop_days(Deadline deadline) {
  if (days_ == 0) co_return;  // enqueued by a process that is set up otherwise
  std::string held_up;
  for (const auto& part : co_await parts(database_, days_, deadline)) {
    if (!part.day) continue;
    if (deadline.passed()) throw Unavailable("there was no time for all of the old days");
    try {
      co_await drop_day(part.series, *part.day, deadline);
    } catch (const Unavailable& error) {
      held_up = fmt::format("{} of {}: {}", part.series, date_text(*part.day), error.what());
    }
  }
  if (!held_up.empty()) throw Unavailable("an old day could not be dropped yet: " + held_up);
}

Async<> Retention::begin_pruning(Deadline deadline) {
  if (days_ == 0) co_return;
  std::vector<tasks::NewTask> found;
  for (const auto& part : co_await parts(database_, days_, deadline)) {
    if (!part.day) found.push_back(task_of({.series = part.series, .table = part.table}));
  }
  co_await queue_.enqueue(std::move(found), deadline);
}

// Looks at all pages, in steps of bounded size; what remains when its time is nearly up is left to a task of its own.
Async<> Retention::prune(const tasks::Task& task, Deadline deadline) {
  if (days_ == 0) co_return;
  auto progress = json::decode<Progress>(task.payload);
  if (!progress) throw std::runtime_error("its payload is no progress of pruning: " + progress.error().detail);
  const Deadline pause{deadline.at - task.time_limit / 2};
  Call call;
  std::int64_t deleted = 0;
  bool more = true;
  while (more && !pause.passed()) {
    call.deadline = deadline;
    auto params = pg::Params::of(progress->series, progress->table, progress->page, pages_per_step, days_);
    const auto rows = co_await database_.primary().write(prune_query, std::move(params), call);
    more = !rows.empty() && rows[0].at<bool>(1);
    if (!rows.empty()) deleted += rows[0].at<std::int64_t>(0);
    progress->page += pages_per_step;
  }
  if (deleted > 0) log(Level::info, "deleted old rows", {{"table", progress->table}, {"rows", deleted}});
  if (more) co_await queue_.enqueue({task_of(*progress)}, deadline);
}

}  // namespace cognive::retention
