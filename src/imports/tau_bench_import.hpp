// Sends trajectories of tau-bench to a Cognive server: each is a run of one agent.
//
//   message            a step of its role, with the index that it has in the trajectory
//   assistant message  and an LLM call under its step; without usage, which the file does not know
//   tool message       and a tool invocation under the step that asked for it
//
// What was said is sent as content of the events, each message once: as the output of its call, in the input of the
// next one, or as the input of its step when no call follows (results of tools also with their invocation). What is
// kept of it is the agent's policy; names, labels and errors hold nothing of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "base/function_ref.hpp"
#include "base/uuid.hpp"
#include "client/api.hpp"
#include "imports/progress.hpp"
#include "imports/tau_bench.hpp"

namespace cognive::imports {

struct TauBenchOptions {
  std::string agent;  // name; made when the server does not know it, otherwise left as it is
  std::string model;
  std::optional<std::string> provider = std::nullopt;
  std::optional<std::string> environment = std::nullopt;  // these two replace what the agent had,
  std::optional<std::string> store = std::nullopt;        // so give them only when meant
  std::size_t batch_bytes = 4 << 20;                      // a batch is sent when it has reached this
};

struct TauBenchSummary {
  Uuid agent_id;
  std::size_t events = 0;
  std::int64_t accepted = 0;    // new to the server
  std::int64_t duplicates = 0;  // there already: from an earlier import, or from an attempt whose answer was lost
  std::size_t ended_otherwise =
      0;  // runs that had ended in another way before, terminated for instance: left as they are
  double seconds = 0;
};

// Registers the agent, and for each trajectory starts the run, sends its events in order, one request at a time, and
// ends the run: as succeeded when the reward is 1 or more, else as failed. Times are those of arrival. Ids come from
// the content (run_id_of), so an import that failed or was killed is completed by repeating it, and a second import
// adds nothing; nor does it change what was kept of content, whatever the policy has become. `progress` counts
// trajectories.
//
// Errors: what the server or the connection refused, with the trajectory concerned; those before it are stored. When
// single events are rejected the others are sent all the same; then Code::unprocessable names the messages (the first
// ones; `fields` has the pointer into the file and the message of each) and their runs are left open, so that a repeat
// may still complete them.
Result<TauBenchSummary> import_tau_bench(client::ApiClient& api, TauBench& file, const TauBenchOptions& options,
                                         FunctionRef<void(Progress)> progress);

}  // namespace cognive::imports
