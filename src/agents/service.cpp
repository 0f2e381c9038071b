#include "agents/agents.hpp"
#include "agents/store.hpp"
#include "audit/audit.hpp"
#include "json/bind.hpp"
#include "json/entity_tag.hpp"
#include "pg/transact.hpp"
#include "teams/teams.hpp"

namespace cognive::agents {
namespace {

constexpr std::string_view default_framework = "custom";
// How long a read waits for the primary before a replica is asked.
constexpr std::chrono::milliseconds primary_patience{1'000};

constexpr std::string_view default_environment = "development";

Error not_found() {
  return {Code::not_found, "There is no such agent.", {}};
}

Error archived() {
  return {Code::conflict, "The agent is archived and cannot be changed any more; create one under another name.", {}};
}

// Applies what the caller set; the names of the attributes that became different.
std::vector<std::string_view> apply(Agent& agent, const AgentChange& change) {
  std::vector<std::string_view> changed;
  const auto set = [&](std::string_view name, auto& target, const auto& source) {
    if (!source || target == *source) return;
    target = *source;
    changed.push_back(name);
  };
  set("description", agent.description, change.description);
  set("framework", agent.framework, change.framework);
  set("environment", agent.environment, change.environment);
  set("version", agent.version, change.version);
  set("status", agent.status, change.status);
  set("allowed_providers", agent.allowed_providers, change.allowed_providers);
  set("allowed_models", agent.allowed_models, change.allowed_models);
  set("allowed_tools", agent.allowed_tools, change.allowed_tools);
  set("allowed_data_sources", agent.allowed_data_sources, change.allowed_data_sources);
  set("on_violation", agent.on_violation, change.on_violation);
  set("store", agent.store, change.store);
  std::optional<std::optional<std::int64_t>> silence_timeout_s;
  if (change.silence_timeout_s.is_said) silence_timeout_s.emplace(change.silence_timeout_s.value);
  set("silence_timeout_s", agent.silence_timeout_s, silence_timeout_s);
  std::optional<json::Object> labels;
  if (change.labels) labels = json::Object{json::encode(*change.labels)};
  set("labels", agent.labels, labels);
  set("metadata", agent.metadata, change.metadata);
  return changed;
}

audit::Entry entry(std::string_view action, const Agent& agent, const std::vector<std::string_view>& changed) {
  json::Writer details;
  details.begin_object();
  details.field("name", agent.name);
  if (!changed.empty()) {
    details.key("changed");
    details.begin_array();
    for (const auto name : changed) details.string(name);
    details.end_array();
  }
  details.end_object();
  return {.action = action,
          .resource_kind = "agent",
          .resource_id = agent.id.text(),
          .team_id = agent.team_id,
          .details = std::move(details).text()};
}

}  // namespace

Async<Result<PutAnswer>> Agents::write_in(pg::Transaction& transaction, const Call& call, const AgentPut& request,
                                          bool may_exist) const {
  std::optional<Uuid> team_id = call.principal.team_id;
  if (request.team || !team_id) {
    const auto name = request.team.value_or(std::string(teams::default_team));
    team_id = co_await store::team_find(transaction, name, call.principal);
    if (!team_id) co_return unprocessable("/team", "There is no such team.", json::quoted(name));
  }

  auto existing = co_await store::lock_by_name(transaction, *team_id, request.name, call.principal);
  if (!existing) {
    if (call.principal.agent_id)
      co_return fail(Code::forbidden, "This key belongs to one agent and cannot create others.");
    Agent agent{.id = Uuid::make(), .team_id = *team_id, .name = request.name};
    agent.framework = default_framework;
    agent.environment = default_environment;
    agent.created_at = agent.updated_at = Timestamp::now();
    apply(agent, request);
    const bool inserted = co_await store::insert(transaction, agent);
    if (inserted) {
      auto created = entry("agent_create", agent, {});
      trail_.record(transaction, call, std::move(created));
      co_return PutAnswer{std::move(agent), true};
    }
    // Somebody else has just created it.
    existing = co_await store::lock_by_name(transaction, *team_id, request.name, call.principal);
    if (!existing) throw Unavailable("an agent appeared and vanished");
  }
  if (!may_exist) {
    co_return fail(Code::conflict, "The team has an agent with this name already; PUT changes it.");
  }
  auto& agent = *existing;
  if (agent.status == AgentStatus::archived) co_return fail(archived());
  const auto changed = apply(agent, request);
  if (!changed.empty()) {
    agent.updated_at = co_await store::update(transaction, agent);
    auto updated = entry("agent_update", agent, changed);
    trail_.record(transaction, call, std::move(updated));
  }
  co_return PutAnswer{std::move(agent), false};
}

template <typename T>
Async<Result<T>> Agents::telling(const std::optional<Uuid>& changed, Async<Result<T>> changing) {
  auto answer = co_await cache::forgetting(cache_, cache::Kind::agent, changed, std::move(changing));
  if (answer && changed) changed_(*changed);
  co_return answer;
}

Async<Result<PutAnswer>> Agents::write(const Call& call, AgentPut request, bool may_exist) {
  std::optional<Uuid> changed;
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<PutAnswer>> {
    auto answer = co_await write_in(transaction, call, request, may_exist);
    if (answer && !answer->created) changed = answer->agent.id;
    co_return answer;
  };
  auto changing = pg::transact(database_, "agent_write", call, body);
  co_return co_await telling(changed, std::move(changing));
}

Async<Result<Agent>> Agents::create(const Call& call, AgentPut request) {
  auto answer = co_await write(call, std::move(request), false);
  if (!answer) co_return std::unexpected(answer.error());
  co_return std::move(answer->agent);
}

Async<Result<PutAnswer>> Agents::put(const Call& call, AgentPut request) {
  co_return co_await write(call, std::move(request), true);
}

Async<Result<Agent>> Agents::update(const Call& call, Uuid id, AgentChange change) {
  std::optional<Uuid> changed;
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<Agent>> {
    auto agent = co_await store::lock(transaction, id, call.principal);
    if (!agent) co_return fail(not_found());
    changed = id;
    if (auto same = json::check_match(call.if_match, *agent); !same) co_return std::unexpected(std::move(same.error()));
    if (agent->status == AgentStatus::archived) co_return fail(archived());
    const auto attributes = apply(*agent, change);
    if (!attributes.empty()) {
      agent->updated_at = co_await store::update(transaction, *agent);
      auto updated = entry("agent_update", *agent, attributes);
      trail_.record(transaction, call, std::move(updated));
    }
    co_return std::move(*agent);
  };
  auto changing = pg::transact(database_, "agent_update", call, body);
  co_return co_await telling(changed, std::move(changing));
}

Async<Result<Agent>> Agents::archive(const Call& call, Uuid id) {
  std::optional<Uuid> changed;
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<Agent>> {
    auto agent = co_await store::lock(transaction, id, call.principal);
    if (!agent) co_return fail(not_found());
    changed = id;
    if (agent->status != AgentStatus::archived) {
      agent->status = AgentStatus::archived;
      agent->updated_at = co_await store::update(transaction, *agent);
      agent->archived_at = agent->updated_at;
      auto archived_entry = entry("agent_archive", *agent, {});
      trail_.record(transaction, call, std::move(archived_entry));
    }
    co_return std::move(*agent);
  };
  auto changing = pg::transact(database_, "agent_archive", call, body);
  co_return co_await telling(changed, std::move(changing));
}

Async<Result<Agent>> Agents::get(const Call& call, Uuid id) {
  std::optional<Agent> agent;
  bool is_answered = false;
  if (!call.not_before) {
    const Principal everybody;  // others may read what is found, too
    const auto deadline = Deadline::in(std::min(call.deadline.remaining(), primary_patience));
    const auto load = [&] {
      return cache_.is_shared() ? store::get_for_verdict(database_.primary(), id, everybody, deadline)
                                : store::get(database_.read_preferred(call), id, everybody, call.deadline);
    };
    try {
      agent = co_await cache_.get<Agent>(cache::Kind::agent, id, call, load);
      is_answered = true;
    } catch (const Unavailable&) {  // NOLINT(bugprone-empty-catch): a replica may still know it
    }
  }
  if (!is_answered) agent = co_await store::get(database_.read_preferred(call), id, call.principal, call.deadline);
  if (!agent || !call.principal.sees(agent->team_id, agent->id)) co_return fail(not_found());
  co_return std::move(*agent);
}

Async<Result<json::Page<Agent>>> Agents::list(const Call& call, AgentList query) {
  auto rows = co_await store::list(database_.read_preferred(call), query, call.principal, call.deadline);
  co_return json::page_of(std::move(rows), query.limit,
                          [](const Agent& agent) { return json::PagePosition{agent.created_at, agent.id}; });
}

Policy policy_of(const Agent& agent) {
  return {.providers = Patterns(agent.allowed_providers),
          .models = Patterns(agent.allowed_models),
          .tools = Patterns(agent.allowed_tools),
          .data_sources = Patterns(agent.allowed_data_sources),
          .on_violation = agent.on_violation,
          .store = agent.store};
}

Async<Result<PolicyAnswer>> Agents::check(const Call& call, Uuid id, PolicyQuestion question) {
  const auto agent = co_await store::get_for_verdict(database_.primary(), id, call.principal, call.deadline);
  if (!agent) co_return fail(not_found());
  PolicyAnswer answer;
  const auto refuse = [&answer](std::string_view subject, std::string detail) {
    answer.allowed = false;
    answer.reasons.push_back({std::string(subject), std::move(detail)});
  };
  if (agent->status != AgentStatus::active)
    refuse("agent", fmt::format("The agent is {}.", json::enum_text(agent->status)));
  const auto policy = policy_of(*agent);
  const bool names_call = question.model || question.provider;
  std::optional<Violation> violations[] = {
      names_call
          ? check_call(policy, names_of_(agent->team_id, question.provider.value_or(""), question.model.value_or("")))
          : std::nullopt,
      question.tool ? check_tool(policy, *question.tool) : std::nullopt,
      question.data_source ? check_data_source(policy, *question.data_source) : std::nullopt};
  for (auto& violation : violations) {
    if (violation) refuse(violation->subject, std::move(violation->detail));
  }
  co_return answer;
}

}  // namespace cognive::agents
