#include "celery/results.hpp"

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/time.hpp"
#include "celery/message.hpp"
#include "json/cursor.hpp"
#include "json/writer.hpp"
#include "observe/log.hpp"
#include "pg/params.hpp"

namespace cognive::celery {
namespace {

using std::chrono::milliseconds;

// As Celery keeps them (result_expires).
constexpr std::string_view kept_seconds = "86400";
const std::string key_prefix = "celery-task-meta-";
constexpr milliseconds one_try{1'000};
constexpr std::size_t shown_bytes_max = std::size_t{4} << 20U;
constexpr milliseconds pause{200};
constexpr milliseconds patience{1'000};
constexpr milliseconds statement_timeout{5'000};
constexpr std::int64_t together_max = 50;

constexpr pg::Query keep_query{
    "celery_results_keep",
    "INSERT INTO kept_results (task_id, text, yields) VALUES ($1, $2, $3) ON CONFLICT (task_id) DO UPDATE SET "
    "text = excluded.text, yields = excluded.yields, created_at = now(), stored_at = NULL"};

// Those that died with their worker: its last words are the queue's.
constexpr pg::Query lost_query{
    "celery_results_lost",
    "SELECT payload->>'id', last_error FROM tasks t WHERE queue = $1 AND died_at > now() - interval '50 minutes' "
    "AND last_error LIKE 'The worker % was lost during the last attempt.%' AND payload->'ignores_result' <> 'true' "
    "AND NOT EXISTS (SELECT FROM kept_results k WHERE k.task_id = t.payload->>'id') LIMIT $2"};

constexpr pg::Query kept_query{
    "celery_results_kept",
    "SELECT task_id, text, created_at, yields FROM kept_results WHERE stored_at IS NULL ORDER BY created_at LIMIT $1"};

// Unless another result of the task has come meanwhile.
constexpr pg::Query stored_query{
    "celery_results_stored",
    "UPDATE kept_results k SET stored_at = now(), text = '' FROM unnest($1::text[], $2::timestamptz[]) AS s (task_id, "
    "created_at) WHERE k.task_id = s.task_id AND k.created_at = s.created_at"};

// Stored ones tell longer than tasks count as newly dead that their failure has been told.
constexpr pg::Query prune_query{
    "celery_results_prune",
    "DELETE FROM kept_results WHERE created_at < now() - interval '1 day' OR stored_at < now() - interval '1 hour'"};

// KEYS[1]: of the task. ARGV: seconds to keep it, the text, 1 to yield to what the worker has told of the end.
constexpr std::string_view store_script = R"(
if ARGV[3] == '1' then
  local known = redis.call('GET', KEYS[1]) or ''
  for _, state in ipairs({'SUCCESS', 'FAILURE', 'REVOKED'}) do
    if string.find(known, '"status": *"' .. state .. '"') then return 0 end
  end
end
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

// As Celery's clients read it.
std::string stored_text(const std::string& id, std::string_view state, std::string_view result,
                        std::string_view traceback) {
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
  return std::move(out).text();
}

std::string stored_text(const std::string& id, const Failure& failure) {
  return stored_text(id, "FAILURE", json_of(failure), traceback_of(failure));
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

Results::Results(pg::Cluster& database, redis::Client* client)
    : database_(database), client_(client), script_(store_script) {}

Async<std::string> Results::store(std::string id, std::string text, bool yields, Deadline deadline) {
  try {
    const auto reply = co_await script_.run(*client_, {key_prefix + id},
                                            {std::string(kept_seconds), std::move(text), yields ? "1" : "0"}, deadline);
    co_return reply.kind == redis::Reply::Kind::error ? reply.text : std::string();
  } catch (const Unavailable& error) {
    co_return error.what();
  }
}

Async<> Results::keep(std::string id, std::string text, bool yields, Deadline deadline) {
  Call call;
  call.deadline = deadline;
  co_await database_.primary().write(keep_query, pg::Params::of(id, text, yields), call);
}

Async<> Results::tell(std::string id, std::string text, Loss loss) {
  if (client_ == nullptr) co_return;
  const auto until = Deadline::in(patience);
  std::string failure;
  do {
    if (!failure.empty()) co_await sleep_for(pause);
    failure = co_await store(id, text, false, Deadline::in(one_try));
  } while (!failure.empty() && !is_away_ && until.remaining() > pause);
  const bool was_away = std::exchange(is_away_, !failure.empty());
  if (failure.empty() || loss == Loss::is_harmless) co_return;
  if (!was_away) log(Level::warning, "results of tasks are kept until Redis takes them", {{"reason", failure}});
  try {
    co_await keep(id, std::move(text), false, Deadline::in(statement_timeout));
  } catch (const Unavailable& error) {
    log(Level::error, "the result of a task is lost", {{"id", id}, {"redis", failure}, {"database", error.what()}});
  } catch (const pg::SqlError& error) {
    log(Level::error, "the result of a task is lost", {{"id", id}, {"redis", failure}, {"database", error.what()}});
  }
}

Async<bool> Results::hand_over(Deadline deadline) {
  if (client_ == nullptr) co_return true;
  Call call;
  call.deadline = deadline;
  const auto lost =
      co_await database_.primary().write(lost_query, pg::Params::of(std::string_view(row_queue), together_max), call);
  for (int i = 0; i < lost.size(); ++i) {
    auto row = lost[i];
    std::string id;
    Failure failure{"WorkerLostError", "billiard.exceptions", {}};
    row.read(id, failure.message);
    auto text = stored_text(id, failure);
    co_await keep(std::move(id), std::move(text), true, deadline);
  }
  const auto kept = co_await database_.primary().write(kept_query, pg::Params::of(together_max), call);
  pg::ArrayBuilder ids(pg::ArrayBuilder::Type::text);
  pg::ArrayBuilder times(pg::ArrayBuilder::Type::timestamptz);
  std::string failure;
  for (int i = 0; i < kept.size(); ++i) {
    auto row = kept[i];
    std::string id;
    std::string text;
    Timestamp created_at;
    bool yields = false;
    row.read(id, text, created_at, yields);
    failure = co_await store(id, std::move(text), yields, Deadline{std::min(deadline.at, Deadline::in(one_try).at)});
    if (!failure.empty()) break;
    ids.add(std::string_view(id));
    times.add(created_at);
  }
  if (kept.size() > 0) {
    pg::Params params;
    std::move(ids).move_into(params);
    std::move(times).move_into(params);
    // Whatever time the others have taken: else they would be told again.
    call.deadline = Deadline::in(statement_timeout);
    co_await database_.primary().write(stored_query, std::move(params), call);
  }
  if (!failure.empty()) throw Unavailable(failure);
  co_return kept.size() < together_max&& lost.size() < together_max;
}

Async<> Results::prune(Deadline deadline) {
  Call call;
  call.deadline = deadline;
  co_await database_.primary().write(prune_query, {}, call);
}

Async<std::optional<StoredResult>> Results::find(std::string id, Deadline deadline) {
  if (client_ == nullptr) co_return std::nullopt;
  redis::Command command{"GETRANGE", key_prefix + id, "0", std::to_string(shown_bytes_max)};
  auto reply = co_await client_->execute(std::move(command), deadline);
  if (reply.kind == redis::Reply::Kind::error) throw Unavailable("Redis refuses to be read: " + reply.text);
  co_return read_result(std::move(reply.text));
}

Async<> Results::succeed(std::string id, std::string result) {
  auto text = stored_text(id, "SUCCESS", result, {});
  co_await tell(std::move(id), std::move(text), Loss::matters);
}

Async<> Results::fail(std::string id, Failure failure) {
  auto text = stored_text(id, failure);
  co_await tell(std::move(id), std::move(text), Loss::matters);
}

Async<> Results::retry(std::string id, Failure failure) {
  auto text = stored_text(id, "RETRY", json_of(failure), traceback_of(failure));
  co_await tell(std::move(id), std::move(text), Loss::is_harmless);
}

Async<> Results::revoke(std::string id, std::string reason) {
  const Failure failure{"TaskRevokedError", "celery.exceptions", std::move(reason)};
  auto text = stored_text(id, "REVOKED", json_of(failure), {});
  co_await tell(std::move(id), std::move(text), Loss::matters);
}

}  // namespace cognive::celery
