#include "audit/audit.hpp"
#include "json/bind.hpp"
#include "observe/log.hpp"
#include "pg/transact.hpp"
#include "privacy/redactor.hpp"
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

store::Text text_of(std::string said) {
  auto masked = privacy::redact(said);
  return {.full = std::move(said), .masked = std::move(masked)};
}

audit::Entry termination_entry(const Run& run, const Uuid& asked_for) {
  json::Writer details;
  details.begin_object();
  details.field("reason", run.error.value_or(""));  // as the run keeps it
  if (run.terminated_by) details.field("by", json::enum_text(*run.terminated_by));
  if (run.run_id != asked_for) details.field("with_run", asked_for.text());
  details.end_object();
  return {.action = "run_terminate",
          .resource_kind = "run",
          .resource_id = run.run_id.text(),
          .team_id = run.team_id,
          .details = std::move(details).text()};
}

std::vector<audit::Entry> termination_entries(const std::vector<store::Terminated>& ended, const Uuid& asked_for) {
  std::vector<audit::Entry> entries;
  for (const auto& one : ended) entries.push_back(termination_entry(one.run, asked_for));
  return entries;
}

// Why a run may not start below another one.
struct Refusal {
  Uuid run_id;  // who is to blame
  std::string reason;
  TerminatedBy by = TerminatedBy::operator_;
  bool ends_what_is_below = true;
};

// A kill ends what is below, whatever has become of the runs between; silence ends the silent run only.
std::optional<Refusal> refusal_below(const std::vector<store::Above>& above, const Uuid& parent_id) {
  std::optional<Refusal> out;
  for (const auto& run : above) {
    if (run.status != RunStatus::terminated) continue;
    const bool is_parent = run.run_id == parent_id;
    const auto by = run.terminated_by.value_or(TerminatedBy::operator_);
    const bool ends_what_is_below = by != TerminatedBy::silence;
    if (!ends_what_is_below && (!is_parent || out)) continue;
    out = Refusal{run.run_id,
                  is_parent ? "The parent run has been terminated."
                            : "The run " + run.run_id.text() + " above has been terminated.",
                  by, ends_what_is_below};
    if (ends_what_is_below) break;
  }
  return out;
}

// Per-agent series are bounded, so that thousands of agents do not kill a Prometheus.
BoundedLabel& agent_label() {
  static BoundedLabel label(100);
  return label;
}

}  // namespace

void count_ended(Metrics& metrics, const Run& run) {
  const auto agent = agent_label()(run.agent_id.text());
  metrics
      .counter("agent_runs_total", "Runs ended",
               {{"agent_id", agent}, {"status", std::string(json::enum_text(run.status))}})
      .add();
  if (run.terminated_by) {
    metrics
        .counter("runs_terminated_total", "Runs that the control plane ended",
                 {{"by", std::string(json::enum_text(*run.terminated_by))}})
        .add();
  }
  if (run.ended_at) {
    const auto seconds = static_cast<double>(run.ended_at->micros - run.started_at.micros) / 1e6;
    metrics.histogram("agent_run_duration_seconds", "Duration of ended runs", {{"agent_id", agent}}, duration_buckets())
        .observe(seconds);
  }
}

Runs::Runs(pg::Cluster& database, audit::Trail trail, Metrics& metrics, KnownRuns& known)
    : database_(database), trail_(trail), metrics_(metrics), known_(known) {}

template <typename Terminations>
void Runs::note_ended(const Terminations& ended) {
  for (const auto& one : ended) {
    known_.forget(one.run.run_id);
    count_ended(metrics_, one.run);
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
  if (agent->status != "active") {
    // The repeat of a start that was answered, or should have been, starts nothing.
    const auto wanted = request.run_id ? request.run_id : call.made_id;
    if (wanted && request.status == StartStatus::running) {
      auto started = co_await store::find_started(database_.primary(), *wanted, request.agent_id, call.deadline);
      if (started) co_return StartAnswer{std::move(*started), false};
    }
    co_return fail(Code::forbidden, "The agent is " + agent->status + " and cannot start runs.");
  }
  Run run;
  run.status = request.status == StartStatus::queued ? RunStatus::queued : RunStatus::running;
  run.run_id = call.id_or_new(request.run_id);
  run.agent_id = request.agent_id;
  run.team_id = agent->team_id;
  run.environment = agent->environment;
  run.parent_run_id = request.parent_run_id;
  run.session_id = std::move(request.session_id);
  run.labels.text = json::encode(request.labels);
  run.metadata = std::move(request.metadata);
  run.started_at = request.started_at.value_or(Timestamp::now());
  if (run.parent_run_id) co_return co_await start_below(call, std::move(run));
  auto started = co_await store::start(database_.primary(), run, call);
  known_.forget(run.run_id);
  if (started.run.agent_id != request.agent_id) {
    co_return fail(Code::conflict, "There is a run with this id already, and it belongs to another agent.");
  }
  co_return StartAnswer{std::move(started.run), started.created};
}

// A run below another one: a kill of that one, or of one further up, ends it too, whichever comes first.
Async<Result<StartAnswer>> Runs::start_below(const Call& call, Run run) {
  std::vector<store::Terminated> ended;
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<StartAnswer>> {
    ended.clear();
    const auto above = co_await store::lock_above(transaction, *run.parent_run_id, run.team_id);
    const auto refusal = refusal_below(above, *run.parent_run_id);
    if (refusal) {
      auto existing = co_await store::find_anybodys(transaction, run.run_id);
      if (!existing) co_return fail(Code::conflict, refusal->reason + " No more runs start below it.");
      // The repeat of a start that named another parent, or none, says nothing about the run that there is.
      const bool fits = !existing->parent_run_id || existing->parent_run_id == run.parent_run_id;
      if (!fits && existing->agent_id == run.agent_id) co_return StartAnswer{std::move(*existing), false};
    }
    auto started = co_await store::start(transaction, run);
    if (started.run.agent_id != run.agent_id)
      co_return fail(Code::conflict, "There is a run with this id already, and it belongs to another agent.");
    // It was announced without a parent, or early events made a placeholder for it, of which the kill did not know
    // where it belongs; nor did it know of what was started below it.
    if (refusal && refusal->ends_what_is_below && started.run.parent_run_id == run.parent_run_id) {
      ended = co_await store::terminate(transaction, {{run.run_id, text_of(refusal->reason), text_of(refusal->reason)}},
                                        refusal->by, true);
      trail_.record(transaction, call, termination_entries(ended, refusal->run_id));
      for (const auto& one : ended) {
        if (one.run.run_id == run.run_id) started.run = one.run;
      }
    }
    co_return StartAnswer{std::move(started.run), started.created};
  };
  auto answer = co_await pg::transact(database_, "run_start", call, body);
  known_.forget(run.run_id);
  if (answer) note_ended(ended);
  co_return answer;
}

Async<Result<Run>> Runs::end(const Call& call, Uuid id, RunEnd request) {
  bool ended_now = false;
  std::optional<store::Text> error;
  if (request.error) error = text_of(*request.error);
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
    co_return co_await store::end(transaction, id, request, error, call.principal);
  };
  auto run = co_await pg::transact(database_, "run_end", call, body);
  known_.forget(id);
  if (run && ended_now) count_ended(metrics_, *run);
  co_return run;
}

Async<Result<HeartbeatAnswer>> Runs::heartbeat(const Call& call, Uuid id) {
  auto beat = co_await store::beat(database_.primary(), id, call.principal, call.deadline);
  if (!beat) co_return fail(not_found());
  if (beat->is_due && (beat->run.status == RunStatus::running || beat->agent_status == "active")) {
    if (auto touched = co_await store::touch(database_.primary(), id, call)) {
      if (beat->run.status != touched->status) known_.forget(id);
      beat->run = std::move(*touched);
    } else {
      beat = co_await store::beat(database_.primary(), id, call.principal, call.deadline);
      if (!beat) co_return fail(not_found());
    }
  }
  const auto& run = beat->run;
  HeartbeatAnswer answer;
  answer.status = run.status;
  if (is_terminal(run.status)) answer.order = Order::terminate;
  if (run.status == RunStatus::terminated) answer.reason = run.error;
  if (run.status == RunStatus::queued && beat->agent_status != "active") {
    answer.order = Order::terminate;
    answer.reason = "The agent is " + beat->agent_status + ".";
  }
  co_return answer;
}

Async<Result<Run>> Runs::terminate(const Call& call, Uuid id, RunTerminate request) {
  std::vector<store::Terminated> ended;
  const auto reason = text_of(std::move(request.reason));
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<Run>> {
    ended.clear();
    auto run = co_await store::find(transaction, id, call.principal);
    if (!run) co_return fail(not_found());
    // Not locked yet: it takes its turn among those below it.
    if (!is_terminal(run->status)) {
      ended = co_await store::terminate(transaction, {{id, reason, reason}}, TerminatedBy::operator_);
      run = co_await store::find(transaction, id, call.principal);
      if (!run) co_return fail(not_found());
    }
    if (run->status != RunStatus::terminated) {
      co_return fail(Code::conflict, fmt::format("The run has ended as {} already.", json::enum_text(run->status)));
    }
    trail_.record(transaction, call, termination_entries(ended, id));
    co_return std::move(*run);
  };
  auto run = co_await pg::transact(database_, "run_terminate", call, body);
  if (run) note_ended(ended);
  co_return run;
}

Async<std::vector<Run>> terminate_violators(pg::Transaction& transaction, const audit::Trail& trail,
                                            const std::map<Uuid, Violator>& violators) {
  std::vector<store::Termination> terminations;
  for (const auto& [run_id, violator] : violators) {
    terminations.push_back(
        {run_id, text_of(violator.detail),
         text_of("The run " + run_id.text() + " above was terminated by its policy: " + violator.detail)});
  }
  auto ended = co_await store::terminate(transaction, terminations, TerminatedBy::policy);
  std::map<const Call*, std::vector<audit::Entry>> entries;
  for (const auto& one : ended) entries[violators.at(one.root).call].push_back(termination_entry(one.run, one.root));
  for (auto& [call, of_call] : entries) trail.record(transaction, *call, std::move(of_call));
  std::vector<Run> runs;
  for (auto& one : ended) runs.push_back(std::move(one.run));
  co_return runs;
}

void Runs::note_reachable() {
  // Longer than between two looks by far: the process was stopped, or its machine slept.
  constexpr std::chrono::seconds gap_max{5};
  const auto now = std::chrono::steady_clock::now();
  bool has_database = true;
  try {
    static_cast<void>(database_.primary());
  } catch (const Unavailable&) {
    has_database = false;
  }
  if (!has_database || looked_at_ + gap_max < now) reachable_since_ = now;
  looked_at_ = now;
}

Async<> Runs::end_silent(SilenceOptions options, Deadline deadline) {
  constexpr std::int64_t runs_max = 200;
  note_reachable();
  const auto reachable_for =
      std::chrono::floor<std::chrono::seconds>(std::chrono::steady_clock::now() - reachable_since_);
  std::vector<Run> runs;
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<bool>> {
    runs = co_await store::end_silent(transaction, options, reachable_for, runs_max);
    co_return true;
  };
  Call call;
  call.deadline = deadline;
  bool is_first = true;
  do {
    try {
      co_await pg::transact(database_, "run_end_silent", call, body);
    } catch (const Unavailable&) {
      // Heartbeats will have fared no better, unless it was only that the time was up.
      if (is_first) reachable_since_ = std::chrono::steady_clock::now();
      throw;
    }
    is_first = false;
    for (const auto& run : runs) {
      if (run.status != RunStatus::terminated) continue;
      known_.forget(run.run_id);
      count_ended(metrics_, run);
      log(Level::info, "terminated a silent run",
          {{"run_id", run.run_id.text()}, {"agent_id", run.agent_id.text()}, {"reason", run.error.value_or("")}});
    }
  } while (std::ssize(runs) == runs_max && !deadline.passed());
}

Async<> Runs::end_exhausted(const std::map<Uuid, std::string>& reasons, Deadline deadline) {
  std::vector<store::Termination> terminations;
  for (const auto& [run_id, reason] : reasons)
    terminations.push_back({run_id, text_of(reason), text_of("The run " + run_id.text() + " above: " + reason)});
  std::vector<store::Terminated> ended;
  Call call;
  call.principal.kind = Principal::Kind::operator_;
  call.deadline = deadline;
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<bool>> {
    ended = co_await store::terminate(transaction, terminations, TerminatedBy::budget);
    std::vector<audit::Entry> entries;
    for (const auto& one : ended) entries.push_back(termination_entry(one.run, one.root));
    trail_.record(transaction, call, std::move(entries));
    co_return true;
  };
  co_await pg::transact(database_, "run_end_exhausted", call, body);
  note_ended(ended);
}

Async<std::optional<Run>> find_visible(pg::Reader database, Uuid id, const Call& call) {
  co_return co_await store::find(database, id, call.principal, call.deadline);
}

Async<Result<RunDetail>> Runs::get(const Call& call, Uuid id) {
  auto run = co_await store::get(database_.read_preferred(call), id, call.principal, call.deadline);
  if (!run) co_return fail(not_found());
  co_return std::move(*run);
}

Async<> Runs::sum_costs(Deadline deadline) {
  constexpr std::int64_t count = 200;
  Call call;
  call.deadline = deadline;
  const auto body = [](pg::Transaction& transaction) -> Async<Result<std::int64_t>> {
    co_return co_await store::sum_costs(transaction, count);
  };
  for (;;) {
    const auto summed = co_await pg::transact(database_, "run_costs", call, body);
    if (*summed < count || deadline.passed()) co_return;
  }
}

Async<> apply(pg::Transaction& transaction, const CostChanges& changes) {
  if (!changes.nanos.empty()) co_await store::apply(transaction, changes);
}

Async<Result<json::Page<ListedRun>>> Runs::list(const Call& call, RunList query) {
  auto rows = co_await store::list(database_.read_preferred(call), query, call.principal, call.deadline);
  co_return json::page_of(std::move(rows), query.limit,
                          [](const Run& run) { return json::PagePosition{run.created_at, run.run_id}; });
}

}  // namespace cognive::runs
