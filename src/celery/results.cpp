#include "celery/results.hpp"

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/time.hpp"
#include "json/writer.hpp"
#include "observe/log.hpp"

namespace cognive::celery {
namespace {

using std::chrono::milliseconds;

// As Celery keeps them (result_expires).
constexpr std::string_view kept_seconds = "86400";
constexpr milliseconds one_try{1'000};
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

}  // namespace

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
  const auto key = "celery-task-meta-" + id;
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
