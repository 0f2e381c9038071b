#include "json/bind.hpp"
#include "pg/transact.hpp"
#include "runs/runs.hpp"
#include "runs/store.hpp"

namespace cognive::runs {
namespace {

Error not_found() {
  return {Code::not_found, "There is no such run.", {}};
}

bool is_terminal(RunStatus status) {
  return status != RunStatus::queued && status != RunStatus::running;
}

RunStatus status_of(EndStatus status) {
  switch (status) {
    case EndStatus::succeeded:
      return RunStatus::succeeded;
    case EndStatus::failed:
      return RunStatus::failed;
    case EndStatus::cancelled:
      return RunStatus::cancelled;
  }
  return RunStatus::failed;
}

// Per-agent series are bounded, so that thousands of agents do not kill a Prometheus.
BoundedLabel& agent_label() {
  static BoundedLabel label(100);
  return label;
}

}  // namespace

Runs::Runs(pg::Cluster& database, Metrics& metrics) : database_(database), metrics_(metrics) {}

void Runs::count_ended(const Run& run) {
  const auto agent = agent_label()(run.agent_id.text());
  metrics_
      .counter("agent_runs_total", "Runs ended",
               {{"agent_id", agent}, {"status", std::string(json::enum_text(run.status))}})
      .add();
  if (run.ended_at) {
    const auto seconds = static_cast<double>(run.ended_at->micros - run.started_at.micros) / 1e6;
    metrics_
        .histogram("agent_run_duration_seconds", "Duration of ended runs", {{"agent_id", agent}}, duration_buckets())
        .observe(seconds);
  }
}

Async<> Runs::refresh_metrics(Deadline deadline) {
  std::map<std::string, double> active;
  for (const auto& [agent_id, count] : co_await store::active_by_agent(database_.read_preferred({}), deadline)) {
    active[agent_label()(agent_id.text())] += static_cast<double>(count);
  }
  for (const auto& label : counted_) active.try_emplace(label, 0);
  for (const auto& [label, count] : active) {
    metrics_.gauge("active_agent_runs", "Runs that have not ended", {{"agent_id", label}}).set(count);
    counted_.insert(label);
  }
}

Async<Result<StartAnswer>> Runs::start(const Call& call, RunStart request) {
  const auto agent = co_await store::agent_find(database_.primary(), request.agent_id, call.principal, call.deadline);
  if (!agent) co_return fail(Code::not_found, "There is no such agent.");
  if (agent->status != "active")
    co_return fail(Code::forbidden, "The agent is " + agent->status + " and cannot start runs.");
  Run run;
  run.run_id = request.run_id.value_or(Uuid::make());
  run.agent_id = request.agent_id;
  run.team_id = agent->team_id;
  run.environment = agent->environment;
  run.parent_run_id = request.parent_run_id;
  run.session_id = std::move(request.session_id);
  run.labels.text = json::encode(request.labels);
  run.metadata = std::move(request.metadata);
  run.started_at = request.started_at.value_or(Timestamp::now());
  auto started = co_await store::start(database_.primary(), run, call);
  if (started.run.agent_id != request.agent_id) {
    co_return fail(Code::conflict, "There is a run with this id already, and it belongs to another agent.");
  }
  co_return StartAnswer{std::move(started.run), started.created};
}

Async<Result<Run>> Runs::end(const Call& call, Uuid id, RunEnd request) {
  bool ended_now = false;
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<Run>> {
    ended_now = false;
    auto run = co_await store::lock(transaction, id, call.principal);
    if (!run) co_return fail(not_found());
    const auto wanted = status_of(request.status);
    if (is_terminal(run->status)) {
      if (run->status == wanted) co_return std::move(*run);
      co_return fail(Code::conflict, fmt::format("The run has ended as {} and cannot become {}.",
                                                 json::enum_text(run->status), json::enum_text(wanted)));
    }
    if (request.ended_at && *request.ended_at < run->started_at) {
      co_return unprocessable("/ended_at", "It must not be before the run's start, " + run->started_at.text() + ".",
                              json::quoted(request.ended_at->text()));
    }
    ended_now = true;
    co_return co_await store::end(transaction, id, request);
  };
  auto run = co_await pg::transact(database_, "run_end", call, body);
  if (run && ended_now) count_ended(*run);
  co_return run;
}

Async<Result<RunDetail>> Runs::get(const Call& call, Uuid id) {
  auto run = co_await store::get(database_.read_preferred(call), id, call.principal, call.deadline);
  if (!run) co_return fail(not_found());
  co_return std::move(*run);
}

Async<Result<json::Page<Run>>> Runs::list(const Call& call, RunList query) {
  auto rows = co_await store::list(database_.read_preferred(call), query, call.principal, call.deadline);
  co_return json::page_of(std::move(rows), query.limit,
                          [](const Run& run) { return json::PagePosition{run.created_at, run.run_id}; });
}

}  // namespace cognive::runs
