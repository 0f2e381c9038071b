// The rows of the three tables of events: one list of columns and one of values for each, for INSERT and for COPY.
#include "events/store.hpp"
#include "pg/copy_rows.hpp"

namespace cognive::events::store {
namespace {

using Type = pg::ArrayBuilder::Type;

#define COGNIVE_BASE_COLUMNS                                                                             \
  "bucket, run_id, id, team_id, agent_id, \"timestamp\", parent_step_id, error, duration_ms, metadata, " \
  "content_hash, content, charge_set_id"
#define COGNIVE_LLM_CALL_COLUMNS                                                                                 \
  COGNIVE_BASE_COLUMNS                                                                                           \
  ", environment, provider, model, status, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, " \
  "usage, price_status, price_version_id, cost_nano_usd, violation, reservation_id"
#define COGNIVE_TOOL_INVOCATION_COLUMNS COGNIVE_BASE_COLUMNS ", tool, status, data_source, violation"
#define COGNIVE_STEP_COLUMNS COGNIVE_BASE_COLUMNS ", index, kind, name, status"

#define COGNIVE_BASE_ARRAYS                                                                                 \
  "$1::date[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::timestamptz[], $7::uuid[], $8::text[], " \
  "$9::bigint[], $10::jsonb[], $11::bigint[], $12::jsonb[], $13::bigint[]"

#define COGNIVE_INSERT(table, columns, arrays) \
  "INSERT INTO " table " (" columns ") SELECT * FROM unnest(" COGNIVE_BASE_ARRAYS ", " arrays ")"

#define COGNIVE_UNLESS_STORED " ON CONFLICT DO NOTHING RETURNING run_id, id"

// LATERAL with LIMIT leaves the planner no other way than by the key: its plan is kept, and may have been made when the
// table was empty and a scan of all of it looked cheap.
#define COGNIVE_STORED(violation, table)                                                                \
  "SELECT e.run_id, e.id, e.content_hash, e.violation "                                                 \
  "FROM unnest($1::date[], $2::uuid[], $3::uuid[]) AS wanted (bucket, run_id, id) CROSS JOIN LATERAL (" \
  "SELECT s.run_id, s.id, s.content_hash, " violation " AS violation FROM " table                       \
  " s WHERE s.bucket = wanted.bucket AND s.run_id = wanted.run_id AND s.id = wanted.id LIMIT 1) e"

constexpr std::array base_types{Type::date,        Type::uuid,  Type::uuid, Type::uuid, Type::uuid,
                                Type::timestamptz, Type::uuid,  Type::text, Type::int8, Type::jsonb,
                                Type::int8,        Type::jsonb, Type::int8};

#define COGNIVE_INSERT_LLM_CALLS                                                                                     \
  COGNIVE_INSERT("llm_calls", COGNIVE_LLM_CALL_COLUMNS,                                                              \
                 "$14::text[], $15::text[], $16::text[], $17::text[], $18::bigint[], $19::bigint[], $20::bigint[], " \
                 "$21::bigint[], $22::jsonb[], $23::text[], $24::uuid[], $25::bigint[], $26::text[], $27::uuid[]")
#define COGNIVE_INSERT_TOOL_INVOCATIONS                               \
  COGNIVE_INSERT("tool_invocations", COGNIVE_TOOL_INVOCATION_COLUMNS, \
                 "$14::text[], $15::text[], $16::text[], $17::text[]")
#define COGNIVE_INSERT_STEPS \
  COGNIVE_INSERT("execution_steps", COGNIVE_STEP_COLUMNS, "$14::bigint[], $15::text[], $16::text[], $17::text[]")

// All of them must be new.
constexpr pg::Query add_llm_calls_query{"event_add_llm_calls", COGNIVE_INSERT_LLM_CALLS};
constexpr pg::Query add_tool_invocations_query{"event_add_tool_invocations", COGNIVE_INSERT_TOOL_INVOCATIONS};
constexpr pg::Query add_steps_query{"event_add_steps", COGNIVE_INSERT_STEPS};

// Those that are not there yet; which they were.
constexpr pg::Query insert_llm_calls_query{"event_insert_llm_calls", COGNIVE_INSERT_LLM_CALLS COGNIVE_UNLESS_STORED};
constexpr pg::Query insert_tool_invocations_query{"event_insert_tool_invocations",
                                                  COGNIVE_INSERT_TOOL_INVOCATIONS COGNIVE_UNLESS_STORED};
constexpr pg::Query insert_steps_query{"event_insert_steps", COGNIVE_INSERT_STEPS COGNIVE_UNLESS_STORED};

constexpr pg::Query stored_llm_calls_query{"event_stored_llm_calls", COGNIVE_STORED("s.violation", "llm_calls")};
constexpr pg::Query stored_tool_invocations_query{"event_stored_tool_invocations",
                                                  COGNIVE_STORED("s.violation", "tool_invocations")};
constexpr pg::Query stored_steps_query{"event_stored_steps", COGNIVE_STORED("NULL::text", "execution_steps")};

// A table of events. `types` are those of its own columns, behind the base ones.
struct Table {
  std::vector<Type> types;
  const char* copy_sql;
  const pg::Query* add;
  const pg::Query* insert;
  const pg::Query* stored;
};

const Table& table_of(EventType type) {
  static const Table llm_calls{
      .types = {Type::text, Type::text, Type::text, Type::text, Type::int8, Type::int8, Type::int8, Type::int8,
                Type::jsonb, Type::text, Type::uuid, Type::int8, Type::text, Type::uuid},
      .copy_sql = "COPY llm_calls (" COGNIVE_LLM_CALL_COLUMNS ") FROM STDIN BINARY",
      .add = &add_llm_calls_query,
      .insert = &insert_llm_calls_query,
      .stored = &stored_llm_calls_query};
  static const Table tool_invocations{
      .types = {Type::text, Type::text, Type::text, Type::text},
      .copy_sql = "COPY tool_invocations (" COGNIVE_TOOL_INVOCATION_COLUMNS ") FROM STDIN BINARY",
      .add = &add_tool_invocations_query,
      .insert = &insert_tool_invocations_query,
      .stored = &stored_tool_invocations_query};
  static const Table steps{.types = {Type::int8, Type::text, Type::text, Type::text},
                           .copy_sql = "COPY execution_steps (" COGNIVE_STEP_COLUMNS ") FROM STDIN BINARY",
                           .add = &add_steps_query,
                           .insert = &insert_steps_query,
                           .stored = &stored_steps_query};
  switch (type) {
    case EventType::llm_call:
      return llm_calls;
    case EventType::tool_invocation:
      return tool_invocations;
    case EventType::step:
      break;
  }
  return steps;
}

#undef COGNIVE_STORED
#undef COGNIVE_UNLESS_STORED
#undef COGNIVE_INSERT_STEPS
#undef COGNIVE_INSERT_TOOL_INVOCATIONS
#undef COGNIVE_INSERT_LLM_CALLS
#undef COGNIVE_INSERT
#undef COGNIVE_BASE_ARRAYS
#undef COGNIVE_STEP_COLUMNS
#undef COGNIVE_TOOL_INVOCATION_COLUMNS
#undef COGNIVE_LLM_CALL_COLUMNS
#undef COGNIVE_BASE_COLUMNS

std::optional<std::string_view> view(const std::optional<std::string>& text) {
  return text ? std::optional<std::string_view>(*text) : std::nullopt;
}

bool has_other_units(const prices::Usage& usage) {
  static const auto of_columns = [] {
    prices::UnitSet set = 0;
    for (const auto unit : token_units()) set |= prices::UnitSet{1} << unit;
    return set;
  }();
  return (usage.reported_units() & ~of_columns) != 0;
}

// Hands the values of a row to `add`, in the order of the columns.
template <typename Add>
void each_base_value(const Row& row, const Add& add) {
  const auto& event = row.event->base();
  add(bucket_of(event.id));
  add(row.event->run_id);
  add(event.id);
  add(row.run->team_id);
  add(row.run->agent_id);
  add(row.event->timestamp);
  add(event.parent_step_id);
  add(view(row.error));
  add(event.duration_ms);
  add(event.metadata ? std::optional(pg::Json{event.metadata->text}) : std::nullopt);
  add(row.event->content_hash);
  add(row.content ? std::optional(pg::Json{*row.content}) : std::nullopt);
  add(row.charge_set_id);
}

template <typename Add>
void each_value(const Row& row, const LlmCall& call, const Add& add) {
  add(std::string_view(row.run->environment));
  add(provider_of(row));
  add(std::string_view(call.model));
  add(json::enum_text(call.status));
  const bool is_known = call.usage.reported_units() != 0;
  for (const auto count : tokens_of(call.usage)) add(is_known ? std::optional(count) : std::nullopt);
  std::string others;
  if (has_other_units(call.usage)) {
    auto counts = call.usage.counts();
    for (const auto unit : token_units()) counts.erase(prices::Units::shipped()[unit].name);
    others = json::encode(counts);
  }
  add(others.empty() ? std::nullopt : std::optional(pg::Json{others}));
  add(json::enum_text(row.price.status));
  add(row.price.version != nullptr ? std::optional(row.price.version->id) : std::nullopt);
  add(row.price.has_cost() ? std::optional(row.price.cost.nanos) : std::nullopt);
  add(row.violation);
  add(call.reservation_id);
}

template <typename Add>
void each_value(const Row& row, const ToolInvocation& invocation, const Add& add) {
  add(std::string_view(invocation.tool));
  add(json::enum_text(invocation.status));
  add(view(invocation.data_source));
  add(row.violation);
}

template <typename Add>
void each_value(const Row&, const Step& step, const Add& add) {
  add(step.index);
  add(std::string_view(step.kind));
  add(std::string_view(step.name));
  add(step.status ? std::optional(json::enum_text(*step.status)) : std::nullopt);
}

template <typename Add>
void each_value(const Row& row, const Add& add) {
  each_base_value(row, add);
  std::visit([&](const auto& body) { each_value(row, body, add); }, row.event->body);
}

pg::Params params_of(const Table& table, const std::vector<const Row*>& rows) {
  std::vector<pg::ArrayBuilder> columns;
  for (const auto type : base_types) columns.emplace_back(type);
  for (const auto type : table.types) columns.emplace_back(type);
  for (const auto* row : rows) {
    auto column = columns.begin();
    each_value(*row, [&](const auto& value) { (column++)->add(value); });
  }
  pg::Params params;
  for (auto& column : columns) std::move(column).move_into(params);
  return params;
}

}  // namespace

const std::array<prices::UnitId, 4>& token_units() {
  static const std::array<prices::UnitId, 4> units{
      *prices::Units::shipped().by_name("input_tokens"), *prices::Units::shipped().by_name("output_tokens"),
      *prices::Units::shipped().by_name("cache_read_tokens"), *prices::Units::shipped().by_name("cache_write_tokens")};
  return units;
}

std::array<std::int64_t, 4> tokens_of(const prices::Usage& usage) {
  std::array<std::int64_t, 4> out{};
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = usage.quantity(token_units()[i]);
  return out;
}

std::optional<std::string_view> provider_of(const Row& row) {
  // A provider that was not said is the one whose rate card was found.
  const auto& stated = std::get<LlmCall>(row.event->body).provider;
  if (stated) return *stated;
  return row.price.model != nullptr ? std::optional<std::string_view>(row.price.model->provider) : std::nullopt;
}

const char* copy_sql(EventType type) {
  return table_of(type).copy_sql;
}

void encode(const Row& row, std::string& out) {
  pg::CopyRows rows(out);
  rows.begin_row(static_cast<std::int16_t>(base_types.size() + table_of(row.event->type()).types.size()));
  each_value(row, [&](const auto& value) { rows.add(value); });
}

pg::Statement add_statement(EventType type, const std::vector<const Row*>& rows) {
  const auto& table = table_of(type);
  return {table.add, params_of(table, rows)};
}

Async<std::set<Key>> insert(pg::Transaction& transaction, EventType type, const std::vector<const Row*>& rows) {
  const auto& table = table_of(type);
  const auto inserted = co_await transaction.execute(*table.insert, params_of(table, rows));
  std::set<Key> out;
  for (int i = 0; i < inserted.size(); ++i) {
    Key key;
    inserted[i].read(key.run_id, key.id);
    out.insert(key);
  }
  co_return out;
}

Async<std::map<Key, Stored>> find_stored(pg::Transaction& transaction, EventType type,
                                         const std::vector<const Row*>& rows) {
  pg::ArrayBuilder bucket(Type::date);
  pg::ArrayBuilder run_id(Type::uuid);
  pg::ArrayBuilder id(Type::uuid);
  for (const auto* row : rows) {
    bucket.add(bucket_of(row->event->base().id));
    run_id.add(row->event->run_id);
    id.add(row->event->base().id);
  }
  pg::Params params;
  for (auto* column : {&bucket, &run_id, &id}) std::move(*column).move_into(params);
  const auto found = co_await transaction.execute(*table_of(type).stored, std::move(params));
  std::map<Key, Stored> out;
  for (int i = 0; i < found.size(); ++i) {
    Key key;
    Stored stored;
    found[i].read(key.run_id, key.id, stored.content_hash, stored.violation);
    out.emplace(key, std::move(stored));
  }
  co_return out;
}

}  // namespace cognive::events::store
