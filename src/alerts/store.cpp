#include "alerts/store.hpp"

#include "budgets/windows.hpp"
#include "observe/log.hpp"

namespace cognive::alerts::store {
namespace {

// Counters may be larger than any amount that can be shown.
#define COGNIVE_ALERT_COLUMNS                                                                    \
  "a.id, a.budget_id, a.window_id, a.threshold, w.metric, a.limit_amount, least(a.spent, "       \
  "999999999999999999)::bigint, "                                                                \
  "nullif(w.run_id, '00000000-0000-0000-0000-000000000000'), nullif(w.begins_at, '-infinity'), " \
  "nullif(w.ends_at, 'infinity'), a.created_at, a.acknowledged_at, a.acknowledged_by "
#define COGNIVE_ALERTS \
  "FROM budget_alerts a JOIN budget_windows w ON w.id = a.window_id JOIN budget_limits b ON b.id = a.budget_id "
#define COGNIVE_VISIBLE(team, agent) \
  "(" team "::uuid IS NULL OR b.team_id = " team ") AND (" agent "::uuid IS NULL OR b.agent_id = " agent ") "

constexpr pg::Query alerts_query{"alert_list", "SELECT " COGNIVE_ALERT_COLUMNS COGNIVE_ALERTS
                                               "WHERE " COGNIVE_VISIBLE("$1", "$2")
                                               "AND ($3::uuid IS NULL OR a.budget_id = $3) "
                                               "AND ($4::boolean IS NULL OR (a.acknowledged_at IS NOT NULL) = $4) "
                                               "AND ($5::timestamptz IS NULL OR (a.created_at, a.id) < ($5, $6)) "
                                               "ORDER BY a.created_at DESC, a.id DESC LIMIT $7"};

constexpr pg::Query alert_query{
    "alert_get", "SELECT " COGNIVE_ALERT_COLUMNS COGNIVE_ALERTS "WHERE a.id = $3 AND " COGNIVE_VISIBLE("$1", "$2")};

constexpr pg::Query team_query{
    "alert_team", "SELECT b.team_id FROM budget_alerts a JOIN budget_limits b ON b.id = a.budget_id WHERE a.id = $1"};

constexpr pg::Query acknowledge_query{
    "alert_acknowledge",
    "UPDATE budget_alerts SET acknowledged_at = now(), acknowledged_by = $2 WHERE id = $1 AND acknowledged_at IS NULL"};

#define COGNIVE_CHANNEL_COLUMNS                                                                                    \
  "c.id, c.name, c.team_id, c.kind, c.target, c.sealed_target, c.enabled, c.secret_version, c.secret_rotated_at, " \
  "c.created_at, c.updated_at "
#define COGNIVE_CHANNEL_VISIBLE(team) "c.deleted_at IS NULL AND (" team "::uuid IS NULL OR c.team_id = " team ") "

constexpr pg::Query channel_insert_query{
    "alert_channel_insert",
    "INSERT INTO alert_channels (id, team_id, name, kind, sealed_target, enabled) VALUES ($1, $2, $3, $4, $5, $6) "
    "ON CONFLICT (id) DO NOTHING"};

constexpr pg::Query channel_count_query{
    "alert_channel_count",
    "SELECT count(*) FROM alert_channels WHERE deleted_at IS NULL AND team_id IS NOT DISTINCT FROM $1"};

constexpr pg::Query channel_count_lock_query{
    "alert_channel_count_lock",
    "SELECT pg_advisory_xact_lock(hashtextextended('alert_channels/' || coalesce($1::uuid::text, ''), 0))"};

constexpr pg::Query channel_lock_query{
    "alert_channel_lock",
    "SELECT " COGNIVE_CHANNEL_COLUMNS
    "FROM alert_channels c WHERE c.id = $1 AND " COGNIVE_CHANNEL_VISIBLE("$2") "FOR NO KEY UPDATE"};

constexpr pg::Query channel_update_query{"alert_channel_update",
                                         "UPDATE alert_channels SET name = $2, target = NULL, sealed_target = $3, "
                                         "enabled = $4, updated_at = now() WHERE id = $1 "
                                         "RETURNING updated_at"};

constexpr pg::Query channel_remove_query{
    "alert_channel_remove", "UPDATE alert_channels SET deleted_at = now(), updated_at = now() WHERE id = $1"};

constexpr pg::Query channel_rotate_query{
    "alert_channel_rotate",
    "UPDATE alert_channels c SET secret_version = secret_version + 1, secret_rotated_at = now(), updated_at = now() "
    "WHERE id = $1 RETURNING " COGNIVE_CHANNEL_COLUMNS};

constexpr pg::Query channel_unsealed_query{
    "alert_channel_unsealed",
    "SELECT id, target FROM alert_channels WHERE target IS NOT NULL ORDER BY id LIMIT 100 FOR NO KEY UPDATE"};

constexpr pg::Query channel_seal_query{"alert_channel_seal",
                                       "UPDATE alert_channels SET target = NULL, sealed_target = $2 WHERE id = $1"};

constexpr pg::Query channel_get_query{"alert_channel_get",
                                      "SELECT " COGNIVE_CHANNEL_COLUMNS
                                      "FROM alert_channels c WHERE c.id = $1 AND " COGNIVE_CHANNEL_VISIBLE("$2")};

constexpr pg::Query channel_list_query{"alert_channel_list",
                                       "SELECT " COGNIVE_CHANNEL_COLUMNS "FROM alert_channels c WHERE "
                                       COGNIVE_CHANNEL_VISIBLE("$1")
                                       "AND ($2::timestamptz IS NULL OR (c.created_at, c.id) < ($2, $3)) "
                                       "ORDER BY c.created_at DESC, c.id DESC LIMIT $4"};

#define COGNIVE_DELIVERY_COLUMNS \
  "d.id, d.alert_id, d.channel_id, d.state, d.attempts, d.last_error, d.created_at, d.delivered_at "

constexpr pg::Query delivery_list_query{
    "alert_delivery_list",
    "SELECT " COGNIVE_DELIVERY_COLUMNS
    "FROM alert_deliveries d JOIN alert_channels c ON c.id = d.channel_id WHERE ($1::uuid IS NULL OR c.team_id = $1) "
    "AND ($2::uuid IS NULL OR d.alert_id = $2) AND ($3::uuid IS NULL OR d.channel_id = $3) "
    "AND ($4::text IS NULL OR d.state = $4) AND ($5::timestamptz IS NULL OR (d.created_at, d.id) < ($5, $6)) "
    "ORDER BY d.created_at DESC, d.id DESC LIMIT $7"};

constexpr pg::Query delivery_lock_query{
    "alert_delivery_lock",
    "SELECT " COGNIVE_DELIVERY_COLUMNS
    ", c.deleted_at IS NULL FROM alert_deliveries d JOIN alert_channels c ON c.id = d.channel_id WHERE d.id = $1 "
    "AND ($2::uuid IS NULL OR c.team_id = $2) FOR NO KEY UPDATE OF d"};

constexpr pg::Query delivery_wait_query{
    "alert_delivery_wait",
    "UPDATE alert_deliveries SET state = 'waiting', series = series + 1, waiting_since = now() WHERE id = $1 "
    "RETURNING series"};

constexpr pg::Query delivery_begin_query{
    "alert_delivery_begin",
    "UPDATE alert_deliveries SET state = 'waiting', series = series + 1, waiting_since = now() WHERE id = $1 "
    "AND state = 'failed' AND series = $2 RETURNING series"};

// The longest pause between two attempts is an hour and a bit.
constexpr pg::Query overdue_query{
    "alert_delivery_overdue",
    "WITH due AS MATERIALIZED (SELECT id FROM alert_deliveries WHERE state = 'waiting' "
    "AND waiting_since < now() - interval '2 hours' ORDER BY waiting_since LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED) "
    "UPDATE alert_deliveries d SET waiting_since = now() FROM due WHERE d.id = due.id RETURNING d.id, d.series"};

// Marked whether or not somebody wants to know: a channel that is made later gets what is raised later.
constexpr pg::Query dispatch_query{
    "alert_dispatch",
    "WITH due AS MATERIALIZED (SELECT id, budget_id FROM budget_alerts WHERE dispatched_at IS NULL ORDER BY created_at "
    "LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED), "
    "marked AS (UPDATE budget_alerts a SET dispatched_at = now() FROM due WHERE a.id = due.id), "
    "made AS (INSERT INTO alert_deliveries (id, alert_id, channel_id) SELECT gen_random_uuid(), due.id, c.id FROM due "
    "JOIN budget_limits b ON b.id = due.budget_id JOIN alert_channels c ON c.enabled AND c.deleted_at IS NULL "
    "AND (c.team_id IS NULL OR c.team_id = b.team_id) ON CONFLICT (alert_id, channel_id) DO NOTHING RETURNING id) "
    "SELECT (SELECT count(*) FROM due), made.id FROM (SELECT 1) AS one LEFT JOIN made ON true"};

constexpr pg::Query outgoing_query{
    "alert_delivery_outgoing",
    "SELECT d.state, d.series, c.enabled AND c.deleted_at IS NULL, " COGNIVE_CHANNEL_COLUMNS ", " COGNIVE_ALERT_COLUMNS
    ", b.id, b.name, b.scope, b.team_id, (SELECT t.name FROM teams t WHERE t.id = b.team_id), b.agent_id, "
    "(SELECT g.name FROM agents g WHERE g.id = b.agent_id), b.api_key_id, b.window_kind, b.hard_stop " COGNIVE_ALERTS
    "JOIN alert_deliveries d ON d.alert_id = a.id JOIN alert_channels c ON c.id = d.channel_id WHERE d.id = $1"};

constexpr pg::Query settle_query{
    "alert_delivery_settle",
    "UPDATE alert_deliveries SET state = $2, attempts = attempts + 1, last_error = $3, waiting_since = now(), "
    "delivered_at = CASE WHEN $2 = 'delivered' THEN coalesce(delivered_at, now()) ELSE delivered_at END "
    "WHERE id = $1 AND ($2 = 'delivered' OR (state <> 'delivered' AND series = $4))"};

#undef COGNIVE_ALERT_COLUMNS
#undef COGNIVE_ALERTS
#undef COGNIVE_VISIBLE
#undef COGNIVE_CHANNEL_COLUMNS
#undef COGNIVE_CHANNEL_VISIBLE
#undef COGNIVE_DELIVERY_COLUMNS

// Of the two columns: one of them is NULL.
struct StoredTarget {
  std::optional<std::string> plain;
  std::optional<std::string> sealed;
};

// What was changed behind our back leads nowhere; whoever manages the channel can set it anew.
void place_target(AlertChannel& channel, const StoredTarget& stored, const Targets& targets) {
  auto target = stored.plain.value_or("");
  if (stored.sealed) {
    auto opened = targets.open(channel.id, *stored.sealed);
    if (!opened)
      log(Level::error, "where a channel leads is not what was stored there", {{"channel_id", channel.id.text()}});
    target = std::move(opened).value_or("");
  }
  (channel.kind == ChannelKind::webhook ? channel.url : channel.address) = std::move(target);
}

pg::Bytes bytes_of(const std::string& text) {
  return {{reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}};
}

template <typename Item, typename Read>
std::vector<Item> read_all(const pg::Rows& rows, Read read) {
  std::vector<Item> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) read(rows[i], out[static_cast<std::size_t>(i)]);
  return out;
}

template <typename Item>
std::optional<Item> first(std::vector<Item> items) {
  if (items.empty()) return std::nullopt;
  return std::move(items.front());
}

std::vector<Alert> alerts_of(const pg::Rows& rows) {
  return read_all<Alert>(rows, [](pg::Row row, Alert& one) {
    std::int64_t limit = 0;
    std::int64_t spent = 0;
    row.read(one.id, one.budget_id, one.window_id, one.threshold, one.metric, limit, spent, one.run_id, one.begins_at,
             one.ends_at, one.created_at, one.acknowledged_at, one.acknowledged_by);
    one.limit = budgets::amount_of(one.metric, limit);
    one.spent = budgets::amount_of(one.metric, spent);
  });
}

std::vector<AlertChannel> channels_of(const pg::Rows& rows, const Targets& targets) {
  return read_all<AlertChannel>(rows, [&](pg::Row row, AlertChannel& one) {
    StoredTarget target;
    row.read(one.id, one.name, one.team_id, one.kind, target.plain, target.sealed, one.enabled, one.secret_version,
             one.secret_rotated_at, one.created_at, one.updated_at);
    place_target(one, target, targets);
  });
}

std::vector<AlertDelivery> deliveries_of(const pg::Rows& rows) {
  return read_all<AlertDelivery>(rows, [](pg::Row row, AlertDelivery& one) {
    row.read(one.id, one.alert_id, one.channel_id, one.state, one.attempts, one.last_error, one.created_at,
             one.delivered_at);
  });
}

}  // namespace

Async<std::vector<Alert>> list(pg::Reader database, const AlertQuery& query, const Principal& principal,
                               Deadline deadline) {
  auto params = pg::Params::of(principal.team_id, principal.agent_id, query.budget_id, query.acknowledged, query.cursor,
                               query.limit + 1);
  co_return alerts_of(co_await database.execute(alerts_query, std::move(params), deadline));
}

Async<std::optional<Alert>> find(pg::Transaction& transaction, Uuid id, const Principal& principal) {
  auto params = pg::Params::of(principal.team_id, principal.agent_id, id);
  co_return first(alerts_of(co_await transaction.execute(alert_query, std::move(params))));
}

Async<std::optional<Uuid>> team_of_alert(pg::Transaction& transaction, Uuid id) {
  co_return (co_await transaction.execute(team_query, pg::Params::of(id)))[0].at<std::optional<Uuid>>(0);
}

Async<bool> acknowledge(pg::Transaction& transaction, Uuid id, Uuid principal_id) {
  const auto rows = co_await transaction.execute(acknowledge_query, pg::Params::of(id, principal_id));
  co_return rows.affected() == 1;
}

Async<bool> insert(pg::Transaction& transaction, const AlertChannel& channel, const Targets& targets) {
  const auto sealed = targets.seal(channel.id, channel.target());
  auto params =
      pg::Params::of(channel.id, channel.team_id, channel.name, channel.kind, bytes_of(sealed), channel.enabled);
  const auto rows = co_await transaction.execute(channel_insert_query, std::move(params));
  co_return rows.affected() == 1;
}

Async<std::int64_t> count_alike(pg::Transaction& transaction, const AlertChannel& channel) {
  co_await transaction.execute(channel_count_lock_query, pg::Params::of(channel.team_id));
  const auto rows = co_await transaction.execute(channel_count_query, pg::Params::of(channel.team_id));
  co_return rows[0].at<std::int64_t>(0);
}

Async<std::optional<AlertChannel>> lock(pg::Transaction& transaction, Uuid id, const Principal& principal,
                                        const Targets& targets) {
  auto params = pg::Params::of(id, principal.team_id);
  co_return first(channels_of(co_await transaction.execute(channel_lock_query, std::move(params)), targets));
}

Async<Timestamp> update(pg::Transaction& transaction, const AlertChannel& channel, const Targets& targets) {
  const auto sealed = targets.seal(channel.id, channel.target());
  auto params = pg::Params::of(channel.id, channel.name, bytes_of(sealed), channel.enabled);
  const auto rows = co_await transaction.execute(channel_update_query, std::move(params));
  co_return rows[0].at<Timestamp>(0);
}

Async<> remove(pg::Transaction& transaction, Uuid id) {
  co_await transaction.execute(channel_remove_query, pg::Params::of(id));
}

Async<AlertChannel> rotate_secret(pg::Transaction& transaction, Uuid id, const Targets& targets) {
  co_return channels_of(co_await transaction.execute(channel_rotate_query, pg::Params::of(id)), targets).at(0);
}

Async<std::size_t> seal_some(pg::Transaction& transaction, const Targets& targets) {
  const auto rows = co_await transaction.execute(channel_unsealed_query, {});
  for (int i = 0; i < rows.size(); ++i) {
    Uuid id;
    std::string target;
    rows[i].read(id, target);
    const auto sealed = targets.seal(id, target);
    co_await transaction.execute(channel_seal_query, pg::Params::of(id, bytes_of(sealed)));
  }
  co_return static_cast<std::size_t>(rows.size());
}

Async<std::optional<AlertChannel>> get(pg::Reader database, Uuid id, const Principal& principal, const Targets& targets,
                                       Deadline deadline) {
  auto params = pg::Params::of(id, principal.team_id);
  co_return first(channels_of(co_await database.find(channel_get_query, std::move(params), deadline), targets));
}

Async<std::vector<AlertChannel>> list(pg::Reader database, const AlertChannelList& query, const Principal& principal,
                                      const Targets& targets, Deadline deadline) {
  auto params = pg::Params::of(principal.team_id, query.cursor, query.limit + 1);
  co_return channels_of(co_await database.execute(channel_list_query, std::move(params), deadline), targets);
}

Async<std::vector<AlertDelivery>> list_deliveries(pg::Reader database, const DeliveryQuery& query,
                                                  const Principal& principal, Deadline deadline) {
  auto params =
      pg::Params::of(principal.team_id, query.alert_id, query.channel_id, query.state, query.cursor, query.limit + 1);
  co_return deliveries_of(co_await database.execute(delivery_list_query, std::move(params), deadline));
}

Async<std::optional<LockedDelivery>> lock_delivery(pg::Transaction& transaction, Uuid id, const Principal& principal) {
  const auto rows = co_await transaction.execute(delivery_lock_query, pg::Params::of(id, principal.team_id));
  co_return first(read_all<LockedDelivery>(rows, [](pg::Row row, LockedDelivery& locked) {
    auto& one = locked.delivery;
    row.read(one.id, one.alert_id, one.channel_id, one.state, one.attempts, one.last_error, one.created_at,
             one.delivered_at, locked.has_channel);
  }));
}

Async<std::optional<std::int64_t>> wait_again_after(pg::Transaction& transaction, const DeliveryTask& failed) {
  const auto rows =
      co_await transaction.execute(delivery_begin_query, pg::Params::of(failed.delivery_id, failed.series));
  if (rows.empty()) co_return std::nullopt;
  co_return rows[0].at<std::int64_t>(0);
}

Async<std::int64_t> wait_again(pg::Transaction& transaction, Uuid id) {
  co_return (co_await transaction.execute(delivery_wait_query, pg::Params::of(id)))[0].at<std::int64_t>(0);
}

Async<std::vector<DeliveryTask>> overdue(pg::Transaction& transaction, std::int64_t count) {
  const auto rows = co_await transaction.execute(overdue_query, pg::Params::of(count));
  co_return read_all<DeliveryTask>(rows, [](pg::Row row, DeliveryTask& one) { row.read(one.delivery_id, one.series); });
}

Async<Dispatched> dispatch(pg::Transaction& transaction, std::int64_t count) {
  const auto rows = co_await transaction.execute(dispatch_query, pg::Params::of(count));
  Dispatched out;
  for (int i = 0; i < rows.size(); ++i) {
    std::optional<Uuid> delivery;
    rows[i].read(out.alerts, delivery);
    if (delivery) out.deliveries.push_back(*delivery);
  }
  co_return out;
}

Async<std::optional<Outgoing>> outgoing(pg::Pool& database, Uuid id, const Targets& targets, Deadline deadline) {
  const auto rows = co_await database.execute(outgoing_query, pg::Params::of(id), deadline);
  co_return first(read_all<Outgoing>(rows, [&](pg::Row row, Outgoing& one) {
    auto& channel = one.channel;
    auto& alert = one.alert;
    auto& budget = one.budget;
    StoredTarget target;
    std::int64_t limit = 0;
    std::int64_t spent = 0;
    row.read(one.state, one.series, one.is_open, channel.id, channel.name, channel.team_id, channel.kind, target.plain,
             target.sealed, channel.enabled, channel.secret_version, channel.secret_rotated_at, channel.created_at,
             channel.updated_at, alert.id, alert.budget_id, alert.window_id, alert.threshold, alert.metric, limit,
             spent, alert.run_id, alert.begins_at, alert.ends_at, alert.created_at, alert.acknowledged_at,
             alert.acknowledged_by, budget.id, budget.name, budget.scope, budget.team_id, budget.team, budget.agent_id,
             budget.agent, budget.api_key_id, budget.window, budget.hard_stop);
    place_target(channel, target, targets);
    alert.limit = budgets::amount_of(alert.metric, limit);
    alert.spent = budgets::amount_of(alert.metric, spent);
  }));
}

Async<> settle(pg::Pool& database, const DeliveryTask& task, DeliveryState state,
               const std::optional<std::string>& error, Deadline deadline) {
  co_await database.execute(settle_query, pg::Params::of(task.delivery_id, state, error, task.series), deadline);
}

}  // namespace cognive::alerts::store
