// The REST API of a Cognive server as typed calls, each repeated until it has an answer or its deadline has passed.
//
// Repeating is safe because every call here is idempotent: ids are chosen by the caller, and the server knows its
// repeats.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/decimal.hpp"
#include "base/error.hpp"
#include "base/time.hpp"
#include "base/uuid.hpp"
#include "client/http.hpp"
#include "client/retry.hpp"

namespace cognive::client {

struct ApiOptions {
  std::string base_url;  // http://127.0.0.1:8000; a path prefix is kept, a trailing slash does not matter
  std::string api_key;
  std::string
      api_key_source;  // where the key comes from ("COGNIVE_API_KEY", "--api-key"): what a 401 tells people to check
  std::string authority_file = {};             // see HttpClient
  std::chrono::milliseconds deadline{60'000};  // of one call, with all its attempts and waits
  // Told before each wait; for people who would otherwise look at a program that seems to hang. May be empty.
  std::function<void(const Error& reason, std::chrono::milliseconds wait)> on_retry = {};
  Clock clock = Clock::real();
};

// Attributes left out are not sent: the server's defaults hold for a new agent, an existing one keeps what it has.
struct AgentPut {
  std::string name;
  std::optional<std::string> framework = std::nullopt;
  std::optional<std::string> description = std::nullopt;
  std::optional<std::string> environment = std::nullopt;
  std::optional<std::string> store = std::nullopt;  // none, metadata, hashed, redacted or full
};

struct Agent {
  Uuid id;
  std::string name;
};

struct RunStart {
  Uuid run_id;
  Uuid agent_id;
  std::optional<Timestamp> started_at = std::nullopt;  // when the server hears of it
  std::map<std::string, std::string> labels = {};
};

struct RunEnd {
  std::string status;                                // succeeded, failed or cancelled
  std::optional<Timestamp> ended_at = std::nullopt;  // when the server hears of it
  std::optional<std::string> error = std::nullopt;
};

struct Run {
  Uuid run_id;
  std::string status;
};

struct RejectedEvent {
  std::size_t index = 0;  // in the batch as sent
  std::vector<FieldError> errors;
};

struct EventsAnswer {
  std::int64_t accepted = 0;
  std::int64_t duplicates = 0;
  std::vector<RejectedEvent> rejected;
};

// A call that is going to be made.
struct AuthoriseRequest {
  Uuid reservation_id;
  Uuid agent_id;
  Uuid run_id;
  std::string model;
  std::optional<std::string> provider = std::nullopt;
  std::int64_t input_tokens = 0;
  std::int64_t output_tokens = 0;
};

struct AuthoriseAnswer {
  bool granted = false;
  // Of a refusal: which budget has no room, what it counts, and how much of that was wanted.
  std::string budget_id;
  std::string metric;
  Decimal wanted;
};

// Owns one connection; used by one thread at a time (parallel callers have a client each).
//
// A refusal by the server becomes an Error with the code of its status, its `detail` and its field errors. 429, 502,
// 503, 504 and lost connections are repeated, waiting at least as long as Retry-After says; when that does not fit into
// the deadline the call gives up at once. Certificates that are not trusted, bad addresses and answers that no Cognive
// server would give (Code::malformed) are not repeated. Members of answers that this client does not know are ignored.
class ApiClient {
 public:
  explicit ApiClient(ApiOptions options);

  // PUT /api/v1/agents: creates the agent, or finds the one of that name.
  Result<Agent> agent_put(const AgentPut& agent);
  // POST /api/v1/runs/start: `status` is that of the existing run when it is already known.
  Result<Run> run_start(const RunStart& run);
  // POST /api/v1/runs/{id}/end: Code::conflict when the run has already ended in another way.
  Result<void> run_end(const Uuid& run_id, const RunEnd& end);
  // POST /api/v1/events: `body` is a JSON array of events.
  Result<EventsAnswer> events_post(std::string_view body);
  // POST /api/v1/budgets/authorize. A budget that refuses is an answer, and not asked again. Code::conflict when the
  // reservation has ended already.
  Result<AuthoriseAnswer> authorise(const AuthoriseRequest& request);
  // GET `path`, which begins with a slash and may have a query; the body of the answer.
  Result<std::string> get(std::string_view path);
  // POST `path` with a JSON body; the body of the answer. Only for what may be repeated.
  Result<std::string> post(std::string_view path, std::string_view body);

 private:
  // Any status from 200 to 299, or 429 of a budget.
  Result<HttpResponse> call(std::string_view method, std::string_view path, std::string_view body);
  Result<std::string> call_for_body(std::string_view method, std::string_view path, std::string_view body);
  [[nodiscard]] Error refusal(std::string_view method, std::string_view path, HttpResponse& response) const;

  ApiOptions options_;
  HttpClient http_;
};

}  // namespace cognive::client
