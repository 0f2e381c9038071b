// Agents: the registered AI applications of teams.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agents/policy.hpp"
#include "audit/audit.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "cache/cache.hpp"
#include "json/bind.hpp"
#include "pg/cluster.hpp"
#include "runtime/call.hpp"

namespace cognive::http {
class Router;
}

namespace cognive::agents {

enum class AgentStatus { active, suspended, archived };

constexpr auto enum_names(AgentStatus) {
  return std::array{json::name(AgentStatus::active, "active"), json::name(AgentStatus::suspended, "suspended"),
                    json::name(AgentStatus::archived, "archived")};
}

struct Agent {
  Uuid id;
  Uuid team_id;
  std::string name;
  std::optional<std::string> description;
  std::string framework;
  std::string environment;
  std::optional<std::string> version;
  AgentStatus status = AgentStatus::active;
  std::vector<std::string> allowed_providers;
  std::vector<std::string> allowed_models;
  std::vector<std::string> allowed_tools;
  std::vector<std::string> allowed_data_sources;
  OnViolation on_violation = OnViolation::record;
  Store store = Store::none;
  std::optional<std::int64_t> silence_timeout_s;
  json::Object labels;
  json::Object metadata;
  Timestamp created_at;
  Timestamp updated_at;
  std::optional<Timestamp> archived_at;

  static constexpr std::string_view schema_name = "Agent";
  static constexpr auto fields() {
    return json::fields(
        json::field("id", &Agent::id, ""), json::field("team_id", &Agent::team_id, "The owner."),
        json::field("name", &Agent::name, "Unique in its team."), json::field("description", &Agent::description, ""),
        json::field("framework", &Agent::framework, "langchain, langgraph, crewai, autogen, custom, …"),
        json::field("environment", &Agent::environment, ""), json::field("version", &Agent::version, ""),
        json::field("status", &Agent::status, "Suspended and archived agents cannot start runs."),
        json::field("allowed_providers", &Agent::allowed_providers, "Patterns; empty allows all."),
        json::field("allowed_models", &Agent::allowed_models, "Patterns; empty allows all."),
        json::field("allowed_tools", &Agent::allowed_tools, "Patterns; empty allows all."),
        json::field("allowed_data_sources", &Agent::allowed_data_sources, "Patterns; empty allows all."),
        json::field("on_violation", &Agent::on_violation, "What follows when an event tells of something forbidden."),
        json::field("store", &Agent::store, "What is kept of inputs, outputs, arguments and results."),
        json::field("silence_timeout_s", &Agent::silence_timeout_s,
                    "Seconds without a sign of life after which a run is terminated; null: as the installation says."),
        json::field("labels", &Agent::labels, "Text by name."), json::field("metadata", &Agent::metadata, ""),
        json::field("created_at", &Agent::created_at, ""), json::field("updated_at", &Agent::updated_at, ""),
        json::field("archived_at", &Agent::archived_at, ""));
  }
};

inline constexpr json::Rules pattern_rules{.max_length = 256, .optional = true};
inline constexpr std::size_t pattern_length_max = 256;
inline constexpr std::int64_t silence_timeout_s_max = 30LL * 86'400;

inline void check_patterns(std::string_view name, const std::optional<std::vector<std::string>>& patterns,
                           json::Faults& faults) {
  if (!patterns) return;
  const json::Faults::Scope scope(faults, name);
  for (std::size_t i = 0; i < patterns->size(); ++i) {
    const auto& pattern = (*patterns)[i];
    const auto index = std::to_string(i);
    if ((is_pattern(pattern) && pattern.size() <= pattern_length_max) || faults.has_at(index)) continue;
    faults.add_at(
        index,
        fmt::format("A pattern has 1 to {} bytes, and more than blanks and the `!` that forbids.", pattern_length_max),
        json::quoted(shortened(pattern, 64)));
  }
}
inline constexpr std::size_t metadata_bytes_max = 16 << 10;

// The attributes that a caller may set. Absent ones keep their value, or take their default on a new agent; null is the
// same as absent where it is no value.
struct AgentChange {
  std::optional<std::string> description;
  std::optional<std::string> framework;
  std::optional<std::string> environment;
  std::optional<std::string> version;
  std::optional<AgentStatus> status;
  std::optional<std::vector<std::string>> allowed_providers;
  std::optional<std::vector<std::string>> allowed_models;
  std::optional<std::vector<std::string>> allowed_tools;
  std::optional<std::vector<std::string>> allowed_data_sources;
  std::optional<OnViolation> on_violation;
  std::optional<Store> store;
  json::Change<std::int64_t> silence_timeout_s;
  std::optional<std::map<std::string, std::string>> labels;
  std::optional<json::Object> metadata;

  void check(json::Faults& faults) const {
    if (status == AgentStatus::archived && !faults.has_at("status")) {
      faults.add_at("status", "Archiving has its own operation: POST /api/v1/agents/{id}/archive.", "\"archived\"");
    }
    check_patterns("allowed_providers", allowed_providers, faults);
    check_patterns("allowed_models", allowed_models, faults);
    check_patterns("allowed_tools", allowed_tools, faults);
    check_patterns("allowed_data_sources", allowed_data_sources, faults);
  }

  // For the two bodies below, which differ in what stands before these fields.
  template <typename Body>
  static constexpr auto fields_of() {
    return json::fields(
        json::field("description", &Body::description, "", {.max_length = 4096}),
        json::field("framework", &Body::framework, "langchain, langgraph, crewai, autogen, custom, …",
                    {.min_length = 1, .max_length = 64, .example = "\"langgraph\""}),
        json::field("environment", &Body::environment, "For instance production.", {.min_length = 1, .max_length = 64}),
        json::field("version", &Body::version, "", {.max_length = 128}),
        json::field("status", &Body::status, "active or suspended; archiving has its own operation."),
        json::field("allowed_providers", &Body::allowed_providers,
                    "Patterns: `*` any text, `?` one character, a leading `!` forbids; empty allows all.",
                    pattern_rules),
        json::field("allowed_models", &Body::allowed_models,
                    "Patterns over the model's name or provider/name; empty allows all.", pattern_rules),
        json::field("allowed_tools", &Body::allowed_tools, "Patterns; empty allows all.", pattern_rules),
        json::field("allowed_data_sources", &Body::allowed_data_sources, "Patterns; empty allows all.", pattern_rules),
        json::field("on_violation", &Body::on_violation,
                    "What follows when an event tells of something forbidden: record (and flag) it, or terminate the "
                    "run as well."),
        json::field("store", &Body::store,
                    "What is kept of inputs, outputs, arguments and results: none, metadata (sizes), hashed, redacted, "
                    "full."),
        json::field("silence_timeout_s", &Body::silence_timeout_s,
                    "Seconds without a sign of life after which a run is terminated; 0: never; null: as the "
                    "installation says.",
                    {.min = 0, .max = silence_timeout_s_max, .optional = true}),
        json::field("labels", &Body::labels, "Text by name, at most 64.", {.max_length = 64}),
        json::field("metadata", &Body::metadata, "A JSON object of at most 16 KiB.",
                    {.max_length = metadata_bytes_max}));
  }

  static constexpr std::string_view schema_name = "AgentChange";
  static constexpr auto fields() { return fields_of<AgentChange>(); }
};

struct AgentPut : AgentChange {
  std::string name;
  std::optional<std::string> team;

  static constexpr std::string_view schema_name = "AgentPut";
  static constexpr auto fields() {
    return std::tuple_cat(
        json::fields(json::field("name", &AgentPut::name, "Unique in its team.",
                                 {.min_length = 1, .max_length = 128, .example = "\"flight-planner\""}),
                     json::field("team", &AgentPut::team, "Name of the owning team; the caller's own, or `default`.",
                                 {.min_length = 1, .max_length = 128})),
        fields_of<AgentPut>());
  }
};

struct AgentList {
  std::optional<std::string> team;
  std::optional<AgentStatus> status;
  std::optional<std::string> name;
  std::int64_t limit = 50;
  std::optional<json::PagePosition> cursor;

  static constexpr auto fields() {
    return json::fields(json::field("team", &AgentList::team, "Only agents of the team with this name."),
                        json::field("status", &AgentList::status, "Only agents with this status."),
                        json::field("name", &AgentList::name, "Only agents with exactly this name."),
                        json::field("limit", &AgentList::limit, "Items per page.", json::page_limit_rules),
                        json::field("cursor", &AgentList::cursor, "next_cursor of the page before."));
  }
};

// What an agent wants to use; whatever is named is checked.
struct PolicyQuestion {
  std::optional<std::string> provider;
  std::optional<std::string> model;
  std::optional<std::string> tool;
  std::optional<std::string> data_source;

  void check(json::Faults& faults) const {
    if (faults.count() == 0 && !model && !tool && !data_source && !provider)
      faults.add("It must name a model, a provider, a tool or a data source.");
  }

  static constexpr std::string_view schema_name = "PolicyQuestion";
  static constexpr auto fields() {
    return json::fields(
        json::field("provider", &PolicyQuestion::provider, "Whose model it is.",
                    {.min_length = 1, .max_length = 128, .example = "\"openai\""}),
        json::field("model", &PolicyQuestion::model, "As the provider names it.",
                    {.min_length = 1, .max_length = 256, .example = "\"gpt-4o\""}),
        json::field("tool", &PolicyQuestion::tool, "Name of the tool.", {.min_length = 1, .max_length = 256}),
        json::field("data_source", &PolicyQuestion::data_source, "Name of the data source.",
                    {.min_length = 1, .max_length = 256}));
  }
};

struct PolicyReason {
  std::string subject;
  std::string detail;

  static constexpr std::string_view schema_name = "PolicyReason";
  static constexpr auto fields() {
    return json::fields(json::field("subject", &PolicyReason::subject, "agent, provider, model, tool or data_source."),
                        json::field("detail", &PolicyReason::detail, "A sentence for people."));
  }
};

struct PolicyAnswer {
  bool allowed = true;
  std::vector<PolicyReason> reasons;

  static constexpr std::string_view schema_name = "PolicyAnswer";
  static constexpr auto fields() {
    return json::fields(json::field("allowed", &PolicyAnswer::allowed, "Whether all of it is allowed."),
                        json::field("reasons", &PolicyAnswer::reasons, "Why not; empty when it is."));
  }
};

struct PutAnswer {
  Agent agent;
  bool created = false;
};

Policy policy_of(const Agent& agent);

class Agents {
 public:
  // `names_of`: what a call of a team is known by, which is what its event would be known by. Either name may be empty:
  // not said.
  using NamesOf = std::function<CallNames(const Uuid& team_id, std::string_view provider, std::string_view model)>;
  // Told of every agent that has been changed, once that is committed.
  using Changed = std::function<void(const Uuid& agent_id)>;
  Agents(pg::Cluster& database, audit::Trail trail, cache::Cache& cache, NamesOf names_of, Changed changed)
      : database_(database),
        trail_(trail),
        cache_(cache),
        names_of_(std::move(names_of)),
        changed_(std::move(changed)) {}

  // Code::conflict when the team has an agent of this name.
  Async<Result<Agent>> create(const Call& call, AgentPut request);
  // Creates, or changes the agent of this name in its team. An archived agent is Code::conflict.
  Async<Result<PutAnswer>> put(const Call& call, AgentPut request);
  Async<Result<Agent>> update(const Call& call, Uuid id, AgentChange change);
  // Archiving twice is no error; there is no way back.
  Async<Result<Agent>> archive(const Call& call, Uuid id);
  // From the cache if it is there, unless the call must see what has just been written.
  Async<Result<Agent>> get(const Call& call, Uuid id);
  Async<Result<json::Page<Agent>>> list(const Call& call, AgentList query);
  // Decided on the primary. Nothing is recorded.
  Async<Result<PolicyAnswer>> check(const Call& call, Uuid id, PolicyQuestion question);

 private:
  Async<Result<PutAnswer>> write(const Call& call, AgentPut request, bool may_exist);
  Async<Result<PutAnswer>> write_in(pg::Transaction& transaction, const Call& call, const AgentPut& request,
                                    bool may_exist) const;
  // Tells everybody who remembers the agent whose id the change has written to `changed`.
  template <typename T>
  Async<Result<T>> telling(const std::optional<Uuid>& changed, Async<Result<T>> changing);

  pg::Cluster& database_;
  audit::Trail trail_;
  cache::Cache& cache_;
  NamesOf names_of_;
  Changed changed_;
};

void add_routes(http::Router& router, Agents& agents);

}  // namespace cognive::agents
