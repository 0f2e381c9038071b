#include "charges/store.hpp"

namespace cognive::charges::store {
namespace {

using Type = pg::ArrayBuilder::Type;

#define COGNIVE_CHARGED_COLUMNS                                                                        \
  "c.\"timestamp\", c.run_id, c.id, c.team_id, c.provider, c.model, c.input_tokens, c.output_tokens, " \
  "c.cache_read_tokens, c.cache_write_tokens, c.usage, coalesce(j.sequence, 0), "                      \
  "CASE WHEN j.sequence IS NULL THEN c.price_status ELSE j.new_price_status END, "                     \
  "CASE WHEN j.sequence IS NULL THEN c.price_version_id ELSE j.new_price_version_id END, "             \
  "CASE WHEN j.sequence IS NULL THEN c.cost_nano_usd ELSE j.new_cost_nano_usd END, "                   \
  "c.agent_id, c.environment, c.status = 'error', c.duration_ms"

#define COGNIVE_LATEST_ADJUSTMENT                                                                                    \
  "LEFT JOIN LATERAL (SELECT a.sequence, a.new_price_status, a.new_price_version_id, a.new_cost_nano_usd "           \
  "FROM charge_adjustments a WHERE a.run_id = c.run_id AND a.call_id = c.id ORDER BY a.sequence DESC LIMIT 1) j ON " \
  "true "

constexpr pg::Query lock_query{"charge_lock", "SELECT pg_try_advisory_xact_lock(hashtextextended('reprice', 0))"};

constexpr pg::Query any_calls_query{
    "charge_any_calls", "SELECT EXISTS (SELECT FROM llm_calls WHERE \"timestamp\" >= $1 AND \"timestamp\" < $2)"};

// The calls first, then their adjustments: one look for each that is wanted, not for each that is there.
constexpr pg::Query read_query{
    "charge_read", "SELECT " COGNIVE_CHARGED_COLUMNS
                   " FROM (SELECT * FROM llm_calls WHERE \"timestamp\" >= $1 AND \"timestamp\" < $4 "
                   "AND ($11 OR (\"timestamp\", run_id, id) > ($1, $2, $3)) AND ($5::uuid IS NULL OR team_id = $5) "
                   "AND ($6::uuid IS NULL OR team_id = $6) AND ($7::uuid IS NULL OR agent_id = $7) "
                   "AND ($8::text IS NULL OR provider = $8) AND ($9::text IS NULL OR model = $9) "
                   "ORDER BY \"timestamp\", run_id, id LIMIT $10) c " COGNIVE_LATEST_ADJUSTMENT
                   "ORDER BY c.\"timestamp\", c.run_id, c.id"};

constexpr pg::Query find_query{"charge_find",
                               "SELECT " COGNIVE_CHARGED_COLUMNS " FROM llm_calls c " COGNIVE_LATEST_ADJUSTMENT
                               "WHERE c.bucket = $1 AND c.run_id = $2 AND c.id = $3 "
                               "AND ($4::uuid IS NULL OR c.team_id = $4) "
                               "AND ($5::uuid IS NULL OR c.agent_id = $5)"};

#undef COGNIVE_CHARGED_COLUMNS
#undef COGNIVE_LATEST_ADJUSTMENT

constexpr pg::Query insert_query{
    "charge_adjust",
    "INSERT INTO charge_adjustments (bucket, run_id, call_id, sequence, team_id, \"timestamp\", old_price_status, "
    "old_price_version_id, old_cost_nano_usd, new_price_status, new_price_version_id, new_cost_nano_usd, "
    "repricing_id) SELECT row.*, $13 FROM unnest($1::date[], $2::uuid[], $3::uuid[], $4::bigint[], $5::uuid[], "
    "$6::timestamptz[], $7::text[], $8::uuid[], $9::bigint[], $10::text[], $11::uuid[], $12::bigint[]) AS row"};

constexpr pg::Query adjustments_query{
    "charge_adjustments",
    "SELECT sequence, repricing_id, old_price_status, old_price_version_id, old_cost_nano_usd, new_price_status, "
    "new_price_version_id, new_cost_nano_usd, difference_nano_usd, created_at FROM charge_adjustments "
    "WHERE run_id = $1 AND call_id = $2 ORDER BY sequence"};

ChargedCall read_call(pg::Row row) {
  ChargedCall call;
  std::optional<std::int64_t> input;
  std::optional<std::int64_t> output;
  std::optional<std::int64_t> cache_read;
  std::optional<std::int64_t> cache_write;
  std::optional<std::string> others;
  row.read(call.place.timestamp, call.place.run_id, call.place.call_id, call.team_id, call.provider, call.model, input,
           output, cache_read, cache_write, others, call.sequence, call.price_status, call.price_version_id, call.cost,
           call.agent_id, call.environment, call.failed, call.duration_ms);
  call.usage = prices::Usage::stored(input, output, cache_read, cache_write, others);
  return call;
}

}  // namespace

Async<bool> try_lock(pg::Transaction& transaction) {
  const auto rows = co_await transaction.execute(lock_query, {});
  co_return rows[0].at<bool>(0);
}

Async<bool> any_calls(pg::Transaction& transaction, Timestamp from, Timestamp until) {
  const auto rows = co_await transaction.execute(any_calls_query, pg::Params::of(from, until));
  co_return rows[0].at<bool>(0);
}

Async<std::vector<ChargedCall>> read(pg::Transaction& transaction, const Selection& selection, const Place& after,
                                     Timestamp until, std::int64_t count) {
  auto params = pg::Params::of(after.timestamp, after.run_id, after.call_id, until, selection.principal_team_id,
                               selection.team_id, selection.agent_id, selection.provider, selection.model, count,
                               after.run_id.is_nil() && after.call_id.is_nil());
  const auto rows = co_await transaction.execute(read_query, std::move(params));
  std::vector<ChargedCall> out;
  out.reserve(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) out.push_back(read_call(rows[i]));
  co_return out;
}

Async<> insert(pg::Transaction& transaction, Uuid repricing_id, const std::vector<NewAdjustment>& adjustments) {
  pg::ArrayBuilder bucket(Type::date);
  pg::ArrayBuilder run_id(Type::uuid);
  pg::ArrayBuilder call_id(Type::uuid);
  pg::ArrayBuilder sequence(Type::int8);
  pg::ArrayBuilder team_id(Type::uuid);
  pg::ArrayBuilder timestamp(Type::timestamptz);
  pg::ArrayBuilder old_status(Type::text);
  pg::ArrayBuilder old_version(Type::uuid);
  pg::ArrayBuilder old_cost(Type::int8);
  pg::ArrayBuilder new_status(Type::text);
  pg::ArrayBuilder new_version(Type::uuid);
  pg::ArrayBuilder new_cost(Type::int8);
  const auto nanos = [](const std::optional<NanoUsd>& cost) {
    return cost ? std::optional(cost->nanos) : std::nullopt;
  };
  for (const auto& one : adjustments) {
    const auto& call = *one.call;
    bucket.add(bucket_of(call.place.call_id));
    run_id.add(call.place.run_id);
    call_id.add(call.place.call_id);
    sequence.add(call.sequence + 1);
    team_id.add(call.team_id);
    timestamp.add(call.place.timestamp);
    old_status.add(std::string_view(call.price_status));
    old_version.add(call.price_version_id);
    old_cost.add(nanos(call.cost));
    new_status.add(one.price_status);
    new_version.add(one.price_version_id);
    new_cost.add(nanos(one.cost));
  }
  pg::Params params;
  for (auto* column : {&bucket, &run_id, &call_id, &sequence, &team_id, &timestamp, &old_status, &old_version,
                       &old_cost, &new_status, &new_version, &new_cost}) {
    std::move(*column).move_into(params);
  }
  params.add(repricing_id);
  co_await transaction.execute(insert_query, std::move(params));
}

Async<std::optional<ChargedCall>> find(pg::Reader database, Uuid run_id, Uuid call_id, const Principal& principal,
                                       Deadline deadline) {
  auto params = pg::Params::of(bucket_of(call_id), run_id, call_id, principal.team_id, principal.agent_id);
  const auto rows = co_await database.find(find_query, std::move(params), deadline);
  if (rows.empty()) co_return std::nullopt;
  co_return read_call(rows[0]);
}

Async<std::vector<Adjustment>> adjustments(pg::Reader database, Uuid run_id, Uuid call_id, Deadline deadline) {
  const auto rows = co_await database.execute(adjustments_query, pg::Params::of(run_id, call_id), deadline);
  std::vector<Adjustment> out(static_cast<std::size_t>(rows.size()));
  for (int i = 0; i < rows.size(); ++i) {
    auto& one = out[static_cast<std::size_t>(i)];
    rows[i].read(one.sequence, one.repricing_id, one.old_price_status, one.old_price_version_id, one.old_cost_usd,
                 one.new_price_status, one.new_price_version_id, one.new_cost_usd, one.difference_usd, one.created_at);
  }
  co_return out;
}

}  // namespace cognive::charges::store
