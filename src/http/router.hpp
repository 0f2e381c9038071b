// Typed routes: each declares who may call it, what it reads and what it answers; dispatching, validation, errors and
// the OpenAPI description all follow from that one declaration.
//
//   router.add({.method = "GET", .path = "/api/v1/agents/{id}", .id = "agent_get", .tag = "Agents",
//               .summary = "Get one agent", .permission = "agents:read"},
//              [&](const Call& call, AgentPath path, NoInput) { return service.get(call, path.id); });
//
// A handler is a plain function or a lambda that returns a service's coroutine; it gets parameters (path and query) and
// body as described structs, already valid, and returns Async<Result<Answer>> or Async<Result<Reply<Answer>>>.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/error.hpp"
#include "http/cors.hpp"
#include "http/limits.hpp"
#include "http/message.hpp"
#include "http/problem.hpp"
#include "http/recent_writes.hpp"
#include "http/route_tree.hpp"
#include "json/bind.hpp"
#include "json/schema.hpp"
#include "observe/metrics.hpp"
#include "runtime/call.hpp"

namespace cognive::http {

// The permission of routes that need no credentials.
inline constexpr std::string_view open_to_all = "open";
// Of routes that everybody may call who says who they are.
inline constexpr std::string_view signed_in = "signed_in";

struct Operation {
  std::string_view method;
  std::string_view path;  // {name} stands for one segment
  std::string_view id;    // operationId: resource first, verb last
  std::string_view tag;
  std::string_view summary;
  std::string_view description = {};
  std::string_view permission;  // `resource:verb`, signed_in or open_to_all; must not be empty
  int status = 200;             // of success
  std::vector<int> also = {};   // other statuses that callers of this operation meet
  bool streams_body = false;    // reads it from Request::stream, however long it is
  bool is_probe = false;        // of whoever keeps the process running: answered however often others ask
  bool heeds_if_match = false;  // its service changes only the state that If-Match names
};

// No parameters, or no body.
struct NoInput {
  static constexpr auto fields() { return json::fields(); }
};

// An answer whose status or headers depend on what happened.
template <typename T>
struct Reply {
  T body;
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers = {};
};

// Decides who is calling. Code::unauthenticated when nobody whom we know; may throw Unavailable.
class Gate {
 public:
  Gate() = default;
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  virtual ~Gate() = default;
  virtual Async<Result<Principal>> admit(const Request& request) = 0;
};

struct Refusal {
  Principal principal;
  std::string address;
  std::optional<Uuid> account;  // whose credentials were tried, of those who did not prove who they are
  std::string operation;
  int status = 0;  // 401, 403 or 429
};

// Is told of every request that is refused for who makes it, or how often.
class Refusals {
 public:
  Refusals() = default;
  Refusals(const Refusals&) = delete;
  Refusals& operator=(const Refusals&) = delete;
  virtual ~Refusals() = default;
  // Never waits.
  virtual void note(Refusal refusal) = 0;
};

// Answers to POSTs with an Idempotency-Key, kept for their repeats (draft-ietf-httpapi-idempotency-key-header).
class Repeats {
 public:
  Repeats() = default;
  Repeats(const Repeats&) = delete;
  Repeats& operator=(const Repeats&) = delete;
  virtual ~Repeats() = default;

  // One request that nobody has answered yet. It goes along with its call: see Call::together and Call::made_id.
  class First {
   public:
    First() = default;
    First(const First&) = delete;
    First& operator=(const First&) = delete;
    virtual ~First() = default;
    virtual void go_along(Call& call) = 0;
    // Keeps the answer, unless it refuses: then the key is free again, if nothing has been changed.
    virtual Async<> answered(const Response& response) = 0;
    // There was no answer, and nobody knows what has been done: a repeat may try again, for the same made_id.
    virtual Async<> given_up() = 0;
  };

  // The answer that was kept, or a new request. Code::unprocessable when the key is of another request; Code::conflict
  // when that is being answered at this moment, or its answer was lost with its process after it took effect.
  virtual Async<Result<std::variant<Response, std::unique_ptr<First>>>> look(const Call& call, std::string key,
                                                                             const Request& request) = 0;
};

using PathParameters = std::vector<std::pair<std::string, std::string>>;

// The values of the placeholders of a path template in a path that matches it.
PathParameters path_parameters(std::string_view path_template, const Request& request);

// What is wrong with parameters and body, in one error.
Error with_body_faults(Error parameters, Error body);

// The media type of the body: lower case, without parameters; empty when the request does not say.
std::string media_type(const Request& request);

// The body of a request that says that it is JSON, or says nothing; otherwise the error for the caller.
Result<std::string> json_body(const Request& request);

class Router {
 public:
  using RawHandler = std::function<Async<Response>(const Call&, const Request&)>;

  // What the OpenAPI description says of a route; filled by add.
  struct Description {
    std::vector<std::string> parameters;  // OpenAPI parameter objects
    std::string body;                     // schema, empty: no body
    std::vector<std::string> body_types = {"application/json"};
    std::string answer;  // schema, empty: no body
    std::string answer_type = "application/json";
  };

  // What a router asks and tells; all of it must outlive the router.
  struct Surroundings {
    Gate* gate = nullptr;  // null: every route is open
    RecentWrites& recent_writes;
    Metrics& metrics;
    Limits& limits;
    Refusals& refusals;
    Cors& cors;
    SharedBuckets* shared_buckets = nullptr;  // null: this process counts by itself
    Repeats* repeats = nullptr;               // null: nobody keeps answers
  };

  explicit Router(Surroundings surroundings);
  Router(const Router&) = delete;
  Router& operator=(const Router&) = delete;
  ~Router();

  template <typename Handler>
  void add(Operation operation, Handler handler);

  // A route with parameters of a described struct that reads its body and answers by itself: what is large or no JSON.
  // `handler`: (const Call&, Parameters, const Request&) -> Async<Response>.
  template <typename Parameters, typename Handler>
  void add_raw(Operation operation, Description description, Handler handler);

  // A route that reads and answers by itself: batches, documents.
  void add_raw(Operation operation, Description description, RawHandler handler);

  // Answers anything: never throws except when its coroutine is cancelled.
  Async<Response> dispatch(Request& request) const;

  // Whether everybody may call it.
  [[nodiscard]] bool is_open(const Request& request) const;

  // Whether its body is read by its handler.
  [[nodiscard]] bool streams_body(const Request& request) const;
  // Whether that may be, by the beginning of its target: cheap, so that others need not be looked at twice.
  [[nodiscard]] bool may_stream_body(std::string_view target) const;

  // For a request whose body has not been read yet: the answer when none of it need be, because there is no such route
  // or nobody whom we know asks. Never throws except when its coroutine is cancelled.
  Async<std::optional<Response>> refuse_early(const Request& request) const;

  // Schemas that routes refer to; raw routes may add theirs.
  json::Components& components() { return components_; }

  // A group of operations, for whoever reads the description.
  struct Tag {
    std::string_view name;
    std::string_view description;
  };

  // OpenAPI 3.1 document of all routes. `tags`: in the order in which they are shown.
  [[nodiscard]] std::string openapi(std::string_view title, std::string_view version, std::span<const Tag> tags) const;

  // Every route in short, for tables and tests.
  struct Listed {
    std::string method;
    std::string path;
    std::string permission;
    std::string summary;
  };
  [[nodiscard]] std::vector<Listed> list() const;

  // Of an answer, as the description of a raw route wants it.
  template <typename Answer>
  std::string answer_schema();

 private:
  struct Route;

  template <typename Parameters>
  void describe_parameters(std::string_view path, Description& description);

  // Null when there is none.
  [[nodiscard]] Route* find(const Request& request) const;
  [[nodiscard]] Response no_route(const Request& request) const;
  [[nodiscard]] Response explain_no_route(const Request& request) const;
  Async<std::optional<Response>> refuse_stranger(const Route& route, const Request& request) const;
  static Response failure(const Route& route, const Request& request, std::string_view reason);
  static Response unavailable(const Route& route, const Request& request, std::string_view reason);
  void count(Route& route, int status) const;

  // Sets the principal of the call as soon as it is known.
  [[nodiscard]] Async<Response> guarded(const Route& route, const Request& request, Call& call) const;
  [[nodiscard]] Async<Response> admitted(const Route& route, const Request& request, Call& call) const;
  [[nodiscard]] Async<Response> routed(Request& request) const;
  // By the handler, or as it was answered before.
  [[nodiscard]] Async<Response> handled(const Route& route, const Request& request, Call& call) const;

  Surroundings around_;
  std::vector<std::unique_ptr<Route>> routes_;
  RouteTree<Route> tree_;                    // of them
  std::vector<std::string_view> streaming_;  // what the paths of operations that stream their bodies begin with
  json::Components components_;
};

namespace detail {

// The text of one parameter as its JSON: numbers and booleans bare, everything else as a string; lists split at commas.
enum class TextKind { string, bare, list };

template <typename T>
constexpr TextKind text_kind() {
  if constexpr (json::detail::is_optional<T>) {
    return text_kind<typename T::value_type>();
  } else if constexpr (json::detail::is_vector<T>) {
    return TextKind::list;
  } else if constexpr (std::is_same_v<T, std::int64_t> || std::is_same_v<T, bool> || std::is_same_v<T, Decimal>) {
    return TextKind::bare;
  } else {
    return TextKind::string;
  }
}

struct ParameterShape {
  std::string_view name;
  TextKind kind;
};

// A JSON object of the parameters, to be bound like a body. Unknown ones are kept, so that binding can refuse them;
// with `rest` they become members of the object of that name instead.
std::string parameters_json(const PathParameters& path, const Request& request, std::span<const ParameterShape> shapes,
                            std::string_view rest);

// Pointers into the object above, rewritten to say `?name`, or `{name}` of what stands in the path alone.
Error parameter_error(Error error, const PathParameters& path, const Request& request, std::string_view rest);

std::string parameter_description(std::string_view name, bool in_path, bool required, std::string_view description,
                                  const std::string& schema);

template <typename P>
Result<P> read_parameters(const PathParameters& path, const Request& request) {
  static const auto shapes = std::apply(
      [](const auto&... field) {
        return std::vector<ParameterShape>{
            {field.name, text_kind<std::remove_cvref_t<decltype(std::declval<P>().*(field.member))>>()}...};
      },
      P::fields());
  std::string_view rest;
  if constexpr (requires { P::rest; }) rest = P::rest;
  auto value = json::decode<P>(parameters_json(path, request, shapes, rest));
  if (!value) return std::unexpected(parameter_error(std::move(value.error()), path, request, rest));
  return value;
}

template <typename B>
Result<B> read_body(const Request& request) {
  auto text = json_body(request);
  if (!text) return std::unexpected(std::move(text.error()));
  return json::decode<B>(std::move(*text));
}

template <typename T>
struct Unwrapped {
  using Body = T;
  static Response response(T&& value, int status) {
    return {.status = status, .content_type = "application/json", .body = json::encode(value), .headers = {}};
  }
};
template <typename T>
struct Unwrapped<Reply<T>> {
  using Body = T;
  static Response response(Reply<T>&& value, int) {
    return {.status = value.status,
            .content_type = "application/json",
            .body = json::encode(value.body),
            .headers = std::move(value.headers)};
  }
};

template <typename T>
struct AnswerOf;
template <typename T>
struct AnswerOf<Async<Result<T>>> {
  using type = T;
};

// The types of a handler's (const Call&, Parameters, Body) -> Async<Result<Answer>>.
template <typename F>
struct Signature : Signature<decltype(&F::operator())> {};
template <typename F, typename R, typename P, typename B>
struct Signature<R (F::*)(const Call&, P, B) const> {
  using Parameters = P;
  using Body = B;
  using Answer = typename AnswerOf<R>::type;
};

// `handler` lives in the router, as long as requests are answered.
template <typename Handler>
Async<Response> run_typed(const Handler& handler, std::string_view path_template, int status, const Call& call,
                          const Request& request) {
  using Types = Signature<Handler>;
  using Body = typename Types::Body;
  auto parameters = read_parameters<typename Types::Parameters>(path_parameters(path_template, request), request);
  Result<Body> body;
  if constexpr (!std::is_same_v<Body, NoInput>) body = read_body<Body>(request);
  if (!parameters && !body) co_return problem(with_body_faults(parameters.error(), body.error()), request);
  if (!parameters) co_return problem(parameters.error(), request);
  if (!body) co_return problem(body.error(), request);
  auto answer = co_await handler(call, std::move(*parameters), std::move(*body));
  if (!answer) co_return problem(answer.error(), request);
  co_return Unwrapped<typename Types::Answer>::response(std::move(*answer), status);
}

template <typename Parameters, typename Handler>
Async<Response> run_raw(const Handler& handler, std::string_view path_template, const Call& call,
                        const Request& request) {
  auto parameters = read_parameters<Parameters>(path_parameters(path_template, request), request);
  if (!parameters) co_return problem(parameters.error(), request);
  co_return co_await handler(call, std::move(*parameters), request);
}

}  // namespace detail

template <typename Parameters>
void Router::describe_parameters(std::string_view path, Description& description) {
  std::apply(
      [&](const auto&... field) {
        const auto one = [&](const auto& f) {
          using Member = std::remove_cvref_t<decltype(std::declval<Parameters>().*(f.member))>;
          const bool in_path = path.find("{" + std::string(f.name) + "}") != std::string_view::npos;
          const bool required = in_path || (!json::detail::is_optional<Member> && !f.rules.optional);
          json::Writer schema;
          json::schema_object<Member>(schema, f.rules, components_);
          description.parameters.push_back(
              detail::parameter_description(f.name, in_path, required, f.description, schema.text()));
        };
        (one(field), ...);
      },
      Parameters::fields());
}

template <typename Answer>
std::string Router::answer_schema() {
  json::Writer schema;
  components_.answers = true;
  json::schema_object<Answer>(schema, {}, components_);
  components_.answers = false;
  return std::move(schema).text();
}

template <typename Parameters, typename Handler>
void Router::add_raw(Operation operation, Description description, Handler handler) {
  const auto path_template = operation.path;
  describe_parameters<Parameters>(path_template, description);
  add_raw(std::move(operation), std::move(description),
          [handler = std::move(handler), path_template](const Call& call, const Request& request) {
            return detail::run_raw<Parameters>(handler, path_template, call, request);
          });
}

template <typename Handler>
void Router::add(Operation operation, Handler handler) {
  using Types = detail::Signature<Handler>;
  Description description;
  describe_parameters<typename Types::Parameters>(operation.path, description);
  if constexpr (!std::is_same_v<typename Types::Body, NoInput>) {
    json::Writer schema;
    json::schema_object<typename Types::Body>(schema, {}, components_);
    description.body = std::move(schema).text();
  }
  description.answer = answer_schema<typename detail::Unwrapped<typename Types::Answer>::Body>();
  const auto path_template = operation.path;
  const int status = operation.status;
  add_raw(std::move(operation), std::move(description),
          [handler = std::move(handler), path_template, status](const Call& call, const Request& request) {
            return detail::run_typed(handler, path_template, status, call, request);
          });
}

}  // namespace cognive::http
