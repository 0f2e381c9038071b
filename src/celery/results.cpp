#include "celery/results.hpp"

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/time.hpp"
#include "json/cursor.hpp"
#include "json/writer.hpp"
#include "observe/log.hpp"

namespace cognive::celery {
namespace {

using std::chrono::milliseconds;

// As Celery keeps them (result_expires).
constexpr std::string_view kept_seconds = "86400";
const std::string key_prefix = "celery-task-meta-";
constexpr milliseconds one_try{1'000};
constexpr std::size_t shown_bytes_max = std::size_t{4} << 20U;
constexpr milliseconds pause{200};

// KEYS[1]: of the task. ARGV: seconds to keep it, the text.
constexpr std::string_view store_script = R"(
redis.call('SETEX', KEYS[1], ARGV[1], ARGV[2])
return redis.call('PUBLISH', KEYS[1], ARGV[2])
)";

// UTC without saying so, which is how Celery's clients read it.
std::string now_text() {
  auto text = Timestamp::now().text();
  if (text.ends_with('Z')) text.pop_back();
  return text;
}

std::string json_of(const Failure& failure) {
  json::Writer out;
  out.begin_object();
  out.field("exc_type", failure.type);
  out.key("exc_message");
  out.begin_array();
  out.string(failure.message);
  out.end_array();
  out.field("exc_module", failure.module);
  out.end_object();
  return std::move(out).text();
}

std::string traceback_of(const Failure& failure) {
  return fmt::format("{}: {}\n", failure.type, failure.message);
}

std::string text_of(json::Cursor& value) {
  if (value.kind() == json::Kind::string) return std::string(value.string());
  json::Writer out;
  value.copy_to(out);
  return std::move(out).text();
}

// Celery writes {"status": "SUCCESS", "result": …}.
std::string state_at_the_beginning(std::string_view text) {
  constexpr std::string_view before = "{\"status\":\"";
  constexpr std::size_t looked_at = 100;
  std::string words;
  for (const char letter : text.substr(0, looked_at)) {
    if (letter != ' ') words += letter;
  }
  if (!words.starts_with(before)) return {};
  const auto end = words.find('"', before.size());
  if (end == std::string::npos) return {};
  auto state = words.substr(before.size(), end - before.size());
  return json::valid_utf8(state) ? state : std::string();
}

std::optional<StoredResult> read_result(std::string text) {
  if (text.empty()) return std::nullopt;
  StoredResult out;
  const auto walked = json::walk(text, [&](json::Cursor& root) {
    if (root.kind() != json::Kind::object) return;
    root.each_field([&](std::string_view name, json::Cursor& value) {
      if (name == "result") {
        json::Writer result;
        value.copy_to(result);
        out.result = std::move(result).text();
      } else if (value.kind() != json::Kind::string) {
        return;
      } else if (name == "status") {
        out.state = value.string();
      } else if (name == "traceback") {
        out.traceback = value.string();
      } else if (name == "date_done") {
        const auto time = std::string(value.string());
        auto parsed = Timestamp::parse(time);
        if (!parsed) parsed = Timestamp::parse(time + "Z");
        if (parsed) out.finished_at = *parsed;
      }
    });
  });
  if (walked && !out.state.empty()) return out;
  StoredResult state_only;
  state_only.state = state_at_the_beginning(text);
  state_only.is_readable = false;
  if (state_only.state.empty()) return std::nullopt;
  return state_only;
}

}  // namespace

std::string exception_text(std::string result) {
  std::string type;
  std::string message;
  const auto walked = json::walk(result, [&](json::Cursor& root) {
    if (root.kind() != json::Kind::object) {
      message = text_of(root);
      return;
    }
    root.each_field([&](std::string_view name, json::Cursor& value) {
      if (name == "exc_type") type = text_of(value);
      if (name != "exc_message") return;
      if (value.kind() != json::Kind::array) {
        message = text_of(value);
        return;
      }
      value.each_item([&](std::size_t index, json::Cursor& item) {
        if (index > 0) message += ", ";
        message += text_of(item);
      });
    });
  });
  if (!walked) return {};
  if (type.empty() || message.empty()) return type + message;
  return type + ": " + message;
}

Results::Results(redis::Client* client) : client_(client), script_(store_script) {}

Async<bool> Results::store(std::string id, std::string_view state, std::string result, std::string traceback,
                           Deadline deadline) {
  if (client_ == nullptr) co_return false;
  json::Writer out;
  out.begin_object();
  out.field("status", state);
  out.key("result");
  out.raw(result);
  out.key("traceback");
  if (traceback.empty()) {
    out.null();
  } else {
    out.string(traceback);
  }
  out.key("children");
  out.raw("[]");
  out.field("date_done", now_text());
  out.field("task_id", id);
  out.end_object();
  const auto text = std::move(out).text();
  const auto key = key_prefix + id;
  std::string failure;
  for (;;) {
    try {
      const auto reply =
          co_await script_.run(*client_, {key}, {std::string(kept_seconds), text}, Deadline::in(one_try));
      if (reply.kind != redis::Reply::Kind::error) co_return true;
      failure = reply.text;
    } catch (const Unavailable& error) {
      failure = error.what();
    }
    if (deadline.remaining() <= pause) break;
    co_await sleep_for(pause);
  }
  log(Level::warning, "the result of a task could not be stored", {{"id", id}, {"state", state}, {"reason", failure}});
  co_return false;
}

Async<std::optional<StoredResult>> Results::find(std::string id, Deadline deadline) {
  if (client_ == nullptr) co_return std::nullopt;
  redis::Command command{"GETRANGE", key_prefix + id, "0", std::to_string(shown_bytes_max)};
  auto reply = co_await client_->execute(std::move(command), deadline);
  if (reply.kind == redis::Reply::Kind::error) throw Unavailable("Redis refuses to be read: " + reply.text);
  co_return read_result(std::move(reply.text));
}

Async<bool> Results::succeed(std::string id, std::string result, Deadline deadline) {
  co_return co_await store(std::move(id), "SUCCESS", std::move(result), {}, deadline);
}

Async<bool> Results::fail(std::string id, Failure failure, Deadline deadline) {
  co_return co_await store(std::move(id), "FAILURE", json_of(failure), traceback_of(failure), deadline);
}

Async<bool> Results::retry(std::string id, Failure failure, Deadline deadline) {
  co_return co_await store(std::move(id), "RETRY", json_of(failure), traceback_of(failure), deadline);
}

Async<bool> Results::revoke(std::string id, std::string reason, Deadline deadline) {
  const Failure failure{"TaskRevokedError", "celery.exceptions", std::move(reason)};
  co_return co_await store(std::move(id), "REVOKED", json_of(failure), {}, deadline);
}

}  // namespace cognive::celery
