#include "budgets/store.hpp"

#include <algorithm>

#include "budgets/calendar.hpp"

namespace cognive::budgets::store {
namespace {

#define COGNIVE_BUDGET_COLUMNS                                                                                \
  "id, scope, team_id, agent_id, api_key_id, run_id, name, provider, model, metric, window_kind, time_zone, " \
  "limit_amount, hard_stop, thresholds, assumed_cost_nano_usd, enabled, created_at, updated_at "
// Who has a key of a team sees the team's budgets and those of its agents, keys and runs; a key of one agent its own.
#define COGNIVE_VISIBLE(team, agent)                                  \
  "deleted_at IS NULL AND (" team "::uuid IS NULL OR team_id = " team \
  ") "                                                                \
  "AND (" agent "::uuid IS NULL OR agent_id = " agent ") "

constexpr pg::Query edition_query{
    "budget_next_edition",
    "INSERT INTO budget_edition AS e (version) VALUES (1) ON CONFLICT (is_only) DO UPDATE SET version = e.version + 1 "
    "RETURNING version"};

constexpr pg::Query insert_query{
    "budget_insert",
    "INSERT INTO budget_limits (id, scope, team_id, agent_id, api_key_id, run_id, name, provider, model, metric, "
    "window_kind, time_zone, limit_amount, hard_stop, thresholds, assumed_cost_nano_usd, enabled, edition) VALUES "
    "($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) ON CONFLICT (id) DO NOTHING"};

constexpr pg::Query count_query{"budget_count",
                                "SELECT count(*) FROM budget_limits WHERE deleted_at IS NULL AND scope = $1 AND "
                                "coalesce(run_id, api_key_id, agent_id, "
                                "team_id) IS NOT DISTINCT FROM $2"};

constexpr pg::Query lock_query{"budget_lock",
                               "SELECT " COGNIVE_BUDGET_COLUMNS
                               "FROM budget_limits WHERE id = $1 AND " COGNIVE_VISIBLE("$2", "$3") "FOR NO KEY UPDATE"};

// Windows that have ended keep the limit that they ended with.
constexpr pg::Query update_query{
    "budget_update",
    "WITH changed AS (UPDATE budget_limits SET name = $2, limit_amount = $3, hard_stop = $4, thresholds = $5, "
    "counts_from = CASE WHEN $6 AND NOT enabled THEN now() ELSE counts_from END, enabled = $6, edition = $7, "
    "updated_at = now() WHERE id = $1 RETURNING updated_at), "
    "locked AS (SELECT id FROM budget_windows WHERE budget_id = $1 AND ends_at > now() ORDER BY id FOR UPDATE), "
    "windows AS (UPDATE budget_windows w SET limit_amount = $3, hard_stop = $4, covers = $6 FROM locked l "
    "WHERE w.id = l.id) SELECT updated_at FROM changed"};

constexpr pg::Query remove_query{
    "budget_remove",
    "WITH gone AS (UPDATE budget_limits SET deleted_at = now(), edition = $2, updated_at = now() WHERE id = $1), "
    "locked AS (SELECT id FROM budget_windows WHERE budget_id = $1 AND ends_at > now() ORDER BY id FOR UPDATE) "
    "UPDATE budget_windows w SET covers = false FROM locked l WHERE w.id = l.id"};

constexpr pg::Query get_query{
    "budget_get", "SELECT " COGNIVE_BUDGET_COLUMNS "FROM budget_limits WHERE id = $1 AND " COGNIVE_VISIBLE("$2", "$3")};

constexpr pg::Query list_query{
    "budget_list", "SELECT " COGNIVE_BUDGET_COLUMNS "FROM budget_limits WHERE " COGNIVE_VISIBLE("$1", "$2")
                   "AND ($3::text IS NULL OR team_id = (SELECT t.id FROM teams t WHERE t.name = $3)) "
                   "AND ($4::text IS NULL OR scope = $4) AND ($5::uuid IS NULL OR agent_id = $5) "
                   "AND ($6::uuid IS NULL OR run_id = $6) "
                   "AND ($7::timestamptz IS NULL OR (created_at, id) < ($7, $8)) "
                   "ORDER BY created_at DESC, id DESC LIMIT $9"};

constexpr pg::Query time_zone_query{"budget_time_zone",
                                    "SELECT EXISTS (SELECT FROM pg_timezone_names WHERE name = $1)"};

constexpr pg::Query agent_team_query{"budget_agent_team",
                                     "SELECT team_id FROM agents WHERE id = $1 AND ($2::uuid IS NULL OR team_id = $2) "
                                     "AND ($3::uuid IS NULL OR id = $3)"};
constexpr pg::Query key_team_query{"budget_key_team",
                                   "SELECT team_id FROM api_keys WHERE id = $1 AND ($2::uuid IS NULL OR team_id = $2) "
                                   "AND ($3::uuid IS NULL OR agent_id = $3)"};
constexpr pg::Query run_team_query{
    "budget_run_team",
    "SELECT r.team_id FROM (SELECT $1::uuid AS id) AS asked CROSS JOIN LATERAL (SELECT team_id "
    "FROM agent_runs WHERE id = asked.id AND ($2::uuid IS NULL OR team_id = $2) "
    "AND ($3::uuid IS NULL OR agent_id = $3) LIMIT 1) r"};

constexpr pg::Query load_query{
    "budget_load",
    "SELECT b.id, b.scope, coalesce(b.run_id, b.api_key_id, b.agent_id, b.team_id), b.provider, b.model, "
    "b.metric, b.window_kind, b.hard_stop, b.assumed_cost_nano_usd, b.enabled AND b.deleted_at IS NULL, "
    "e.version FROM budget_edition e LEFT JOIN budget_limits b ON b.edition > $1 "
    "AND (b.enabled AND b.deleted_at IS NULL OR $1 >= 0)"};

// Locked against a change of the budget, which would not see the windows that are made here.
// clang-format off: one step after the other.
constexpr pg::Query open_query{
    "budget_windows_open",
    "WITH budget AS (SELECT k.place, b.id, k.run_id, b.metric, b.assumed_cost_nano_usd, b.limit_amount, b.hard_stop, "
    "b.window_kind, b.time_zone, " COGNIVE_LOCAL_BEGIN("coalesce(k.at, now())") " AS local_begin "
    "FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) WITH ORDINALITY AS k (budget_id, run_id, at, place) "
    "JOIN budget_limits b ON b.id = k.budget_id WHERE b.enabled AND b.deleted_at IS NULL "
    "ORDER BY b.id, k.run_id FOR SHARE OF b), "
    "wanted AS (SELECT place, id AS budget_id, run_id, metric, assumed_cost_nano_usd, limit_amount, hard_stop, "
    COGNIVE_BEGINS_AT " AS begins_at, " COGNIVE_ENDS_AT " AS ends_at FROM budget), "
    "made AS (INSERT INTO budget_windows (budget_id, run_id, begins_at, ends_at, metric, assumed_cost_nano_usd, limit_amount, "
    "hard_stop, covers) SELECT budget_id, run_id, begins_at, ends_at, metric, assumed_cost_nano_usd, limit_amount, hard_stop, "
    "true FROM wanted ON CONFLICT (budget_id, run_id, begins_at) DO NOTHING RETURNING id, budget_id, run_id, begins_at) "
    "SELECT k.place, coalesce(m.id, w.id), (extract(epoch FROM least(k.ends_at, now() + interval '1 day') - now()) * 1000)::bigint "
    "FROM wanted k LEFT JOIN made m USING (budget_id, run_id, begins_at) LEFT JOIN budget_windows w "
    "USING (budget_id, run_id, begins_at) WHERE coalesce(m.id, w.id) IS NOT NULL"};
// clang-format on

constexpr pg::Query intern_query{
    "budget_charge_set_intern",
    "WITH made AS (INSERT INTO budget_charge_sets (windows) SELECT $1 WHERE NOT EXISTS (SELECT FROM budget_charge_sets "
    "WHERE windows = $1) ON CONFLICT (windows) DO NOTHING RETURNING id) "
    "SELECT id FROM made UNION ALL SELECT id FROM budget_charge_sets WHERE windows = $1"};

#undef COGNIVE_BUDGET_COLUMNS
#undef COGNIVE_VISIBLE

constexpr int attempts_max = 5;  // at what somebody else makes at the same time

pg::Params bigints(const std::vector<std::int64_t>& values) {
  pg::ArrayBuilder array(pg::ArrayBuilder::Type::int8);
  for (const auto value : values) array.add(value);
  pg::Params params;
  std::move(array).move_into(params);
  return params;
}

std::vector<Budget> read(const pg::Rows& rows) {
  std::vector<Budget> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& budget = out[static_cast<std::size_t>(i)];
    Limits::Stored limit;
    rows[i].read(budget.id, budget.scope, budget.team_id, budget.agent_id, budget.api_key_id, budget.run_id,
                 budget.name, budget.provider, budget.model, limit.metric, budget.window, budget.time_zone,
                 limit.amount, budget.hard_stop, budget.thresholds, budget.assumed_usd_per_call, budget.enabled,
                 budget.created_at, budget.updated_at);
    static_cast<Limits&>(budget) = Limits::of(limit);
  }
  return out;
}

std::optional<Budget> first(std::vector<Budget> budgets) {
  if (budgets.empty()) return std::nullopt;
  return std::move(budgets.front());
}

Limits::Stored limit_of(const Budget& budget) {
  json::Faults none;
  return budget.stored(none).value_or(Limits::Stored{});
}

agents::Patterns patterns_of(const std::optional<std::string>& text) {
  if (!text) return {};
  const std::array one{*text};
  return agents::Patterns(one);
}

}  // namespace

Async<std::int64_t> next_edition(pg::Transaction& transaction) {
  const auto rows = co_await transaction.execute(edition_query, {});
  co_return rows[0].at<std::int64_t>(0);
}

Async<bool> insert(pg::Transaction& transaction, const Budget& budget, std::int64_t edition) {
  const auto limit = limit_of(budget);
  auto params = pg::Params::of(budget.id, budget.scope, budget.team_id, budget.agent_id, budget.api_key_id,
                               budget.run_id, budget.name, budget.provider, budget.model, limit.metric, budget.window,
                               budget.time_zone, limit.amount, budget.hard_stop);
  pg::ArrayBuilder thresholds(pg::ArrayBuilder::Type::int8);
  for (const auto threshold : budget.thresholds) thresholds.add(threshold);
  std::move(thresholds).move_into(params);
  params.add(budget.assumed_usd_per_call);
  params.add(budget.enabled);
  params.add(edition);
  const auto rows = co_await transaction.execute(insert_query, std::move(params));
  co_return rows.affected() == 1;
}

Async<std::int64_t> count_alike(pg::Transaction& transaction, const Budget& budget) {
  auto subject = budget.team_id;
  for (const auto& id : {budget.agent_id, budget.api_key_id, budget.run_id}) {
    if (id) subject = id;
  }
  const auto rows = co_await transaction.execute(count_query, pg::Params::of(budget.scope, subject));
  co_return rows[0].at<std::int64_t>(0);
}

Async<std::optional<Budget>> lock(pg::Transaction& transaction, Uuid id, const Principal& principal) {
  auto params = pg::Params::of(id, principal.team_id, principal.agent_id);
  co_return first(read(co_await transaction.execute(lock_query, std::move(params))));
}

Async<Timestamp> update(pg::Transaction& transaction, const Budget& budget, std::int64_t edition) {
  const auto limit = limit_of(budget);
  auto params = pg::Params::of(budget.id, budget.name, limit.amount, budget.hard_stop);
  pg::ArrayBuilder thresholds(pg::ArrayBuilder::Type::int8);
  for (const auto threshold : budget.thresholds) thresholds.add(threshold);
  std::move(thresholds).move_into(params);
  params.add(budget.enabled);
  params.add(edition);
  const auto rows = co_await transaction.execute(update_query, std::move(params));
  co_return rows[0].at<Timestamp>(0);
}

Async<> remove(pg::Transaction& transaction, Uuid id, std::int64_t edition) {
  co_await transaction.execute(remove_query, pg::Params::of(id, edition));
}

bool is_visible(const Budget& budget, const Principal& principal) {
  return (!principal.team_id || budget.team_id == principal.team_id) &&
         (!principal.agent_id || budget.agent_id == principal.agent_id);
}

Async<std::optional<Budget>> get(pg::Pool& database, Uuid id, const Principal& principal, Deadline deadline) {
  auto params = pg::Params::of(id, principal.team_id, principal.agent_id);
  co_return first(read(co_await database.execute(get_query, std::move(params), deadline)));
}

Async<std::optional<Budget>> get(pg::Reader database, Uuid id, const Principal& principal, Deadline deadline) {
  auto params = pg::Params::of(id, principal.team_id, principal.agent_id);
  co_return first(read(co_await database.find(get_query, std::move(params), deadline)));
}

Async<std::vector<Budget>> list(pg::Reader database, const BudgetList& query, const Principal& principal,
                                Deadline deadline) {
  auto params = pg::Params::of(principal.team_id, principal.agent_id, query.team, query.scope, query.agent_id,
                               query.run_id, query.cursor, query.limit + 1);
  co_return read(co_await database.execute(list_query, std::move(params), deadline));
}

Async<bool> knows_time_zone(pg::Pool& database, const std::string& name, Deadline deadline) {
  const auto rows = co_await database.execute_apart(time_zone_query, pg::Params::of(name), deadline);
  co_return rows[0].at<bool>(0);
}

Async<std::optional<std::optional<Uuid>>> team_of(pg::Pool& database, Scope scope, Uuid id, const Principal& principal,
                                                  Deadline deadline) {
  const auto& query = scope == Scope::agent     ? agent_team_query
                      : scope == Scope::api_key ? key_team_query
                                                : run_team_query;
  auto params = pg::Params::of(id, principal.team_id, principal.agent_id);
  const auto rows = co_await database.execute(query, std::move(params), deadline);
  if (rows.empty()) co_return std::nullopt;
  co_return std::optional(rows[0].at<std::optional<Uuid>>(0));
}

Async<std::shared_ptr<const Coverage>> load(pg::Pool& database, const Coverage& known, Deadline deadline) {
  const auto since = known.edition().value_or(-1);
  const auto rows = co_await database.execute(load_query, pg::Params::of(since), deadline);
  Coverage::Definitions changed;
  std::vector<Uuid> gone;
  std::int64_t edition = 0;
  for (int i = 0; i < rows.size(); ++i) {
    Definition one;
    std::optional<Uuid> id;
    std::optional<std::string> scope;
    std::optional<std::string> provider;
    std::optional<std::string> model;
    std::optional<std::string> metric;
    std::optional<std::string> window;
    std::optional<bool> hard_stop;
    std::optional<bool> is_active;
    rows[i].read(id, scope, one.subject_id, provider, model, metric, window, hard_stop, one.assumed_cost, is_active,
                 edition);
    if (!id) continue;  // the edition alone
    if (!*is_active) {
      gone.push_back(*id);
      continue;
    }
    one.id = *id;
    json::enum_parse(*scope, one.scope);
    json::enum_parse(*metric, one.metric);
    json::enum_parse(*window, one.window);
    one.hard_stop = *hard_stop;
    one.providers = patterns_of(provider);
    one.models = patterns_of(model);
    changed.push_back(std::make_shared<const Definition>(std::move(one)));
  }
  co_return std::make_shared<const Coverage>(known.with(changed, gone, edition));
}

Async<std::map<WindowKey, OpenWindow>> open(pg::Pool& database, const std::vector<WindowKey>& keys, Deadline deadline) {
  std::map<WindowKey, OpenWindow> out;
  for (int attempt = 0; attempt < attempts_max && out.size() < keys.size(); ++attempt) {
    pg::ArrayBuilder budget_id(pg::ArrayBuilder::Type::uuid);
    pg::ArrayBuilder run_id(pg::ArrayBuilder::Type::uuid);
    pg::ArrayBuilder at(pg::ArrayBuilder::Type::timestamptz);
    for (const auto& key : keys) {
      budget_id.add(key.budget_id);
      run_id.add(key.run_id);
      if (key.at) {
        at.add(*key.at);
      } else {
        at.null();
      }
    }
    pg::Params params;
    for (auto* column : {&budget_id, &run_id, &at}) std::move(*column).move_into(params);
    const auto rows = co_await database.execute(open_query, std::move(params), deadline);
    for (int i = 0; i < rows.size(); ++i) {
      std::int64_t place = 0;
      OpenWindow window;
      std::int64_t left_ms = 0;
      rows[i].read(place, window.id, left_ms);
      window.left = std::chrono::milliseconds{left_ms};
      out.insert_or_assign(keys.at(static_cast<std::size_t>(place - 1)), window);
    }
  }
  co_return out;
}

Async<std::int64_t> intern(pg::Pool& database, const std::vector<std::int64_t>& windows, Deadline deadline) {
  for (int attempt = 0; attempt < attempts_max; ++attempt) {
    const auto rows = co_await database.execute(intern_query, bigints(windows), deadline);
    if (!rows.empty()) co_return rows[0].at<std::int64_t>(0);
  }
  throw Unavailable("a set of budget windows appeared and vanished");
}

}  // namespace cognive::budgets::store
