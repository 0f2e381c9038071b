#include "feed/relay.hpp"

#include <algorithm>

#include "amqp/topology.hpp"
#include "base/error.hpp"
#include "observe/log.hpp"

namespace cognive::feed {
namespace {

constexpr std::int64_t rows_max = 100;
constexpr std::ptrdiff_t messages_max = 1'000;  // that are confirmed together
constexpr std::int64_t rows_dropped_max = 10'000;
// As the queues keep them.
constexpr std::chrono::minutes drop_interval{1};
constexpr std::chrono::milliseconds check_patience{1'000};

constexpr pg::Query turn_query{
    "feed_turn",
    "INSERT INTO feed_switch (is_on) VALUES ($1) ON CONFLICT (is_only) DO UPDATE SET is_on = excluded.is_on "
    "WHERE feed_switch.is_on <> excluded.is_on"};

constexpr pg::Query drop_query{"feed_drop",
                               "DELETE FROM feed_messages WHERE sequence IN (SELECT sequence FROM feed_messages WHERE "
                               "created_at < now() - interval '24 hours' ORDER BY sequence LIMIT $1)"};

// Below the oldest transaction that runs, nothing is added any more; a transaction that runs for longer than anybody
// should does not hold up the others.
constexpr pg::Query take_query{"feed_take",
                               "SELECT sequence, kind, coalesce(run_ids, '{}'), coalesce(ids, '{}'), coalesce(payload, "
                               "'{}'), created_at FROM feed_messages WHERE transaction_id < "
                               "pg_snapshot_xmin(pg_current_snapshot()) OR created_at < now() - interval '10 minutes' "
                               "ORDER BY sequence LIMIT $1 FOR UPDATE SKIP LOCKED"};

constexpr pg::Query done_query{"feed_done", "DELETE FROM feed_messages WHERE sequence = ANY($1::bigint[])"};

#define COGNIVE_FEED_TIME(column) "to_char(" column ", 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
#define COGNIVE_FEED_WANTED \
  "FROM unnest($1::date[], $2::uuid[], $3::uuid[]) WITH ORDINALITY AS wanted (bucket, run_id, id, place) JOIN "
#define COGNIVE_FEED_JOIN " e ON e.bucket = wanted.bucket AND e.run_id = wanted.run_id AND e.id = wanted.id"
#define COGNIVE_FEED_SHARED \
  "e.id, e.run_id, e.agent_id, e.team_id, " COGNIVE_FEED_TIME("e.\"timestamp\"") " AS timestamp"
#define COGNIVE_FEED_ROWS(columns, table)                                                        \
  "SELECT wanted.run_id || '/' || wanted.id, (SELECT row_to_json(m)::text FROM (SELECT " columns \
  ") m) " COGNIVE_FEED_WANTED table COGNIVE_FEED_JOIN " ORDER BY wanted.place"

// Neither content nor metadata: those stay where policies and retention reach them.
constexpr pg::Query calls_query{
    "feed_calls",
    COGNIVE_FEED_ROWS(
        "'call.stored' AS type, " COGNIVE_FEED_SHARED
        ", e.environment, e.parent_step_id, e.provider, e.model, e.status, e.duration_ms, e.input_tokens, "
        "e.output_tokens, e.cache_read_tokens, e.cache_write_tokens, e.price_status, "
        "trim_scale(e.cost_nano_usd::numeric / 1000000000) AS cost_usd, e.reservation_id, e.violation",
        "llm_calls")};
constexpr pg::Query tools_query{
    "feed_tools", COGNIVE_FEED_ROWS("'tool.stored' AS type, " COGNIVE_FEED_SHARED
                                    ", e.parent_step_id, e.tool, e.data_source, e.status, e.duration_ms, e.violation",
                                    "tool_invocations")};
constexpr pg::Query steps_query{
    "feed_steps", COGNIVE_FEED_ROWS("'step.stored' AS type, " COGNIVE_FEED_SHARED
                                    ", e.parent_step_id, e.index, e.kind, e.name, e.status, e.duration_ms",
                                    "execution_steps")};

#undef COGNIVE_FEED_ROWS
#undef COGNIVE_FEED_SHARED
#undef COGNIVE_FEED_JOIN
#undef COGNIVE_FEED_WANTED

#define COGNIVE_FEED_AMOUNT(column) \
  "CASE b.metric WHEN 'cost' THEN trim_scale(" column "::numeric / 1000000000) ELSE " column "::numeric END"
constexpr pg::Query alert_query{
    "feed_alert",
    "SELECT a.id::text, (SELECT row_to_json(m)::text FROM (SELECT 'budget.alerted' AS type, a.id AS alert_id, "
    "a.budget_id, b.name AS budget, b.scope, b.team_id, b.agent_id, b.api_key_id, coalesce(b.run_id, nullif(w.run_id, "
    "'00000000-0000-0000-0000-000000000000')) AS run_id, b.metric, b.window_kind AS window, a.threshold, " COGNIVE_FEED_AMOUNT(
        "a.spent") " AS spent, " COGNIVE_FEED_AMOUNT("a.limit_amount") " AS \"limit\", b.hard_stop, " COGNIVE_FEED_TIME(
        "a.created_at") " AS timestamp) m) FROM budget_alerts a JOIN budget_limits b ON b.id = a.budget_id "
                        "JOIN budget_windows w ON w.id = a.window_id WHERE a.id = ANY($1::uuid[])"};
#undef COGNIVE_FEED_AMOUNT

// What a trigger has said, as a message.
constexpr pg::Query told_query{
    "feed_told",
    "SELECT $1::jsonb->>'type', row_to_json(m)::text FROM (SELECT $1::jsonb->>'type' AS type, " COGNIVE_FEED_TIME(
        "$2::timestamptz") " AS timestamp, $1::jsonb->'data' AS data) m"};
#undef COGNIVE_FEED_TIME

pg::ArrayBuilder array_of(const std::vector<Uuid>& ids) {
  pg::ArrayBuilder out(pg::ArrayBuilder::Type::uuid);
  for (const auto& id : ids) out.add(id);
  return out;
}

amqp::Message message(std::string topic, std::string id, std::string body, Timestamp when) {
  amqp::Message out;
  out.exchange = amqp::events_exchange;
  out.routing_key = topic;
  out.properties.content_type = "application/json";
  out.properties.content_encoding = "utf-8";
  out.properties.type = std::move(topic);
  out.properties.message_id = std::move(id);
  out.properties.timestamp =
      static_cast<std::uint64_t>(std::chrono::floor<std::chrono::seconds>(when.point()).time_since_epoch().count());
  out.body = std::move(body);
  return out;
}

}  // namespace

struct Relay::Row {
  std::int64_t sequence = 0;
  std::string kind;
  std::vector<Uuid> run_ids;
  std::vector<Uuid> ids;
  std::string payload;
  Timestamp created_at;
};

Relay::Relay(pg::Cluster& database, amqp::Connection* connection, Metrics& metrics)
    : database_(database), connection_(connection), metrics_(metrics) {}

Async<> Relay::turn(Deadline deadline) {
  Call call;
  call.deadline = deadline;
  co_await database_.primary().write(turn_query, pg::Params::of(connection_ != nullptr), call);
}

Async<> Relay::drop_old(Deadline deadline) {
  const auto now = std::chrono::steady_clock::now();
  if (dropped_at_ != std::chrono::steady_clock::time_point{} && now - dropped_at_ < drop_interval) co_return;
  Call call;
  call.deadline = deadline;
  std::int64_t dropped = 0;
  for (std::int64_t last = rows_dropped_max; last == rows_dropped_max && !deadline.passed(); dropped += last)
    last = (co_await database_.primary().write(drop_query, pg::Params::of(rows_dropped_max), call)).affected();
  dropped_at_ = now;
  if (dropped == 0) co_return;
  log(Level::error, "messages of the feed were dropped: they have waited for RabbitMQ for a day", {{"rows", dropped}});
  metrics_.counter("feed_rows_dropped_total", "Rows of the feed that waited for a day and were not published")
      .add(static_cast<double>(dropped));
}

Async<std::vector<amqp::Message>> Relay::messages_of(pg::Transaction& transaction, const Row& row) {
  std::vector<amqp::Message> out;
  if (row.kind == "alert") {
    pg::Params params;
    array_of(row.ids).move_into(params);
    const auto rows = co_await transaction.execute(alert_query, std::move(params));
    for (int i = 0; i < rows.size(); ++i) {
      auto told = message("budget.alerted", rows[i].at<std::string>(0), rows[i].at<std::string>(1), row.created_at);
      out.push_back(told);
      told.exchange = told.routing_key = amqp::alerts_queue;
      out.push_back(std::move(told));
    }
    co_return out;
  }
  if (row.kind == "run" || row.kind == "exhausted") {
    const auto rows = co_await transaction.execute(told_query, pg::Params::of(pg::Json{row.payload}, row.created_at));
    out.push_back(
        message(rows[0].at<std::string>(0), std::to_string(row.sequence), rows[0].at<std::string>(1), row.created_at));
    co_return out;
  }
  const auto& query = row.kind == "call" ? calls_query : row.kind == "tool" ? tools_query : steps_query;
  pg::ArrayBuilder buckets(pg::ArrayBuilder::Type::date);
  for (const auto& id : row.ids) buckets.add(bucket_of(id));
  pg::Params params;
  std::move(buckets).move_into(params);
  array_of(row.run_ids).move_into(params);
  array_of(row.ids).move_into(params);
  const auto rows = co_await transaction.execute(query, std::move(params));
  for (int i = 0; i < rows.size(); ++i)
    out.push_back(
        message(row.kind + ".stored", rows[i].at<std::string>(0), rows[i].at<std::string>(1), row.created_at));
  co_return out;
}

Async<> Relay::publish(std::vector<amqp::Message> messages, Deadline deadline) {
  const auto count = [&](std::string_view queue, std::string_view exchange, std::size_t published) {
    if (published == 0) return;
    metrics_
        .counter("mq_messages_published_total", "Messages that RabbitMQ has confirmed",
                 {{"queue", std::string(queue)}, {"exchange", std::string(exchange)}})
        .add(static_cast<double>(published));
  };
  // In their order; those of one commit may be more than a connection lets wait.
  for (auto first = messages.begin(); first != messages.end();) {
    const auto size = std::min<std::ptrdiff_t>(messages.end() - first, messages_max);
    std::vector<amqp::Message> some(std::make_move_iterator(first), std::make_move_iterator(first + size));
    first += size;
    const auto alerts = static_cast<std::size_t>(
        std::ranges::count(some, amqp::alerts_queue, [](const auto& one) { return std::string_view(one.exchange); }));
    const auto events = some.size() - alerts;
    co_await connection_->publish(std::move(some), deadline);
    count("", amqp::events_exchange, events);
    count(amqp::alerts_queue, amqp::alerts_queue, alerts);
  }
}

Async<bool> Relay::pass(std::int64_t term, Deadline deadline) {
  if (term_ != term) {
    co_await turn(deadline);
    term_ = term;
  }
  co_await drop_old(deadline);
  if (connection_ == nullptr) co_return false;
  // Not even looked at while nobody takes them.
  if (auto reason = co_await connection_->check(Deadline::in(check_patience)); !reason.empty())
    throw Unavailable("RabbitMQ is away: " + reason);
  auto transaction = co_await database_.begin(deadline);
  const auto rows = co_await transaction.execute(take_query, pg::Params::of(rows_max));
  if (rows.empty()) co_return false;
  pg::ArrayBuilder done(pg::ArrayBuilder::Type::int8);
  std::size_t published = 0;
  const Deadline publishing{deadline.at - deadline.remaining() / 2};
  const Deadline gathering{deadline.at - deadline.remaining() * 3 / 4};
  std::exception_ptr failure;
  std::vector<amqp::Message> messages;
  std::vector<std::int64_t> whose;
  for (int i = 0; i < rows.size() && !publishing.passed() && !failure; ++i) {
    Row row;
    rows[i].read(row.sequence, row.kind, row.run_ids, row.ids, row.payload, row.created_at);
    try {
      auto told = co_await messages_of(transaction, row);
      std::ranges::move(told, std::back_inserter(messages));
      whose.push_back(row.sequence);
      // RabbitMQ takes its time to confirm, and no longer for many than for one.
      if (std::ssize(messages) < messages_max && i + 1 < rows.size() && !gathering.passed()) continue;
      co_await publish(std::exchange(messages, {}), publishing);
      published += whose.size();
      for (const auto sequence : std::exchange(whose, {})) done.add(sequence);
    } catch (const Unavailable&) {
      // What was published before stays published.
      failure = std::current_exception();
    }
  }
  if (published > 0) {
    pg::Params params;
    std::move(done).move_into(params);
    co_await transaction.execute(done_query, std::move(params));
    co_await transaction.commit();
  }
  if (failure) std::rethrow_exception(failure);
  co_return rows.size() == rows_max;
}

}  // namespace cognive::feed
