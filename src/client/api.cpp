#include "client/api.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <concepts>

#include "base/text.hpp"
#include "json/cursor.hpp"
#include "json/writer.hpp"

namespace cognive::client {
namespace {

using json::Cursor;
using json::Kind;

// One attempt may not use up the whole deadline of a call: a server that hangs is asked again.
constexpr std::chrono::milliseconds attempt_max{30'000};

Code code_of(int status) {
  switch (status) {
    case 400:
      return Code::malformed;
    case 401:
      return Code::unauthenticated;
    case 403:
      return Code::forbidden;
    case 404:
      return Code::not_found;
    case 405:
      return Code::method_not_allowed;
    case 408:
      return Code::timed_out;
    case 409:
      return Code::conflict;
    case 413:
      return Code::too_large;
    case 415:
      return Code::unsupported_media;
    case 422:
      return Code::unprocessable;
    case 429:
      return Code::too_many;
    case 431:
      return Code::headers_too_large;
    case 502:
    case 503:
    case 504:
      return Code::unavailable;
    default:
      return Code::internal;
  }
}

bool worth_repeating(int status) {
  return status == 429 || status == 502 || status == 503 || status == 504;
}

// Visits the members of `value` when it is an object; other values are left to be skipped.
template <typename Visit>
void members(Cursor& value, Visit visit) {
  if (value.kind() != Kind::object) return;
  value.each_field([&](std::string_view key, Cursor& member) { visit(key, member); });
}

// Each takes a value of its type and leaves others, so that a missing member and one of another type are the same
// fault.
void take(Cursor& value, std::string& out) {
  if (value.kind() == Kind::string) out = value.string();
}

void take(Cursor& value, Decimal& out) {
  if (value.kind() == Kind::number) out = Decimal::parse(value.number()).value_or(Decimal{});
}

void take(Cursor& value, std::optional<Uuid>& out) {
  if (value.kind() == Kind::string) out = Uuid::parse(value.string());
}

template <std::integral T>
void take(Cursor& value, std::optional<T>& out) {
  if (value.kind() != Kind::number) return;
  const auto token = value.number();
  T number = 0;
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), number);
  if (error == std::errc{} && end == token.data() + token.size() && number >= 0) out = number;
}

void take(Cursor& value, std::vector<FieldError>& out) {
  if (value.kind() != Kind::array) return;
  value.each_item([&](std::size_t, Cursor& item) {
    FieldError& fault = out.emplace_back();
    members(item, [&](std::string_view key, Cursor& member) {
      if (key == "pointer") take(member, fault.pointer);
      if (key == "message") take(member, fault.message);
      if (key == "rejected") fault.rejected = member.excerpt();
    });
  });
}

void take(Cursor& value, std::optional<std::vector<RejectedEvent>>& out) {
  if (value.kind() != Kind::array) return;
  out.emplace();
  value.each_item([&](std::size_t, Cursor& item) {
    RejectedEvent& event = out->emplace_back();
    std::optional<std::size_t> index;
    members(item, [&](std::string_view key, Cursor& member) {
      if (key == "index") take(member, index);
      if (key == "errors") take(member, event.errors);
    });
    if (!index) throw json::Malformed("a rejected event has no index");
    event.index = *index;
  });
}

std::unexpected<Error> not_understood(std::string_view request, std::string_view why) {
  return fail(
      Code::malformed,
      fmt::format("The answer to {} is not what a Cognive server says: {}. Is the address right?", request, why));
}

// Reads the members of an answer that the caller needs; a newer server may send more.
template <typename Visit>
Result<void> read_answer(std::string& body, std::string_view request, Visit visit) {
  const auto walked = json::walk(body, [&](Cursor& root) { members(root, visit); });
  if (!walked) return not_understood(request, "it is not JSON, or not the JSON that was expected");
  return {};
}

struct Problem {
  std::string title;
  std::string detail;
  std::string request_id;
  std::vector<FieldError> fields;
};

// Whether it is a budget that has no room, which tells more than whoever else wants callers to slow down.
bool is_of_budget(const HttpResponse& response) {
  if (response.status != 429) return false;
  std::string body = response.body;
  bool found = false;
  const auto walked = json::walk(body, [&](Cursor& root) {
    members(root,
            [&](std::string_view key, Cursor& value) { found |= key == "budget" && value.kind() == Kind::object; });
  });
  return walked && found;
}

// What an error's body says. Empty for anything that is not problem+json (a proxy's HTML page).
Problem read_problem(std::string& body) {
  Problem problem;
  const auto walked = json::walk(body, [&](Cursor& root) {
    members(root, [&](std::string_view key, Cursor& value) {
      if (key == "title") take(value, problem.title);
      if (key == "detail") take(value, problem.detail);
      if (key == "request_id") take(value, problem.request_id);
      if (key == "errors") take(value, problem.fields);
    });
  });
  if (!walked) return {};
  return problem;
}

void optional_field(json::Writer& out, std::string_view name, const std::optional<std::string>& value) {
  if (value) out.field(name, *value);
}

}  // namespace

ApiClient::ApiClient(ApiOptions options)
    : options_(std::move(options)), http_(options_.api_key, options_.authority_file) {
  while (options_.base_url.ends_with('/')) options_.base_url.pop_back();
}

Result<Agent> ApiClient::agent_put(const AgentPut& agent) {
  json::Writer out;
  out.begin_object();
  out.field("name", agent.name);
  optional_field(out, "framework", agent.framework);
  optional_field(out, "description", agent.description);
  optional_field(out, "environment", agent.environment);
  optional_field(out, "store", agent.store);
  out.end_object();
  auto body = call_for_body("PUT", "/api/v1/agents", out.text());
  if (!body) return std::unexpected(std::move(body).error());

  constexpr std::string_view request = "PUT /api/v1/agents";
  std::optional<Uuid> id;
  Agent answer;
  const auto done = read_answer(*body, request, [&](std::string_view key, Cursor& value) {
    if (key == "id") take(value, id);
    if (key == "name") take(value, answer.name);
  });
  if (!done) return std::unexpected(done.error());
  if (!id) return not_understood(request, "it has no id");
  answer.id = *id;
  return answer;
}

Result<Run> ApiClient::run_start(const RunStart& run) {
  json::Writer out;
  out.begin_object();
  out.field("run_id", run.run_id.text());
  out.field("agent_id", run.agent_id.text());
  if (run.started_at) out.field("started_at", run.started_at->text());
  if (!run.labels.empty()) {
    out.key("labels");
    out.begin_object();
    for (const auto& [name, value] : run.labels) out.field(name, value);
    out.end_object();
  }
  out.end_object();
  auto body = call_for_body("POST", "/api/v1/runs/start", out.text());
  if (!body) return std::unexpected(std::move(body).error());

  constexpr std::string_view request = "POST /api/v1/runs/start";
  std::optional<Uuid> id;
  Run answer;
  const auto done = read_answer(*body, request, [&](std::string_view key, Cursor& value) {
    if (key == "run_id") take(value, id);
    if (key == "status") take(value, answer.status);
  });
  if (!done) return std::unexpected(done.error());
  if (!id || answer.status.empty()) return not_understood(request, "it has no run_id or no status");
  answer.run_id = *id;
  return answer;
}

Result<void> ApiClient::run_end(const Uuid& run_id, const RunEnd& end) {
  json::Writer out;
  out.begin_object();
  out.field("status", end.status);
  if (end.ended_at) out.field("ended_at", end.ended_at->text());
  optional_field(out, "error", end.error);
  out.end_object();
  const auto body = call_for_body("POST", "/api/v1/runs/" + run_id.text() + "/end", out.text());
  if (!body) return std::unexpected(body.error());
  return {};
}

Result<EventsAnswer> ApiClient::events_post(std::string_view events) {
  auto body = call_for_body("POST", "/api/v1/events", events);
  if (!body) return std::unexpected(std::move(body).error());

  constexpr std::string_view request = "POST /api/v1/events";
  std::optional<std::int64_t> accepted;
  std::optional<std::int64_t> duplicates;
  std::optional<std::vector<RejectedEvent>> rejected;
  const auto done = read_answer(*body, request, [&](std::string_view key, Cursor& value) {
    if (key == "accepted") take(value, accepted);
    if (key == "duplicates") take(value, duplicates);
    if (key == "rejected") take(value, rejected);
  });
  if (!done) return std::unexpected(done.error());
  if (!accepted || !duplicates || !rejected) {
    return not_understood(request, "it does not say what was accepted, duplicate and rejected");
  }
  return EventsAnswer{.accepted = *accepted, .duplicates = *duplicates, .rejected = *std::move(rejected)};
}

Result<AuthoriseAnswer> ApiClient::authorise(const AuthoriseRequest& request) {
  json::Writer out;
  out.begin_object();
  out.field("reservation_id", request.reservation_id.text());
  out.field("agent_id", request.agent_id.text());
  out.field("run_id", request.run_id.text());
  out.field("model", request.model);
  optional_field(out, "provider", request.provider);
  out.key("usage");
  out.begin_object();
  out.key("input_tokens");
  out.integer(request.input_tokens);
  out.key("output_tokens");
  out.integer(request.output_tokens);
  out.end_object();
  out.end_object();
  constexpr std::string_view path = "/api/v1/budgets/authorize";
  auto response = call("POST", path, out.text());
  if (!response) return std::unexpected(std::move(response).error());
  if (response->status != 429) return AuthoriseAnswer{.granted = true};

  AuthoriseAnswer answer;
  const auto done =
      read_answer(response->body, "POST /api/v1/budgets/authorize", [&](std::string_view key, Cursor& value) {
        if (key != "budget") return;
        members(value, [&](std::string_view name, Cursor& member) {
          if (name == "id") take(member, answer.budget_id);
          if (name == "metric") take(member, answer.metric);
          if (name == "wanted") take(member, answer.wanted);
        });
      });
  if (!done) return std::unexpected(done.error());
  return answer;
}

Result<std::string> ApiClient::get(std::string_view path) {
  return call_for_body("GET", path, {});
}

Result<std::string> ApiClient::post(std::string_view path, std::string_view body) {
  return call_for_body("POST", path, body);
}

Result<std::string> ApiClient::call_for_body(std::string_view method, std::string_view path, std::string_view body) {
  auto response = call(method, path, body);
  if (!response) return std::unexpected(std::move(response).error());
  if (response->status == 429) return fail(refusal(method, path, *response));
  return std::move(response->body);
}

Result<HttpResponse> ApiClient::call(std::string_view method, std::string_view path, std::string_view body) {
  const std::string url = options_.base_url + std::string(path);
  const auto begin = options_.clock.now();
  const auto elapsed = [&] {
    return std::chrono::duration_cast<std::chrono::milliseconds>(options_.clock.now() - begin);
  };
  Backoff backoff;
  for (int attempts = 1;; ++attempts) {
    auto response = http_.send({.method = method, .url = url, .body = body, .content_type = "application/json"},
                               std::min(options_.deadline - elapsed(), attempt_max));
    if (response && (response->status / 100 == 2 || is_of_budget(*response))) return std::move(*response);

    const bool again = response ? worth_repeating(response->status) : response.error().code == Code::unavailable;
    const auto retry_after = response ? response->retry_after : std::nullopt;
    Error error = response ? refusal(method, path, *response) : std::move(response).error();
    if (!again) return fail(std::move(error));

    const auto wait = backoff.next(retry_after);
    if (elapsed() + wait >= options_.deadline) {
      error.detail += fmt::format(" Gave up after {} in {:.3g} s.",
                                  attempts == 1 ? "one attempt" : fmt::format("{} attempts", attempts),
                                  std::chrono::duration<double>(elapsed()).count());
      if (retry_after) error.detail += fmt::format(" The server asked for a wait of {} s.", retry_after->count());
      return fail(std::move(error));
    }
    if (options_.on_retry) options_.on_retry(error, wait);
    options_.clock.sleep(wait);
  }
}

Error ApiClient::refusal(std::string_view method, std::string_view path, HttpResponse& response) const {
  Problem problem = read_problem(response.body);
  const int status = response.status;
  Error error{code_of(status), std::move(problem.detail), std::move(problem.fields)};
  if (error.detail.empty()) error.detail = std::move(problem.title);
  const bool silent = error.detail.empty();
  const std::string request = fmt::format("{} {}", method, path.substr(0, path.find('?')));
  if (silent) {
    error.detail = status / 100 == 3
                       ? fmt::format(
                             "The server answered {} with status {}: it points to another address; "
                             "give that one instead.",
                             request, status)
                       : fmt::format("The server answered {} with status {} and no explanation.", request, status);
    if (status == 404 || status == 405) error.detail += " Is this the address of a Cognive server?";
  }
  if (status == 401) {
    error.detail = options_.api_key.empty()
                       ? fmt::format("The server wants an API key and none was sent: set {}.", options_.api_key_source)
                       : fmt::format("The server does not accept the API key from {}{}", options_.api_key_source,
                                     silent ? "." : ": " + error.detail);
  }
  if (status >= 500 && !problem.request_id.empty()) error.detail += fmt::format(" (request {})", problem.request_id);
  return error;
}

}  // namespace cognive::client
