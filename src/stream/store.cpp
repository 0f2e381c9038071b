#include "stream/store.hpp"

namespace cognive::stream::sql {
namespace {

constexpr std::size_t page_size = 1'000;

constexpr pg::Query turn_on_query{
    "stream_turn_on",
    "INSERT INTO stream_switch (is_on_until) VALUES (now() + interval '10 minutes') ON CONFLICT (is_only) DO UPDATE "
    "SET "
    "oldest = CASE WHEN stream_switch.is_on_until < now() THEN NULL ELSE stream_switch.oldest END, "
    "is_on_until = excluded.is_on_until"};
// A statement after the other has been committed: whoever gets a transaction id from now on sees that somebody listens.
constexpr pg::Query beginning_query{
    "stream_beginning",
    "UPDATE stream_switch SET oldest = coalesce(oldest, pg_snapshot_xmax(pg_current_snapshot())) "
    "RETURNING pg_snapshot_xmax(pg_current_snapshot())::text::bigint"};
constexpr pg::Query horizon_query{"stream_horizon", "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"};
constexpr pg::Query oldest_query{"stream_oldest", "SELECT oldest::text::bigint FROM stream_switch"};
// Below the oldest transaction that runs, nothing is added any more.
constexpr pg::Query after_query{
    "stream_after",
    "SELECT s.horizon::text::bigint, e.transaction_id::text::bigint, e.sequence, e.type, e.team_id, e.agent_id, "
    "e.payload::text FROM (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS horizon) s LEFT JOIN LATERAL (SELECT * "
    "FROM stream_events WHERE (transaction_id, sequence) > ($1::bigint::text::xid8, $2) AND transaction_id < s.horizon "
    "ORDER BY transaction_id, sequence LIMIT $3) e ON true ORDER BY e.transaction_id, e.sequence"};
constexpr pg::Query forget_query{
    "stream_forget",
    "WITH gone AS (DELETE FROM stream_events WHERE (transaction_id, sequence) IN (SELECT transaction_id, sequence FROM "
    "stream_events WHERE created_at < now() - interval '1 hour' ORDER BY transaction_id, sequence LIMIT $1) RETURNING "
    "transaction_id) "
    "UPDATE stream_switch SET oldest = greatest(oldest, (SELECT (max(transaction_id)::text::bigint + "
    "1)::text::xid8 FROM gone)) WHERE EXISTS (SELECT FROM gone) RETURNING (SELECT count(*) FROM gone)"};

}  // namespace

const pg::Query& turn_on() {
  return turn_on_query;
}

const pg::Query& forget() {
  return forget_query;
}

Async<Position> note_beginning(pg::Cluster& database, const Call& call) {
  const auto rows = co_await database.primary().write(beginning_query, {}, call);
  co_return Position{.transaction = rows[0].at<std::int64_t>(0), .sequence = 0};
}

Async<std::int64_t> horizon(pg::Cluster& database, Deadline deadline) {
  const auto rows = co_await database.primary().execute(horizon_query, {}, deadline);
  co_return rows[0].at<std::int64_t>(0);
}

Async<std::int64_t> oldest(pg::Cluster& database, Deadline deadline) {
  const auto rows = co_await database.primary().execute(oldest_query, {}, deadline);
  if (rows.empty()) co_return 0;
  co_return rows[0].at<std::optional<std::int64_t>>(0).value_or(0);
}

Async<Page> after(pg::Cluster& database, Position position, Deadline deadline) {
  auto params = pg::Params::of(position.transaction, position.sequence, static_cast<std::int64_t>(page_size));
  const auto rows = co_await database.primary().execute(after_query, std::move(params), deadline);
  Page out;
  std::int64_t horizon = 0;
  for (int i = 0; i < rows.size(); ++i) {
    auto row = rows[i];
    std::optional<std::int64_t> transaction;
    std::optional<std::int64_t> sequence;
    std::optional<std::string> type;
    std::optional<std::string> payload;
    Message message;
    row.read(horizon, transaction, sequence, type, message.team_id, message.agent_id, payload);
    if (!transaction || !sequence || !type || !payload) break;  // there is nothing
    message.position = {.transaction = *transaction, .sequence = *sequence};
    message.type = std::move(*type);
    message.payload = std::move(*payload);
    out.messages.push_back(std::move(message));
  }
  out.horizon = horizon;
  const bool is_all = out.messages.size() < page_size;
  out.end = is_all ? Position{.transaction = horizon, .sequence = 0} : out.messages.back().position;
  co_return out;
}

}  // namespace cognive::stream::sql
