#include "imports/tau_bench_import.hpp"

#include <fmt/format.h>

#include <chrono>
#include <vector>

#include "base/text.hpp"
#include "json/writer.hpp"

namespace cognive::imports {
namespace {

// Below the 50,000 that a server takes, and few enough for one transaction.
constexpr std::size_t batch_events_max = 5'000;
constexpr std::size_t rejected_kept_max = 20;
constexpr std::size_t rejected_shown = 5;

std::string counted(std::size_t number, std::string_view what) {
  return fmt::format("{} {}{}", grouped(static_cast<long long>(number)), what, number == 1 ? "" : "s");
}

// Events that the server refused: all are counted, the first are kept.
struct Rejected {
  std::size_t events = 0;
  std::vector<std::string> shown;
  std::vector<FieldError> fields;

  void add(std::size_t trajectory, std::size_t message, const std::vector<FieldError>& errors) {
    ++events;
    if (events > rejected_kept_max) return;
    std::string messages;
    for (const auto& fault : errors) {
      messages += fmt::format("{}{} {}", messages.empty() ? "" : " ", fault.pointer, fault.message);
      // Not what was rejected, which may be something that was said.
      fields.push_back({fmt::format("/{}/traj/{}{}", trajectory, message, fault.pointer), fault.message, ""});
    }
    if (events <= rejected_shown) {
      shown.push_back(fmt::format("trajectory {0}, message {1} (/{0}/traj/{1}): {2}", trajectory, message, messages));
    }
  }
};

// Nothing of what was said: names are kept whatever the policy is.
std::string_view step_name(const Message& message) {
  switch (message.role) {
    case Role::system:
      return "system prompt";
    case Role::user:
      return "user message";
    case Role::assistant:
      return message.calls_tools ? "tool call" : "reply";
    case Role::tool:
      return message.tool;
  }
  return "message";
}

constexpr std::string_view tool_error = "The tool answered with an error.";

// Sends one trajectory.
class Sender {
 public:
  Sender(client::ApiClient& api, const TauBenchOptions& options, const Trajectory& trajectory, const Uuid& agent_id,
         const Uuid& run_id, TauBenchSummary& summary, Rejected& rejected)
      : api_(api),
        options_(options),
        trajectory_(trajectory),
        agent_id_(agent_id.text()),
        run_id_(run_id),
        run_id_text_(run_id.text()),
        summary_(summary),
        rejected_(rejected) {}

  Result<void> send() {
    std::size_t last_call_end = 0;
    for (std::size_t i = 0; i < trajectory_.messages.size(); ++i) {
      if (trajectory_.messages[i].role == Role::assistant) last_call_end = i + 1;
    }
    std::size_t unheard = 0;  // the first message that no LLM call had as input yet
    for (std::size_t i = 0; i < trajectory_.messages.size(); ++i) {
      const Message& message = trajectory_.messages[i];
      write_step(i, i >= last_call_end);
      if (message.role == Role::assistant) {
        write_llm_call(i, unheard);
        unheard = i + 1;
      }
      if (message.role == Role::tool) write_tool_invocation(i);
      if (auto sent = flush(options_.batch_bytes, batch_events_max); !sent) return sent;
    }
    return flush(1, 1);
  }

 private:
  void begin(std::string_view type, const Uuid& id, std::size_t message) {
    if (messages_.empty()) batch_.begin_array();
    messages_.push_back(message);
    batch_.begin_object();
    batch_.field("type", type);
    batch_.field("id", id.text());
    batch_.field("run_id", run_id_text_);
    batch_.field("agent_id", agent_id_);
  }

  void write_step(std::size_t index, bool nobody_hears) {
    const Message& message = trajectory_.messages[index];
    begin("step", step_id_of(run_id_, index), index);
    batch_.key("index");
    batch_.integer(static_cast<std::int64_t>(index));
    batch_.field("kind", role_text(message.role));
    batch_.field("name", step_name(message));
    if (message.role == Role::tool) write_status(message);
    if (nobody_hears && message.role != Role::tool) {
      batch_.key("input");
      batch_.raw(message.json);
    }
    batch_.end_object();
  }

  void write_status(const Message& message) {
    batch_.field("status", message.failed ? "error" : "ok");
    if (message.failed) batch_.field("error", tool_error);
  }

  void write_llm_call(std::size_t index, std::size_t first_heard) {
    begin("llm_call", call_id_of(run_id_, index), index);
    batch_.field("parent_step_id", step_id_of(run_id_, index).text());
    if (options_.provider) batch_.field("provider", *options_.provider);
    batch_.field("model", options_.model);
    batch_.field("status", "ok");
    if (first_heard < index) {
      batch_.key("input");
      batch_.begin_array();
      for (std::size_t i = first_heard; i < index; ++i) batch_.raw(trajectory_.messages[i].json);
      batch_.end_array();
    }
    batch_.key("output");
    batch_.raw(trajectory_.messages[index].json);
    batch_.end_object();
  }

  void write_tool_invocation(std::size_t index) {
    const Message& message = trajectory_.messages[index];
    begin("tool_invocation", call_id_of(run_id_, index), index);
    batch_.field("parent_step_id", step_id_of(run_id_, message.asked_by).text());
    batch_.field("tool", message.tool);
    write_status(message);
    batch_.key("arguments");
    batch_.raw(message.arguments);
    batch_.key("result");
    batch_.raw(message.result);
    batch_.end_object();
  }

  // Sends what has been written if it has reached either size.
  Result<void> flush(std::size_t bytes, std::size_t events) {
    if (messages_.empty() || (batch_.text().size() < bytes && messages_.size() < events)) return {};
    batch_.end_array();
    const auto answer = api_.events_post(batch_.text());
    if (!answer) return std::unexpected(answer.error());
    if (auto sums = tally(*answer); !sums) return sums;
    batch_ = {};
    messages_.clear();
    return {};
  }

  // The answer must account for every event: an acknowledgement that does not is a fault that nobody would find later.
  Result<void> tally(const client::EventsAnswer& answer) {
    const auto accounted = answer.accepted + answer.duplicates + static_cast<std::int64_t>(answer.rejected.size());
    if (accounted != static_cast<std::int64_t>(messages_.size())) {
      return fail(Code::internal, fmt::format("The server was sent {} and accounted for {}.",
                                              counted(messages_.size(), "event"), accounted));
    }
    summary_.events += messages_.size();
    summary_.accepted += answer.accepted;
    summary_.duplicates += answer.duplicates;
    for (const auto& event : answer.rejected) {
      if (event.index >= messages_.size())
        return fail(Code::internal, "The server rejected an event that it was not sent.");
      rejected_.add(trajectory_.index, messages_[event.index], event.errors);
    }
    return {};
  }

  client::ApiClient& api_;
  const TauBenchOptions& options_;
  const Trajectory& trajectory_;
  std::string agent_id_;
  Uuid run_id_;
  std::string run_id_text_;
  TauBenchSummary& summary_;
  Rejected& rejected_;
  json::Writer batch_;
  std::vector<std::size_t> messages_;  // of each event in the batch, the message that it is about
};

Result<void> import_trajectory(client::ApiClient& api, const TauBench& file, const TauBenchOptions& options,
                               const Trajectory& trajectory, TauBenchSummary& summary, Rejected& rejected) {
  const Uuid run_id = run_id_of(file, trajectory.index, summary.agent_id);
  client::RunStart start{.run_id = run_id,
                         .agent_id = summary.agent_id,
                         .labels = {{"task_id", trajectory.task_id}, {"trial", trajectory.trial}}};
  if (!file.source.empty()) start.labels.emplace("source", file.source);
  if (const auto run = api.run_start(start); !run) return std::unexpected(run.error());

  const auto rejected_before = rejected.events;
  Sender sender(api, options, trajectory, summary.agent_id, run_id, summary, rejected);
  if (auto sent = sender.send(); !sent) return sent;
  if (rejected.events > rejected_before) return {};

  client::RunEnd end{.status = trajectory.succeeded ? "succeeded" : "failed"};
  if (!trajectory.succeeded) end.error = "reward " + trajectory.reward;
  const auto ended = api.run_end(run_id, end);
  if (ended) return {};
  // States only move forward: what the operator or silence has ended stays as it is, and nothing could be done about
  // it.
  if (ended.error().code != Code::conflict) return std::unexpected(ended.error());
  ++summary.ended_otherwise;
  return {};
}

std::unexpected<Error> in_trajectory(const Trajectory& trajectory, Error error) {
  error.detail = fmt::format(
      "Trajectory {} (task_id {}, trial {}) was not imported (those before it are stored; repeating the import "
      "completes "
      "it): {}",
      trajectory.index, trajectory.task_id, trajectory.trial, error.detail);
  return fail(std::move(error));
}

std::unexpected<Error> rejection(Rejected rejected, const TauBenchSummary& summary) {
  std::string detail = fmt::format("The server rejected {} of {}", grouped(static_cast<long long>(rejected.events)),
                                   counted(summary.events, "event"));
  detail += fmt::format(
      " and stored the others ({} new, {} there already){}:", grouped(summary.accepted), grouped(summary.duplicates),
      rejected.events > rejected.shown.size() ? fmt::format("; the first {}", rejected.shown.size()) : "");
  for (const auto& line : rejected.shown) detail += "\n  " + line;
  return std::unexpected(Error{Code::unprocessable, std::move(detail), std::move(rejected.fields)});
}

}  // namespace

Result<TauBenchSummary> import_tau_bench(client::ApiClient& api, TauBench& file, const TauBenchOptions& options,
                                         FunctionRef<void(Progress)> progress) {
  const auto begin = std::chrono::steady_clock::now();
  // Nothing but the name unless asked: a PUT replaces what it names, and the agent may be somebody's.
  const auto agent = api.agent_put({.name = options.agent, .environment = options.environment, .store = options.store});
  if (!agent) return std::unexpected(agent.error());

  TauBenchSummary summary{.agent_id = agent->id};
  Rejected rejected;
  Result<void> outcome;
  progress({.done = 0, .total = file.trajectories});
  each_trajectory(file, [&](const Trajectory& trajectory) {
    outcome = import_trajectory(api, file, options, trajectory, summary, rejected);
    if (!outcome) {
      outcome = in_trajectory(trajectory, outcome.error());
      return false;
    }
    progress({.done = trajectory.index + 1, .total = file.trajectories});
    return true;
  });
  if (!outcome) return std::unexpected(outcome.error());
  if (rejected.events > 0) return rejection(std::move(rejected), summary);
  summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return summary;
}

}  // namespace cognive::imports
