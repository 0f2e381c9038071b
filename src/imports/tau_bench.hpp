// Trajectories of agents as tau-bench writes them (github.com/sierra-research/tau-bench, MIT): one array, an element
// for each attempt at a task.
//
//   [{"task_id": 0, "trial": 0, "reward": 1.0, "info": {…}, "traj": [
//     {"role": "system", "content": "…"}, {"role": "user", "content": "…"},
//     {"role": "assistant", "content": null, "tool_calls": [{"id": "call_1", "function": {"name": "…", "arguments":
//     "{…}"}}]},
//     {"role": "tool", "tool_call_id": "call_1", "name": "…", "content": "…"}, …]}, …]
//
// A file is read and checked as a whole before anybody acts on it, so that what is malformed is found before half is
// imported. Only its text is held; trajectories are made one at a time from it, as often as they are needed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/crypto.hpp"
#include "base/error.hpp"
#include "base/function_ref.hpp"
#include "base/uuid.hpp"
#include "imports/file.hpp"

namespace cognive::imports {

enum class Role { system, user, assistant, tool };
std::string_view role_text(Role role);

struct Message {
  Role role = Role::user;
  std::string json;          // all of it, compact
  bool calls_tools = false;  // of an assistant turn

  // Of a tool message:
  std::string tool;          // its name
  std::size_t asked_by = 0;  // the assistant turn that asked for it
  std::string arguments;     // JSON: what the turn sent, or that text as a string when it is not JSON itself
  std::string result;        // JSON
  bool failed = false;       // tau-bench has no field for it: results of failed calls begin with "Error"
};

struct Trajectory {
  std::size_t index = 0;  // in the file
  std::string task_id;
  std::string trial;
  std::string reward;  // as the file writes it
  bool succeeded = false;
  std::vector<Message> messages;  // none when the attempt broke down before the first
};

struct TauBench {
  std::string text;
  std::string source;  // name of the file, without its directory
  Digest digest{};     // SHA-256 of the file's bytes
  std::size_t trajectories = 0;
  std::size_t succeeded = 0;
  std::size_t turns = 0;             // messages
  std::size_t llm_calls = 0;         // assistant turns
  std::size_t tool_invocations = 0;  // tool messages
};

// Reads a file (or pipe) of at most `file_bytes_max` bytes. Members that are not named above are ignored. Errors name
// the file, the first five malformed messages by trajectory and index (counted from 0), and how many there are; they
// quote nothing of what was said.
//   not_found, forbidden, malformed, too_large, internal (the disk)
Result<TauBench> read_tau_bench(const std::string& path);

// The same for a text at hand; `name` is its path, or stands for one.
Result<TauBench> parse_tau_bench(std::string text, std::string_view name);

// Visits the trajectories in order until `visit` says false.
void each_trajectory(TauBench& file, FunctionRef<bool(const Trajectory&)> visit);

// Ids come from the content of the file and the place in it, so that a second import changes nothing. The file has no
// times, so they have none inside either: they are of version 8, and their rows belong to no day (bucket_of). A day
// made up for them would be one on which nothing happened, with a partition of its own.
//
// One run per agent, file and trajectory.
Uuid run_id_of(const TauBench& file, std::size_t trajectory, const Uuid& agent_id);

// The step of a message, and the LLM call or tool invocation that goes with it. Ids of a run are neighbours in the
// order of its messages: they share pages of an index, and what has the same time and no index of its own is shown in
// order.
Uuid step_id_of(const Uuid& run_id, std::size_t message);
Uuid call_id_of(const Uuid& run_id, std::size_t message);

}  // namespace cognive::imports
