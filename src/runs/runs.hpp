// Runs: one execution of an agent each. States only move forward: queued → running → one of the terminal ones.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "audit/audit.hpp"
#include "base/error.hpp"
#include "json/bind.hpp"
#include "observe/metrics.hpp"
#include "pg/cluster.hpp"
#include "runs/known_runs.hpp"
#include "runtime/call.hpp"

namespace cognive::http {
class Router;
}

namespace cognive::runs {

enum class RunStatus { queued, running, succeeded, failed, cancelled, terminated };

constexpr auto enum_names(RunStatus) {
  return std::array{json::name(RunStatus::queued, "queued"),       json::name(RunStatus::running, "running"),
                    json::name(RunStatus::succeeded, "succeeded"), json::name(RunStatus::failed, "failed"),
                    json::name(RunStatus::cancelled, "cancelled"), json::name(RunStatus::terminated, "terminated")};
}

// Whose doing `terminated` is.
enum class TerminatedBy { operator_, policy, silence, budget };

constexpr auto enum_names(TerminatedBy) {
  return std::array{json::name(TerminatedBy::operator_, "operator"), json::name(TerminatedBy::policy, "policy"),
                    json::name(TerminatedBy::silence, "silence"), json::name(TerminatedBy::budget, "budget")};
}

// A run may be announced before it begins.
enum class StartStatus { queued, running };

constexpr auto enum_names(StartStatus) {
  return std::array{json::name(StartStatus::queued, "queued"), json::name(StartStatus::running, "running")};
}

// What the control plane wants of whoever runs.
enum class Order { continue_, terminate };

constexpr auto enum_names(Order) {
  return std::array{json::name(Order::continue_, "continue"), json::name(Order::terminate, "terminate")};
}

// How a caller may end a run; `terminated` is the control plane's own.
enum class EndStatus { succeeded, failed, cancelled };

constexpr auto enum_names(EndStatus) {
  return std::array{json::name(EndStatus::succeeded, "succeeded"), json::name(EndStatus::failed, "failed"),
                    json::name(EndStatus::cancelled, "cancelled")};
}

struct Run {
  Uuid run_id;
  Uuid agent_id;
  Uuid team_id;
  RunStatus status = RunStatus::running;
  std::string environment;
  std::optional<Uuid> parent_run_id;
  std::optional<std::string> session_id;
  json::Object labels;
  json::Object metadata;
  std::optional<std::string> error;
  Timestamp started_at;
  std::optional<Timestamp> ended_at;
  Timestamp created_at;
  std::optional<Timestamp> last_seen_at;
  std::optional<TerminatedBy> terminated_by;

  static constexpr std::string_view schema_name = "Run";
  // For Run and for what adds to it.
  template <typename T>
  static constexpr auto fields_of() {
    return json::fields(
        json::field("run_id", &T::run_id, ""), json::field("agent_id", &T::agent_id, ""),
        json::field("team_id", &T::team_id, ""), json::field("status", &T::status, ""),
        json::field("environment", &T::environment, "Of the agent when the run began."),
        json::field("parent_run_id", &T::parent_run_id, ""), json::field("session_id", &T::session_id, "Conversation."),
        json::field("labels", &T::labels, "Text by name."), json::field("metadata", &T::metadata, ""),
        json::field("error", &T::error, "Why it failed."), json::field("started_at", &T::started_at, ""),
        json::field("ended_at", &T::ended_at, "Null while it runs."),
        json::field("created_at", &T::created_at, "When we learnt of it."),
        json::field("last_seen_at", &T::last_seen_at, "The last heartbeat that was noted."),
        json::field("terminated_by", &T::terminated_by, "Whose doing it was; `error` says why."));
  }
  static constexpr auto fields() { return fields_of<Run>(); }
};

// As lists show it.
struct ListedRun : Run {
  NanoUsd cost_usd;

  static constexpr std::string_view schema_name = "ListedRun";
  static constexpr auto fields() {
    return std::tuple_cat(fields_of<ListedRun>(),
                          json::fields(json::field("cost_usd", &ListedRun::cost_usd,
                                                   "Exact sum over its priced calls, as they are charged now.")));
  }
};

struct RunTotals {
  std::int64_t steps = 0;
  std::int64_t tool_invocations = 0;
  std::int64_t llm_calls = 0;
  std::int64_t unpriced_calls = 0;
  std::optional<std::int64_t> input_tokens;
  std::optional<std::int64_t> output_tokens;
  NanoUsd cost_usd;
  std::int64_t violations = 0;

  static constexpr std::string_view schema_name = "RunTotals";
  static constexpr auto fields() {
    return json::fields(
        json::field("steps", &RunTotals::steps, ""), json::field("tool_invocations", &RunTotals::tool_invocations, ""),
        json::field("llm_calls", &RunTotals::llm_calls, ""),
        json::field("unpriced_calls", &RunTotals::unpriced_calls, "LLM calls without a cost."),
        json::field("input_tokens", &RunTotals::input_tokens, "Of the calls whose usage is known; null: of none."),
        json::field("output_tokens", &RunTotals::output_tokens, ""),
        json::field("cost_usd", &RunTotals::cost_usd, "Exact sum over the priced calls, as they are charged now."),
        json::field("violations", &RunTotals::violations,
                    "LLM calls and tool invocations that the agent's policy forbids."));
  }
};

struct RunDetail : Run {
  RunTotals totals;

  static constexpr std::string_view schema_name = "RunDetail";
  static constexpr auto fields() {
    return std::tuple_cat(fields_of<RunDetail>(), json::fields(json::field("totals", &RunDetail::totals,
                                                                           "Over the events that have arrived.")));
  }
};

inline void check_time(const std::optional<Timestamp>& time, std::string_view name, json::Faults& faults) {
  if (!time || time->is_plausible(Timestamp::now()) || faults.has_at(name)) return;
  faults.add_at(name, "It must lie between 1970 and tomorrow.", json::quoted(time->text()));
}

struct RunStart {
  Uuid agent_id;
  StartStatus status = StartStatus::running;
  std::optional<Uuid> run_id;
  std::optional<Uuid> parent_run_id;
  std::optional<std::string> session_id;
  std::map<std::string, std::string> labels;
  json::Object metadata;
  std::optional<Timestamp> started_at;

  void check(json::Faults& faults) const {
    check_time(started_at, "started_at", faults);
    if (run_id && parent_run_id == run_id && !faults.has_at("parent_run_id"))
      faults.add_at("parent_run_id", "A run cannot be its own parent.", json::quoted(run_id->text()));
  }

  static constexpr std::string_view schema_name = "RunStart";
  static constexpr auto fields() {
    return json::fields(
        json::field("agent_id", &RunStart::agent_id, "Who runs."),
        json::field("status", &RunStart::status,
                    "queued announces a run; a second start as running, a heartbeat or an event begins it.",
                    {.optional = true}),
        json::field("run_id", &RunStart::run_id,
                    "The caller's own id, so that the start can be repeated; made by us when absent."),
        json::field("parent_run_id", &RunStart::parent_run_id, "The run that started this one."),
        json::field("session_id", &RunStart::session_id, "Conversation.", {.max_length = 256}),
        json::field("labels", &RunStart::labels, "Text by name, at most 64.", {.max_length = 64, .optional = true}),
        json::field("metadata", &RunStart::metadata, "A JSON object of at most 16 KiB.",
                    {.max_length = 16 << 10, .optional = true}),
        json::field("started_at", &RunStart::started_at, "Now when absent."));
  }
};

struct RunEnd {
  EndStatus status = EndStatus::succeeded;
  std::optional<std::string> error;
  std::optional<Timestamp> ended_at;

  void check(json::Faults& faults) const { check_time(ended_at, "ended_at", faults); }

  static constexpr std::string_view schema_name = "RunEnd";
  static constexpr auto fields() {
    return json::fields(json::field("status", &RunEnd::status, "How it ended."),
                        json::field("error", &RunEnd::error, "Why it failed.", {.max_length = 4096}),
                        json::field("ended_at", &RunEnd::ended_at, "Now when absent."));
  }
};

struct RunTerminate {
  std::string reason;

  static constexpr std::string_view schema_name = "RunTerminate";
  static constexpr auto fields() {
    return json::fields(json::field("reason", &RunTerminate::reason, "For whoever looks at the run later.",
                                    {.min_length = 1, .max_length = 1024, .example = "\"it burns money\""}));
  }
};

struct HeartbeatAnswer {
  Order order = Order::continue_;
  RunStatus status = RunStatus::running;
  std::optional<std::string> reason;

  static constexpr std::string_view schema_name = "HeartbeatAnswer";
  static constexpr auto fields() {
    return json::fields(json::field("order", &HeartbeatAnswer::order,
                                    "terminate: the run has ended here, or may not begin; stop it there too."),
                        json::field("status", &HeartbeatAnswer::status, ""),
                        json::field("reason", &HeartbeatAnswer::reason, "Why it was terminated, or may not begin."));
  }
};

struct RunList {
  std::optional<std::string> team;
  std::optional<Uuid> agent_id;
  std::optional<RunStatus> status;
  std::optional<Uuid> parent_run_id;
  std::optional<std::string> session_id;
  std::optional<std::string> environment;
  std::optional<std::string> label;
  std::optional<std::string> error;
  std::optional<Decimal> min_cost_usd;
  std::optional<Decimal> max_cost_usd;
  std::optional<Timestamp> from;
  std::optional<Timestamp> to;
  std::int64_t limit = 50;
  std::optional<json::PagePosition> cursor;

  void check(json::Faults& faults) const {
    const auto check_cost = [&](const std::optional<Decimal>& cost, std::string_view name) {
      if (cost && !NanoUsd::exactly(*cost) && !faults.has_at(name))
        faults.add_at(name, "It must be dollars below 9.2 billion with at most nine digits after the point.",
                      cost->text());
    };
    check_cost(min_cost_usd, "min_cost_usd");
    check_cost(max_cost_usd, "max_cost_usd");
    if (label && label->find('=') == std::string::npos && !faults.has_at("label"))
      faults.add_at("label", "It must be name=value.", json::quoted(*label));
  }

  static constexpr auto fields() {
    return json::fields(
        json::field("team", &RunList::team, "Only runs of the team with this name."),
        json::field("agent_id", &RunList::agent_id, "Only runs of this agent."),
        json::field("status", &RunList::status, "Only runs in this state."),
        json::field("parent_run_id", &RunList::parent_run_id, "Only runs that this one started."),
        json::field("session_id", &RunList::session_id, "Only runs of this conversation."),
        json::field("environment", &RunList::environment, "Only runs of this environment."),
        json::field("label", &RunList::label, "Only runs with this label: name=value."),
        json::field("error", &RunList::error,
                    "Only runs whose error has these words; \"…\" a phrase, - without, or either.",
                    {.min_length = 1, .max_length = 256}),
        json::field("min_cost_usd", &RunList::min_cost_usd, "Only runs that cost this much at least, in dollars."),
        json::field("max_cost_usd", &RunList::max_cost_usd, "Only runs that cost this much at most, in dollars."),
        json::field("from", &RunList::from, "Only runs that started at or after this time."),
        json::field("to", &RunList::to, "Only runs that started before this time."),
        json::field("limit", &RunList::limit, "Items per page.", json::page_limit_rules),
        json::field("cursor", &RunList::cursor, "next_cursor of the page before."));
  }
};

struct StartAnswer {
  Run run;
  bool created = false;
};

struct SilenceOptions {
  std::chrono::seconds default_timeout{0};  // of agents that say nothing else; 0: never
  std::chrono::seconds grace_max{3'600};    // after an outage of ours, whatever the limit
};

class Runs {
 public:
  // `known`: what others of this process remember of runs; told when one changes.
  Runs(pg::Cluster& database, audit::Trail trail, Metrics& metrics, KnownRuns& known);

  // A repeat with the same run and agent returns the run. Code::conflict when the run belongs to another agent,
  // Code::forbidden when the agent is suspended or archived, Code::not_found when there is no such agent.
  Async<Result<StartAnswer>> start(const Call& call, RunStart request);
  // Repeating the same end is no error; another end is Code::conflict and changes nothing.
  Async<Result<Run>> end(const Call& call, Uuid id, RunEnd request);
  // Marks the run as alive (noted at most every few seconds) and says what is wanted of it.
  Async<Result<HeartbeatAnswer>> heartbeat(const Call& call, Uuid id);
  // The kill switch: the run and all runs below it. Effective at once; they hear of it with their next heartbeat or
  // event. A run that has been terminated already is no error; one that ended otherwise is Code::conflict.
  Async<Result<Run>> terminate(const Call& call, Uuid id, RunTerminate request);
  // Terminates running runs from which nothing has been heard for too long, although it could have been: not before
  // this process has been reachable, with a database, for the limit of their agent. For one thread per process, now and
  // then.
  Async<> end_silent(SilenceOptions options, Deadline deadline);
  // Terminates active runs that have used up a budget of theirs, and the runs below them; `reasons` by run.
  Async<> end_exhausted(const std::map<Uuid, std::string>& reasons, Deadline deadline);
  // Whether agents can reach us, as far as we know. For the same thread, every second.
  void note_reachable();
  Async<Result<RunDetail>> get(const Call& call, Uuid id);
  // Sums what ended runs cost, so that they can be searched by it. For one thread per process, now and then.
  Async<> sum_costs(Deadline deadline);
  Async<Result<json::Page<ListedRun>>> list(const Call& call, RunList query);

  // Sets the gauges that tell of the whole installation. For one thread per process, now and then.
  Async<> refresh_metrics(Deadline deadline);

 private:
  Async<Result<StartAnswer>> start_below(const Call& call, Run run);
  template <typename Terminations>
  void note_ended(const Terminations& ended);

  pg::Cluster& database_;
  audit::Trail trail_;
  Metrics& metrics_;
  KnownRuns& known_;
  std::set<std::string> counted_;  // agents whose gauge has been set and must return to zero
  std::chrono::steady_clock::time_point reachable_since_{};
  std::chrono::steady_clock::time_point looked_at_{};  // the last time when note_reachable was called
};

// For other words of the product: the run, if the caller may see it.
Async<std::optional<Run>> find_visible(pg::Reader database, Uuid id, const Call& call);

// By how much what runs are charged changes.
struct CostChanges {
  std::map<Uuid, std::int64_t> nanos;

  void add(const Uuid& run_id, std::int64_t amount) {
    auto& sum = nanos[run_id];
    if (__builtin_add_overflow(sum, amount, &sum)) sum = amount < 0 ? INT64_MIN : INT64_MAX;
  }
};
// Keeps the costs by which ended runs are found true; in the transaction that changes the charges.
Async<> apply(pg::Transaction& transaction, const CostChanges& changes);

// For events: ends runs whose policy says so, each because of what was found in an event that somebody sent, and the
// active runs below them. Writes the audit entries; whoever commits counts and logs what was ended.
struct Violator {
  std::string detail;
  const Call* call = nullptr;  // of whoever sent the event
};
Async<std::vector<Run>> terminate_violators(pg::Transaction& transaction, const audit::Trail& trail,
                                            const std::map<Uuid, Violator>& violators);

void count_ended(Metrics& metrics, const Run& run);

void add_routes(http::Router& router, Runs& runs);

}  // namespace cognive::runs
