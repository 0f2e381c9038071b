#include "events/store.hpp"

namespace cognive::events::store {
namespace {

using Type = pg::ArrayBuilder::Type;

// The policy of an agent, which may be large, comes with the first of its runs only.
constexpr pg::Query find_runs_query{
    "event_find_runs",
    "WITH found AS (SELECT r.id, r.team_id, r.agent_id, r.environment, r.status, r.error, "
    "row_number() OVER (PARTITION BY r.agent_id) = 1 AS is_first "
    "FROM unnest($1::date[], $2::uuid[]) AS wanted (bucket, id) "
    "JOIN agent_runs r ON r.bucket = wanted.bucket AND r.id = wanted.id) "
    "SELECT f.id, f.team_id, f.agent_id, f.environment, f.status, f.error, a.store, a.on_violation, "
    "a.allowed_providers, a.allowed_models, a.allowed_tools, a.allowed_data_sources "
    "FROM found f LEFT JOIN agents a ON f.is_first AND a.id = f.agent_id"};

constexpr pg::Query begin_runs_query{
    "event_begin_runs",
    "WITH queued AS (SELECT r.bucket, r.id, wanted.first_at FROM unnest($1::date[], $2::uuid[], $3::timestamptz[]) "
    "AS wanted (bucket, id, first_at) JOIN agent_runs r ON r.bucket = wanted.bucket AND r.id = wanted.id "
    "JOIN agents a ON a.id = r.agent_id AND a.status = 'active' WHERE r.status = 'queued' ORDER BY r.id "
    "FOR UPDATE OF r) "
    "UPDATE agent_runs r SET status = 'running', started_at = least(now(), q.first_at) FROM queued q "
    "WHERE r.bucket = q.bucket AND r.id = q.id AND r.status = 'queued'"};

constexpr pg::Query find_agents_query{
    "event_find_agents", "SELECT id, team_id, status, environment FROM agents WHERE id = ANY ($1::uuid[])"};

constexpr pg::Query insert_placeholders_query{
    "event_insert_placeholders",
    "INSERT INTO agent_runs (bucket, id, team_id, agent_id, environment, started_at, status, placeholder) "
    "SELECT row.*, 'running', true FROM unnest($1::date[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], "
    "$6::timestamptz[]) AS row "
    "ON CONFLICT DO NOTHING"};

constexpr pg::Query insert_llm_calls_query{"event_insert_llm_calls",
                                           "INSERT INTO llm_calls (bucket, run_id, id, team_id, agent_id, "
                                           "\"timestamp\", parent_step_id, error, duration_ms, metadata, "
                                           "content_hash, content, environment, provider, model, status, input_tokens, "
                                           "output_tokens, cache_read_tokens, cache_write_tokens, usage, "
                                           "price_status, price_version_id, cost_nano_usd, violation) SELECT * FROM "
                                           "unnest($1::date[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], "
                                           "$6::timestamptz[], $7::uuid[], $8::text[], $9::bigint[], $10::jsonb[], "
                                           "$11::bigint[], $12::jsonb[], $13::text[], $14::text[], $15::text[], "
                                           "$16::text[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], "
                                           "$21::jsonb[], $22::text[], $23::uuid[], $24::bigint[], $25::text[]) "
                                           "ON CONFLICT DO NOTHING RETURNING run_id, id"};

constexpr pg::Query insert_tool_invocations_query{
    "event_insert_tool_invocations",
    "INSERT INTO tool_invocations (bucket, run_id, id, team_id, agent_id, \"timestamp\", parent_step_id, error, "
    "duration_ms, metadata, "
    "content_hash, content, tool, status, data_source, violation) SELECT * FROM unnest($1::date[], $2::uuid[], "
    "$3::uuid[], $4::uuid[], $5::uuid[], "
    "$6::timestamptz[], "
    "$7::uuid[], $8::text[], $9::bigint[], $10::jsonb[], $11::bigint[], $12::jsonb[], $13::text[], $14::text[], "
    "$15::text[], $16::text[]) "
    "ON CONFLICT DO NOTHING RETURNING run_id, id"};

constexpr pg::Query insert_steps_query{
    "event_insert_steps",
    "INSERT INTO execution_steps (bucket, run_id, id, team_id, agent_id, "
    "\"timestamp\", parent_step_id, error, duration_ms, metadata, "
    "content_hash, content, index, kind, name, status) SELECT * FROM unnest($1::date[], "
    "$2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], "
    "$6::timestamptz[], $7::uuid[], $8::text[], $9::bigint[], $10::jsonb[], "
    "$11::bigint[], $12::jsonb[], $13::bigint[], $14::text[], $15::text[], "
    "$16::text[]) ON CONFLICT DO NOTHING RETURNING run_id, id"};

#define COGNIVE_STORED(violation, table)                                             \
  "SELECT e.run_id, e.id, e.content_hash, " violation                                \
  " FROM unnest($1::date[], $2::uuid[], $3::uuid[]) AS wanted (bucket, run_id, id) " \
  "JOIN " table " e ON e.bucket = wanted.bucket AND e.run_id = wanted.run_id AND e.id = wanted.id"

constexpr pg::Query stored_llm_calls_query{"event_stored_llm_calls", COGNIVE_STORED("e.violation", "llm_calls")};
constexpr pg::Query stored_tool_invocations_query{"event_stored_tool_invocations",
                                                  COGNIVE_STORED("e.violation", "tool_invocations")};
constexpr pg::Query stored_steps_query{"event_stored_steps", COGNIVE_STORED("NULL::text", "execution_steps")};

#undef COGNIVE_STORED

template <typename Ids>
pg::ArrayBuilder uuids(const Ids& ids) {
  pg::ArrayBuilder out(Type::uuid);
  for (const auto& id : ids) out.add(id);
  return out;
}

std::optional<std::string_view> view(const std::optional<std::string>& text) {
  return text ? std::optional<std::string_view>(*text) : std::nullopt;
}

std::optional<pg::Json> json_of(const std::optional<json::Object>& object) {
  return object ? std::optional(pg::Json{object->text}) : std::nullopt;
}

// The columns that all event tables begin with.
struct BaseColumns {
  pg::ArrayBuilder bucket{Type::date};
  pg::ArrayBuilder run_id{Type::uuid};
  pg::ArrayBuilder id{Type::uuid};
  pg::ArrayBuilder team_id{Type::uuid};
  pg::ArrayBuilder agent_id{Type::uuid};
  pg::ArrayBuilder timestamp{Type::timestamptz};
  pg::ArrayBuilder parent_step_id{Type::uuid};
  pg::ArrayBuilder error{Type::text};
  pg::ArrayBuilder duration_ms{Type::int8};
  pg::ArrayBuilder metadata{Type::jsonb};
  pg::ArrayBuilder content_hash{Type::int8};
  pg::ArrayBuilder content{Type::jsonb};

  void add(const Row& row) {
    const auto& event = row.event->base();
    bucket.add(bucket_of(event.id));
    run_id.add(row.event->run_id);
    id.add(event.id);
    team_id.add(row.run.team_id);
    agent_id.add(row.run.agent_id);
    timestamp.add(row.event->timestamp);
    parent_step_id.add(event.parent_step_id);
    error.add(view(row.error));
    duration_ms.add(event.duration_ms);
    metadata.add(json_of(event.metadata));
    content_hash.add(row.event->content_hash);
    content.add(row.content ? std::optional(pg::Json{*row.content}) : std::nullopt);
  }

  void move_into(pg::Params& params) && {
    for (auto* column : {&bucket, &run_id, &id, &team_id, &agent_id, &timestamp, &parent_step_id, &error, &duration_ms,
                         &metadata, &content_hash, &content}) {
      std::move(*column).move_into(params);
    }
  }
};

struct LlmCallColumns {
  pg::ArrayBuilder environment{Type::text};
  pg::ArrayBuilder provider{Type::text};
  pg::ArrayBuilder model{Type::text};
  pg::ArrayBuilder status{Type::text};
  std::array<pg::ArrayBuilder, 4> tokens{pg::ArrayBuilder(Type::int8), pg::ArrayBuilder(Type::int8),
                                         pg::ArrayBuilder(Type::int8), pg::ArrayBuilder(Type::int8)};
  pg::ArrayBuilder usage{Type::jsonb};
  pg::ArrayBuilder price_status{Type::text};
  pg::ArrayBuilder price_version_id{Type::uuid};
  pg::ArrayBuilder cost{Type::int8};
  pg::ArrayBuilder violation{Type::text};

  void add(const Row& row) {
    static const std::array<prices::UnitId, 4> token_units{*prices::Units::shipped().by_name("input_tokens"),
                                                           *prices::Units::shipped().by_name("output_tokens"),
                                                           *prices::Units::shipped().by_name("cache_read_tokens"),
                                                           *prices::Units::shipped().by_name("cache_write_tokens")};
    const auto& call = std::get<LlmCall>(row.event->body);
    environment.add(std::string_view(row.run.environment));
    // A provider that was not said is the one whose rate card was found.
    if (call.provider) {
      provider.add(std::string_view(*call.provider));
    } else if (row.price.model != nullptr) {
      provider.add(std::string_view(row.price.model->provider));
    } else {
      provider.null();
    }
    model.add(std::string_view(call.model));
    status.add(json::enum_text(call.status));
    const bool is_known = row.event->usage.reported_units() != 0;
    for (std::size_t i = 0; i < token_units.size(); ++i)
      tokens[i].add(is_known ? std::optional(row.event->usage.quantity(token_units[i])) : std::nullopt);
    auto others = row.event->usage.counts();
    for (const auto unit : token_units) others.erase(prices::Units::shipped()[unit].name);
    if (others.empty()) {
      usage.null();
    } else {
      const auto text = json::encode(others);
      usage.add(pg::Json{text});
    }
    price_status.add(json::enum_text(row.price.status));
    price_version_id.add(row.price.version != nullptr ? std::optional(row.price.version->id) : std::nullopt);
    cost.add(row.price.has_cost() ? std::optional(row.price.cost.nanos) : std::nullopt);
    violation.add(row.violation);
  }

  void move_into(pg::Params& params) && {
    for (auto* column : {&environment, &provider, &model, &status}) std::move(*column).move_into(params);
    for (auto& column : tokens) std::move(column).move_into(params);
    for (auto* column : {&usage, &price_status, &price_version_id, &cost, &violation})
      std::move(*column).move_into(params);
  }
};

struct ToolInvocationColumns {
  pg::ArrayBuilder tool{Type::text};
  pg::ArrayBuilder status{Type::text};
  pg::ArrayBuilder data_source{Type::text};
  pg::ArrayBuilder violation{Type::text};

  void add(const Row& row) {
    const auto& invocation = std::get<ToolInvocation>(row.event->body);
    tool.add(std::string_view(invocation.tool));
    status.add(json::enum_text(invocation.status));
    data_source.add(view(invocation.data_source));
    violation.add(row.violation);
  }
  void move_into(pg::Params& params) && {
    for (auto* column : {&tool, &status, &data_source, &violation}) std::move(*column).move_into(params);
  }
};

struct StepColumns {
  pg::ArrayBuilder index{Type::int8};
  pg::ArrayBuilder kind{Type::text};
  pg::ArrayBuilder name{Type::text};
  pg::ArrayBuilder status{Type::text};

  void add(const Row& row) {
    const auto& step = std::get<Step>(row.event->body);
    index.add(step.index);
    kind.add(std::string_view(step.kind));
    name.add(std::string_view(step.name));
    status.add(step.status ? std::optional(json::enum_text(*step.status)) : std::nullopt);
  }
  void move_into(pg::Params& params) && {
    for (auto* column : {&index, &kind, &name, &status}) std::move(*column).move_into(params);
  }
};

template <typename Columns>
pg::Params params_of(const std::vector<const Row*>& rows) {
  BaseColumns base;
  Columns own;
  for (const auto* row : rows) {
    base.add(*row);
    own.add(*row);
  }
  pg::Params params;
  std::move(base).move_into(params);
  std::move(own).move_into(params);
  return params;
}

}  // namespace

Async<RunRows> find_runs(pg::Transaction& transaction, const std::set<Uuid>& ids) {
  pg::ArrayBuilder buckets(Type::date);
  for (const auto& id : ids) buckets.add(bucket_of(id));
  pg::Params params;
  std::move(buckets).move_into(params);
  uuids(ids).move_into(params);
  const auto rows = co_await transaction.execute(find_runs_query, std::move(params));
  RunRows out;
  std::unordered_map<Uuid, std::shared_ptr<const agents::Policy>> policies;
  for (int i = 0; i < rows.size(); ++i) {
    Uuid id;
    RunRow run;
    std::optional<agents::Store> kept;
    std::optional<agents::OnViolation> on_violation;
    std::array<std::optional<std::vector<std::string>>, 4> allowed;
    rows[i].read(id, run.team_id, run.agent_id, run.environment, run.status, run.error, kept, on_violation, allowed[0],
                 allowed[1], allowed[2], allowed[3]);
    if (kept && on_violation && std::ranges::all_of(allowed, [](const auto& list) { return list.has_value(); })) {
      policies[run.agent_id] = std::make_shared<const agents::Policy>(
          agents::Policy{agents::Patterns(*allowed[0]), agents::Patterns(*allowed[1]), agents::Patterns(*allowed[2]),
                         agents::Patterns(*allowed[3]), *on_violation, *kept});
    }
    out.emplace(id, std::move(run));
  }
  for (auto& [id, run] : out) run.policy = policies.at(run.agent_id);
  co_return out;
}

Async<std::unordered_map<Uuid, AgentRow>> find_agents(pg::Transaction& transaction, const std::set<Uuid>& ids) {
  pg::Params params;
  uuids(ids).move_into(params);
  const auto rows = co_await transaction.execute(find_agents_query, std::move(params));
  std::unordered_map<Uuid, AgentRow> out;
  for (int i = 0; i < rows.size(); ++i) {
    Uuid id;
    AgentRow agent;
    rows[i].read(id, agent.team_id, agent.status, agent.environment);
    out.emplace(id, std::move(agent));
  }
  co_return out;
}

Async<> insert_placeholders(pg::Transaction& transaction, const std::vector<Placeholder>& placeholders) {
  pg::ArrayBuilder bucket(Type::date);
  pg::ArrayBuilder id(Type::uuid);
  pg::ArrayBuilder team_id(Type::uuid);
  pg::ArrayBuilder agent_id(Type::uuid);
  pg::ArrayBuilder environment(Type::text);
  pg::ArrayBuilder started_at(Type::timestamptz);
  for (const auto& run : placeholders) {
    bucket.add(bucket_of(run.run_id));
    id.add(run.run_id);
    team_id.add(run.agent.team_id);
    agent_id.add(run.agent_id);
    environment.add(std::string_view(run.agent.environment));
    started_at.add(run.started_at);
  }
  pg::Params params;
  for (auto* column : {&bucket, &id, &team_id, &agent_id, &environment, &started_at})
    std::move(*column).move_into(params);
  co_await transaction.execute(insert_placeholders_query, std::move(params));
}

Async<> begin_runs(pg::Transaction& transaction, const std::map<Uuid, Timestamp>& first_events) {
  pg::ArrayBuilder buckets(Type::date);
  pg::ArrayBuilder ids(Type::uuid);
  pg::ArrayBuilder times(Type::timestamptz);
  for (const auto& [id, first_at] : first_events) {
    buckets.add(bucket_of(id));
    ids.add(id);
    times.add(first_at);
  }
  pg::Params params;
  for (auto* column : {&buckets, &ids, &times}) std::move(*column).move_into(params);
  co_await transaction.execute(begin_runs_query, std::move(params));
}

Async<std::set<Key>> insert(pg::Transaction& transaction, EventType type, const std::vector<const Row*>& rows) {
  pg::Rows inserted;
  switch (type) {
    case EventType::llm_call: {
      auto params = params_of<LlmCallColumns>(rows);
      inserted = co_await transaction.execute(insert_llm_calls_query, std::move(params));
      break;
    }
    case EventType::tool_invocation: {
      auto params = params_of<ToolInvocationColumns>(rows);
      inserted = co_await transaction.execute(insert_tool_invocations_query, std::move(params));
      break;
    }
    case EventType::step: {
      auto params = params_of<StepColumns>(rows);
      inserted = co_await transaction.execute(insert_steps_query, std::move(params));
      break;
    }
  }
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
  const auto& query = type == EventType::llm_call          ? stored_llm_calls_query
                      : type == EventType::tool_invocation ? stored_tool_invocations_query
                                                           : stored_steps_query;
  const auto found = co_await transaction.execute(query, std::move(params));
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
