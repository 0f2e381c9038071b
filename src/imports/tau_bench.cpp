#include "imports/tau_bench.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <map>
#include <optional>
#include <system_error>

#include "base/text.hpp"
#include "json/cursor.hpp"
#include "json/writer.hpp"

namespace cognive::imports {
namespace {

using json::Cursor;
using json::Kind;

constexpr std::size_t faults_shown = 5;
constexpr std::size_t name_bytes_max = 256;
constexpr std::size_t task_id_bytes_max = 128;
constexpr std::size_t reward_bytes_max = 32;

constexpr std::array<std::pair<Role, std::string_view>, 4> roles{
    {{Role::system, "system"}, {Role::user, "user"}, {Role::assistant, "assistant"}, {Role::tool, "tool"}}};

// Where in the file reading has come to.
struct Place {
  std::optional<std::size_t> trajectory = std::nullopt;
  std::optional<std::size_t> message = std::nullopt;

  [[nodiscard]] std::string text() const {
    if (!message) return fmt::format("trajectory {0} (/{0})", *trajectory);
    return fmt::format("trajectory {0}, message {1} (/{0}/traj/{1})", *trajectory, *message);
  }
};

struct Faults {
  std::size_t count = 0;
  std::vector<std::string> shown;

  void add(const Place& place, std::string_view fault) {
    if (++count <= faults_shown) shown.push_back(fmt::format("{}: {}", place.text(), fault));
  }
};

struct ToolCall {
  std::string id;
  std::string tool;
  std::string arguments;  // text
};

// The tool calls so far, by id. An id that comes again means the later call.
struct Asked {
  std::string tool;
  std::string arguments;
  std::size_t message = 0;
};
using Calls = std::map<std::string, Asked, std::less<>>;

// A message as it stands there.
struct RawMessage {
  std::optional<std::string> role;
  std::optional<Kind> content;
  std::string content_text;
  std::optional<std::string> name;
  std::optional<std::string> tool_call_id;
  std::vector<ToolCall> tool_calls;
  std::string fault;  // the first one
};

bool is_text(Cursor& value) {
  return value.kind() == Kind::string;
}

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= name_bytes_max && text.find('\0') == std::string_view::npos;
}

std::string name_fault(std::string_view what) {
  return fmt::format("{} must be text of 1 to {} bytes", what, name_bytes_max);
}

// What is wrong with a tool call; empty when it is one.
std::string read_tool_call(Cursor& in, ToolCall& out) {
  if (in.kind() != Kind::object) return "must be an object";
  bool has_arguments = false;
  in.each_field([&](std::string_view key, Cursor& value) {
    if (key == "id" && is_text(value)) out.id = value.string();
    if (key != "function" || value.kind() != Kind::object) return;
    value.each_field([&](std::string_view inner, Cursor& member) {
      if (inner == "name" && is_text(member)) out.tool = member.string();
      if (inner != "arguments" || !is_text(member)) return;
      out.arguments = member.string();
      has_arguments = true;
    });
  });
  if (out.id.empty()) return "has no id";
  if (!is_name(out.tool)) return name_fault("'s function.name");
  if (!has_arguments) return "'s function.arguments must be JSON text";
  return {};
}

void read_tool_calls(Cursor& in, RawMessage& out) {
  if (in.kind() == Kind::null) return;
  if (in.kind() != Kind::array) {
    out.fault = "its tool_calls must be an array";
    return;
  }
  in.each_item([&](std::size_t index, Cursor& item) {
    const auto fault = read_tool_call(item, out.tool_calls.emplace_back());
    if (fault.empty() || !out.fault.empty()) return;
    out.fault = fmt::format("tool call {}{}{}", index, fault.front() == '\'' ? "" : " ", fault);
  });
}

RawMessage read_raw(std::string& message) {
  RawMessage out;
  const auto walked = json::walk(message, [&](Cursor& root) {
    root.each_field([&](std::string_view key, Cursor& value) {
      if (key == "role" && is_text(value)) out.role = value.string();
      if (key == "name" && is_text(value)) out.name = value.string();
      if (key == "tool_call_id" && is_text(value)) out.tool_call_id = value.string();
      if (key == "tool_calls") read_tool_calls(value, out);
      if (key == "content") {
        out.content = value.kind();
        if (out.content == Kind::string) out.content_text = value.string();
      }
    });
  });
  if (!walked) out.fault = "it is not JSON";  // never: it was read once already to make `message` of it
  return out;
}

// The JSON value that a text holds, or the text as a JSON string when it holds none. Two levels are added because that
// is how deep it will stand in a batch of events.
std::string value_in(std::string_view text) {
  std::string wrapped = fmt::format("[[{}]]", text);
  json::Writer value;
  std::size_t values = 0;
  const auto walked = json::walk(wrapped, [&](Cursor& root) {
    root.each_item([&](std::size_t, Cursor& inner) {
      if (inner.kind() != Kind::array) {
        values += 2;
        return;
      }
      inner.each_item([&](std::size_t, Cursor& item) {
        if (++values == 1) item.copy_to(value);
      });
    });
  });
  if (!walked || values != 1) return json::quoted(text);
  return std::move(value).text();
}

// The fault of the message's content, empty when it has none.
std::string content_fault(Role role, const RawMessage& raw) {
  if (role == Role::assistant && (!raw.content || raw.content == Kind::null)) return {};
  if (!raw.content) return "it has no content";
  if (raw.content == Kind::string || (role != Role::tool && raw.content == Kind::array)) return {};
  return "its content must be text";
}

std::string take_answer(RawMessage& raw, const Calls& calls, bool calls_complete, Message& out) {
  if (!raw.tool_call_id) return "it has no tool_call_id";
  if (raw.name && !is_name(*raw.name)) return name_fault("its name");
  const auto call = calls.find(*raw.tool_call_id);
  if (call == calls.end()) return calls_complete ? "its tool_call_id is that of no tool call before it" : "";
  out.tool = raw.name ? *std::move(raw.name) : call->second.tool;
  out.asked_by = call->second.message;
  out.arguments = value_in(call->second.arguments);
  out.result = json::quoted(raw.content_text);
  out.failed = raw.content_text.starts_with("Error");
  return {};
}

// Reads the messages of one trajectory, which need to know those before them.
class Messages {
 public:
  // What is wrong with the message; empty when it was added.
  std::string add(Cursor& in, std::size_t index, std::vector<Message>& messages) {
    std::string fault;
    Message message;
    if (in.kind() != Kind::object) {
      fault = "it must be an object";
    } else {
      json::Writer copy;
      in.copy_to(copy);
      message.json = std::move(copy).text();
      fault = take(message, index);
    }
    // One fault is enough of what follows from it.
    if (!fault.empty() && message.role != Role::tool) calls_complete_ = false;
    if (fault.empty()) messages.push_back(std::move(message));
    return fault;
  }

 private:
  std::string take(Message& message, std::size_t index) {
    RawMessage raw = read_raw(message.json);
    if (!raw.role) return "it has no role";
    const auto* const role =
        std::ranges::find(roles, std::string_view(*raw.role), [](auto& one) { return one.second; });
    if (role == roles.end()) return "its role must be system, user, assistant or tool";
    message.role = role->first;
    if (auto fault = content_fault(message.role, raw); !fault.empty()) return fault;
    if (message.role == Role::tool) return take_answer(raw, calls_, calls_complete_, message);
    if (message.role != Role::assistant) return {};
    if (!raw.fault.empty()) return std::move(raw.fault);
    message.calls_tools = !raw.tool_calls.empty();
    for (auto& call : raw.tool_calls) {
      calls_.insert_or_assign(std::move(call.id), Asked{std::move(call.tool), std::move(call.arguments), index});
    }
    return {};
  }

  Calls calls_;
  bool calls_complete_ = true;
};

bool take_whole_number(Cursor& value, std::string& out) {
  if (value.kind() != Kind::number) return false;
  const auto token = value.number();
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), number);
  if (error != std::errc{} || end != token.data() + token.size()) return false;
  out = token;
  return true;
}

bool take_task_id(Cursor& value, std::string& out) {
  if (!is_text(value)) return take_whole_number(value, out);
  const auto text = value.string();
  if (text.empty() || text.size() > task_id_bytes_max || text.find('\0') != std::string_view::npos) return false;
  out = text;
  return true;
}

bool take_reward(Cursor& value, Trajectory& out) {
  if (value.kind() != Kind::number) return false;
  const auto token = value.number();
  double reward = 0;
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), reward);
  if (error != std::errc{} || end != token.data() + token.size()) return false;
  out.reward = token.size() <= reward_bytes_max ? std::string(token) : fmt::format("{}", reward);
  out.succeeded = reward >= 1;
  return true;
}

void read_trajectory(Cursor& in, Trajectory& out, Place& place, Faults& faults) {
  const Place here = place;
  if (in.kind() != Kind::object) {
    faults.add(here, "it must be an object");
    return;
  }
  bool task_id = false;
  bool trial = false;
  bool reward = false;
  bool traj = false;
  in.each_field([&](std::string_view key, Cursor& value) {
    if (key == "task_id") task_id = take_task_id(value, out.task_id);
    if (key == "trial") trial = take_whole_number(value, out.trial);
    if (key == "reward") reward = take_reward(value, out);
    if (key != "traj" || value.kind() != Kind::array) return;
    traj = true;
    out.messages.clear();
    Messages messages;
    value.each_item([&](std::size_t index, Cursor& item) {
      place.message = index;
      if (const auto fault = messages.add(item, index, out.messages); !fault.empty()) faults.add(place, fault);
    });
    place.message.reset();
  });
  if (!task_id)
    faults.add(here, fmt::format("task_id must be a whole number, or text of 1 to {} bytes", task_id_bytes_max));
  if (!trial) faults.add(here, "trial must be a whole number");
  if (!reward) faults.add(here, "reward must be a number");
  if (!traj) faults.add(here, "traj must be an array of messages");
}

struct Read {
  Faults faults;
  Place place;  // the last one that was reached
  bool is_array = true;
  Result<void> walked;
};

// Reads trajectory by trajectory; `visit` gets those that are whole, until it says false.
Read read_all(std::string& text, FunctionRef<bool(const Trajectory&)> visit) {
  Read out;
  bool going_on = true;
  out.walked = json::walk(text, [&](Cursor& root) {
    out.is_array = root.kind() == Kind::array;
    if (!out.is_array) return;
    root.each_item([&](std::size_t index, Cursor& item) {
      if (!going_on) return;
      out.place = {.trajectory = index};
      Trajectory trajectory;
      trajectory.index = index;
      const auto faults_before = out.faults.count;
      read_trajectory(item, trajectory, out.place, out.faults);
      if (out.faults.count == faults_before) going_on = visit(trajectory);
    });
  });
  return out;
}

// "The body is not valid JSON: it is …" as a sentence about a file.
std::string not_json(std::string_view name, const Place& place, std::string_view detail) {
  const auto colon = detail.find(": ");
  const auto why = colon == std::string_view::npos ? detail : detail.substr(colon + 2);
  return fmt::format("{}{} is not JSON: {}", name, place.trajectory ? ", at or after " + place.text() + "," : "", why);
}

std::unexpected<Error> malformed(std::string_view name, const Faults& faults) {
  if (faults.count == 1) return fail(Code::malformed, fmt::format("{}, {}.", name, faults.shown.front()));
  std::string detail = fmt::format("{} has {} faults", name, grouped(static_cast<long long>(faults.count)));
  detail += faults.count > faults.shown.size() ? fmt::format(", the first {} of them:", faults.shown.size()) : ":";
  for (const auto& one : faults.shown) detail += "\n  " + one;
  return fail(Code::malformed, std::move(detail));
}

void append_number(std::string& out, std::uint64_t number) {
  for (int shift = 56; shift >= 0; shift -= 8) out.push_back(static_cast<char>(number >> shift));
}

// Bytes 9 to 12 of the run's id replaced by a number: those before them are the same for the whole run and tell runs
// apart, so that ids of a run are sorted by it.
Uuid numbered(const Uuid& run_id, std::size_t number) {
  Uuid id = run_id;
  for (std::size_t i = 0; i < 4; ++i) id.bytes[9 + i] = static_cast<std::uint8_t>(number >> (8 * (3 - i)));
  return id;
}

}  // namespace

std::string_view role_text(Role role) {
  return std::ranges::find(roles, role, [](auto& one) { return one.first; })->second;
}

Result<TauBench> read_tau_bench(const std::string& path) {
  auto text = read_file(path);
  if (!text) return std::unexpected(std::move(text).error());
  return parse_tau_bench(*std::move(text), path);
}

Result<TauBench> parse_tau_bench(std::string text, std::string_view name) {
  if (text.size() > file_bytes_max) return file_too_large(name);
  TauBench out;
  out.digest = sha256(text);
  out.text = std::move(text);
  out.source = std::filesystem::path(name).filename().string();
  if (!json::valid_utf8(out.source)) out.source.clear();

  const auto read = read_all(out.text, [&](const Trajectory& trajectory) {
    ++out.trajectories;
    out.succeeded += trajectory.succeeded ? 1 : 0;
    out.turns += trajectory.messages.size();
    for (const auto& message : trajectory.messages) {
      out.llm_calls += message.role == Role::assistant ? 1 : 0;
      out.tool_invocations += message.role == Role::tool ? 1 : 0;
    }
    return true;
  });
  if (!read.walked) return fail(Code::malformed, not_json(name, read.place, read.walked.error().detail));
  if (!read.is_array) return fail(Code::malformed, fmt::format("{} must be a JSON array of trajectories.", name));
  if (read.faults.count > 0) return malformed(name, read.faults);
  if (out.trajectories == 0) return fail(Code::malformed, fmt::format("{} has no trajectories.", name));
  return out;
}

void each_trajectory(TauBench& file, FunctionRef<bool(const Trajectory&)> visit) {
  (void)read_all(file.text, visit);
}

Uuid run_id_of(const TauBench& file, std::size_t trajectory, const Uuid& agent_id) {
  std::string bytes(agent_id.bytes.begin(), agent_id.bytes.end());
  bytes.append(file.digest.begin(), file.digest.end());
  append_number(bytes, trajectory);
  const Digest digest = sha256(bytes);
  Uuid id;
  std::copy_n(digest.begin(), id.bytes.size(), id.bytes.begin());
  // Version and variant of RFC 9562.
  id.bytes[6] = static_cast<std::uint8_t>((id.bytes[6] & 0x0F) | 0x80);
  id.bytes[8] = static_cast<std::uint8_t>((id.bytes[8] & 0x3F) | 0x80);
  return id;
}

Uuid step_id_of(const Uuid& run_id, std::size_t message) {
  return numbered(run_id, 2 * message);
}

Uuid call_id_of(const Uuid& run_id, std::size_t message) {
  return numbered(run_id, 2 * message + 1);
}

}  // namespace cognive::imports
