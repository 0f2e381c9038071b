#include "http/router.hpp"

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <charconv>
#include <set>

#include "base/text.hpp"
#include "http/problem.hpp"
#include "http/representation.hpp"
#include "http/route.hpp"
#include "http/target.hpp"
#include "observe/log.hpp"

namespace cognive::http {
namespace {

std::vector<std::string_view> segments(std::string_view path) {
  std::vector<std::string_view> out;
  if (path.starts_with('/')) path.remove_prefix(1);
  for (;;) {
    const auto end = path.find('/');
    out.push_back(path.substr(0, end));
    if (end == std::string_view::npos) return out;
    path.remove_prefix(end + 1);
  }
}

bool is_placeholder(std::string_view segment) {
  return segment.starts_with('{') && segment.ends_with('}');
}

bool matches(const std::vector<std::string>& pattern, const std::vector<std::string>& path) {
  if (pattern.size() != path.size()) return false;
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (is_placeholder(pattern[i]) ? path[i].empty() : pattern[i] != path[i]) return false;
  }
  return true;
}

}  // namespace

// Names of policies.
constexpr std::string_view by_address = "address";
constexpr std::string_view by_caller = "caller";

Router::Router(Surroundings surroundings) : around_(surroundings) {}

Router::~Router() = default;

void Router::add_raw(Operation operation, Description description, RawHandler handler) {
  if (operation.permission.empty())
    throw std::logic_error("a route without a permission: " + std::string(operation.path));
  if (around_.gate == nullptr && operation.permission != open_to_all)
    throw std::logic_error("a route that no gate guards");
  const auto parts = segments(operation.path);
  if (operation.streams_body) streaming_.push_back(operation.path.substr(0, operation.path.find('{')));
  auto duration = around_.metrics.histogram(
      "http_request_duration_seconds", "Time to answer, from the end of the request's body",
      {{"method", std::string(operation.method)}, {"path", std::string(operation.path)}}, duration_buckets());
  routes_.push_back(std::make_unique<Route>(Route{std::move(operation),
                                                  std::move(description),
                                                  std::move(handler),
                                                  std::vector<std::string>(parts.begin(), parts.end()),
                                                  {},
                                                  duration}));
  auto& route = *routes_.back();
  tree_.add(route.operation.method, route.segments, route);
}

namespace {

constexpr std::int64_t age_seconds_max = 86'400 * 365;

constexpr const char* token_header = "X-Consistency-Token";

// The later of what the request asks for and what its caller has just written here.
Result<std::optional<Position>> not_before(const Request& request, const RecentWrites& recent, const Uuid& caller) {
  auto out = recent.find(caller);
  const auto text = request.header("x-consistency-token");
  if (text.empty()) return out;
  const auto token = Position::parse_token(text);
  if (!token) {
    return fail(Code::malformed,
                "X-Consistency-Token is not one that this service gave out; send the header's value "
                "from an earlier answer as it was.");
  }
  return std::max(out, std::optional(*token));
}

// RFC 9111, section 5.2.1: how old what is read may be; nothing when that is not said.
std::optional<std::chrono::seconds> age_max(const Request& request) {
  std::string_view rest = request.header("cache-control");
  std::optional<std::chrono::seconds> out;
  while (!rest.empty()) {
    const auto end = rest.find(',');
    const auto directive = lower(trim(rest.substr(0, end)));
    rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
    constexpr std::string_view prefix = "max-age=";
    if (directive == "no-cache" || directive == "no-store") return std::chrono::seconds{0};
    if (!directive.starts_with(prefix)) continue;
    // A number that is none is taken for the strictest; one that is too large for what it means.
    std::int64_t seconds = 0;
    const auto [last, error] =
        std::from_chars(directive.data() + prefix.size(), directive.data() + directive.size(), seconds);
    if (error == std::errc::result_out_of_range) seconds = age_seconds_max;
    if (last != directive.data() + directive.size()) seconds = 0;
    out = std::chrono::seconds{std::clamp<std::int64_t>(seconds, 0, age_seconds_max)};
  }
  return out;
}

}  // namespace

Async<Response> Router::guarded(const Route& route, const Request& request, Call& call) const {
  auto& limit = around_.limits.by_address;
  if (!limit || route.operation.is_probe) co_return co_await admitted(route, request, call);
  const auto verdict = co_await take(around_.shared_buckets, by_address, *limit, request.address);
  auto response = verdict.allowed ? co_await admitted(route, request, call)
                                  : problem(over_limit(by_address, *limit, verdict), request);
  add_limit_fields(response, by_address, *limit, verdict);
  co_return response;
}

namespace {

bool is_given(const Request& request, std::string_view header) {
  return request.headers.contains(header);
}

// What the route can do nothing about: conditions, and kinds of answers that it has not.
Result<void> check_wishes(const Operation& operation, const Router::Description& description, const Request& request) {
  if (is_given(request, "if-match") && !operation.heeds_if_match && operation.method != "GET")
    return fail(Code::precondition_failed, "This operation heeds no If-Match: leave it out.");
  if (is_given(request, "if-match") && trim(request.header("if-match")).empty())
    return fail(Code::malformed, "If-Match names nothing.");
  const std::string_view kind = description.answer.empty() ? std::string_view() : description.answer_type;
  if (kind.find('*') == std::string_view::npos && !accepts(request, kind))
    return fail(Code::not_acceptable, fmt::format("This answers with {}, which Accept leaves out.", kind));
  return {};
}

}  // namespace

Async<Response> Router::handled(const Route& route, const Request& request, Call& call) const {
  constexpr std::size_t key_length_max = 255;
  const auto key = request.header("idempotency-key");
  if (around_.repeats == nullptr || route.operation.method != "POST" || !is_given(request, "idempotency-key"))
    co_return co_await route.handler(call, request);
  if (key.empty() || key.size() > key_length_max || !is_visible(key))
    co_return problem({Code::malformed,
                       fmt::format("Idempotency-Key must be 1 to {} visible characters of ASCII.", key_length_max),
                       {}},
                      request);
  if (route.operation.streams_body)
    co_return problem({Code::malformed, "This takes an id of your own in place of an Idempotency-Key.", {}}, request);
  auto looked = co_await around_.repeats->look(call, std::string(key), request);
  if (!looked) co_return problem(looked.error(), request);
  if (auto* const answer = std::get_if<Response>(&*looked)) {
    answer->headers.emplace_back("Idempotent-Replayed", "true");
    co_return std::move(*answer);
  }
  const auto first = std::move(std::get<1>(*looked));
  first->go_along(call);
  Response response;
  std::exception_ptr fault;
  try {
    response = co_await route.handler(call, request);
  } catch (...) {
    fault = std::current_exception();
  }
  if (fault) {
    co_await first->given_up();
    std::rethrow_exception(fault);
  }
  co_await first->answered(response);
  co_return response;
}

Async<Response> Router::admitted(const Route& route, const Request& request, Call& call) const {
  const auto& operation = route.operation;
  if (const auto may = check_wishes(operation, route.description, request); !may)
    co_return problem(may.error(), request);
  if (operation.permission == open_to_all) co_return co_await route.handler(call, request);
  auto principal = co_await around_.gate->admit(request);
  if (!principal) co_return problem(principal.error(), request);
  call.principal = std::move(*principal);
  std::optional<RateLimiter::Verdict> verdict;
  auto& limit = around_.limits.by_caller;
  if (limit) verdict = co_await take(around_.shared_buckets, by_caller, *limit, call.principal.id.text());
  const auto with_limit = [&](Response response) {
    if (verdict) add_limit_fields(response, by_caller, *limit, *verdict);
    return response;
  };
  if (verdict && !verdict->allowed) {
    around_.refusals.note({.principal = call.principal,
                           .address = request.address,
                           .account = {},
                           .operation = std::string(operation.id),
                           .status = status_of(Code::too_many)});
    co_return with_limit(problem(over_limit(by_caller, *limit, *verdict), request));
  }
  if (operation.permission != signed_in && !call.principal.may(operation.permission)) {
    const auto detail = call.principal.limited_by.empty()
                            ? fmt::format("This needs the permission {}.", operation.permission)
                            : call.principal.limited_by;
    co_return with_limit(problem({Code::forbidden, detail, {}}, request));
  }
  const auto position = not_before(request, around_.recent_writes, call.principal.id);
  if (!position) co_return with_limit(problem(position.error(), request));
  call.not_before = *position;
  call.age_max = age_max(request);
  call.if_match = request.header("if-match");
  auto response = co_await handled(route, request, call);
  if (call.written->position != Position{}) {
    around_.recent_writes.note(call.principal.id, call.written->position);
    response.headers.emplace_back(token_header, call.written->position.token());
  }
  co_return with_limit(std::move(response));
}

Response Router::failure(const Route& route, const Request& request, std::string_view reason) {
  log(Level::error, "request failed",
      {{"request_id", request.id}, {"operation", route.operation.id}, {"reason", reason}});
  return problem({Code::internal, "Something went wrong on our side; the request id finds it in the log.", {}},
                 request);
}

// Nothing at this path, or nothing for this method: then Allow says what there is (RFC 9110, section 15.5.6).
Response Router::no_route(const Request& request) const {
  auto response = explain_no_route(request);
  around_.metrics
      .counter("http_requests_total", "Requests answered",
               {{"method", "any"}, {"path", "unmatched"}, {"status", std::to_string(response.status)}})
      .add();
  return response;
}

Response Router::explain_no_route(const Request& request) const {
  std::set<std::string_view> allowed;
  for (const auto& route : routes_) {
    if (matches(route->segments, request.segments)) allowed.insert(route->operation.method);
  }
  if (allowed.empty() && request.method == "OPTIONS" && request.segments.empty()) {
    return {.status = 204, .content_type = "", .headers = {{"Allow", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"}}};
  }
  if (allowed.empty()) {
    return problem({Code::not_found, "There is nothing at this path.", {}}, request);
  }
  allowed.insert("OPTIONS");
  if (allowed.contains("GET")) allowed.insert("HEAD");
  const auto allow = fmt::format("{}", fmt::join(allowed, ", "));
  Response response{.status = 204, .content_type = ""};
  if (request.method != "OPTIONS") {
    response =
        problem({Code::method_not_allowed, request.method + " is not possible here; " + allow + " are.", {}}, request);
  }
  response.headers.emplace_back("Allow", allow);
  return response;
}

namespace {

// While a dependency is away every request fails alike.
void log_unavailable(std::string_view operation, std::string_view request_id, std::string_view reason) {
  // Each reason by itself: one that is frequent must not hide another.
  constexpr std::size_t reasons_max = 16;
  thread_local std::map<std::string, LogThrottle, std::less<>> throttles;
  if (throttles.size() >= reasons_max && !throttles.contains(reason)) throttles.clear();
  const auto held_back = throttles.try_emplace(std::string(reason)).first->second.pass();
  if (!held_back) return;
  log(Level::warning, "request not answered: dependency away",
      {{"request_id", request_id}, {"operation", operation}, {"reason", reason}, {"more_before", *held_back}});
}

}  // namespace

// Whether an answer refuses somebody for who they are, or how often they ask without saying who. A budget without room
// answers 429 too, but to whoever may ask.
static bool is_refusal(const Operation& operation, const Principal& principal, int status) {
  if (status == 401 || status == 403) return true;
  return status == 429 && (operation.permission == open_to_all || principal.kind == Principal::Kind::anonymous);
}

Async<Response> Router::dispatch(Request& request) const {
  auto response = co_await routed(request);
  compress(request, response);
  around_.cors.allow(request, response);
  co_return response;
}

Router::Route* Router::find(const Request& request) const {
  const std::string_view method = request.method == "HEAD" ? std::string_view("GET") : std::string_view(request.method);
  return tree_.find(method, request.segments);
}

bool Router::is_open(const Request& request) const {
  const auto* const found = find(request);
  return found != nullptr && found->operation.permission == open_to_all;
}

bool Router::streams_body(const Request& request) const {
  const auto* const found = find(request);
  return found != nullptr && found->operation.streams_body;
}

bool Router::may_stream_body(std::string_view target) const {
  return std::ranges::any_of(streaming_, [&](std::string_view beginning) { return target.starts_with(beginning); });
}

Async<std::optional<Response>> Router::refuse_early(const Request& request) const {
  auto* const found = find(request);
  std::optional<Response> out;
  if (found == nullptr) {
    out = no_route(request);
  } else if (auto refused = co_await refuse_stranger(*found, request)) {
    out = std::move(refused);
    count(*found, out->status);
  }
  if (out) around_.cors.allow(request, *out);
  co_return out;
}

Response Router::unavailable(const Route& route, const Request& request, std::string_view reason) {
  log_unavailable(route.operation.id, request.id, reason);
  return problem({Code::unavailable,
                  "A dependency is away; whether the request took effect is not known. Repeat it with the same ids.",
                  {}},
                 request);
}

void Router::count(Route& route, int status) const {
  auto counter = route.requests_by_status.find(status);
  if (counter == route.requests_by_status.end()) {
    counter = route.requests_by_status
                  .emplace(status, around_.metrics.counter("http_requests_total", "Requests answered",
                                                           {{"method", std::string(route.operation.method)},
                                                            {"path", std::string(route.operation.path)},
                                                            {"status", std::to_string(status)}}))
                  .first;
  }
  counter->second.add();
}

// The answer to somebody whom we do not know, or cannot ask about now.
Async<std::optional<Response>> Router::refuse_stranger(const Route& route, const Request& request) const {
  try {
    // The verdict is kept for a moment: when the body is here nobody has to be asked again.
    const auto principal = co_await around_.gate->admit(request);
    if (principal) co_return std::nullopt;
    auto response = problem(principal.error(), request);
    // Whoever is refused here has taken no token of the address yet.
    if (auto& limit = around_.limits.by_address) {
      const auto verdict = co_await take(around_.shared_buckets, by_address, *limit, request.address);
      if (!verdict.allowed) response = problem(over_limit(by_address, *limit, verdict), request);
      add_limit_fields(response, by_address, *limit, verdict);
    }
    if (is_refusal(route.operation, {.kind = Principal::Kind::anonymous}, response.status)) {
      around_.refusals.note({.principal = {.kind = Principal::Kind::anonymous},
                             .address = request.address,
                             .account = {},
                             .operation = std::string(route.operation.id),
                             .status = response.status});
    }
    co_return response;
  } catch (const boost::system::system_error& error) {
    if (error.code() == boost::asio::error::operation_aborted) throw;
    co_return failure(route, request, error.what());
  } catch (const Unavailable& error) {
    co_return unavailable(route, request, error.what());
  } catch (const std::exception& error) {
    co_return failure(route, request, error.what());
  }
}

Async<Response> Router::routed(Request& request) const {
  Route* const found = find(request);
  if (found == nullptr) co_return no_route(request);

  const auto begin = std::chrono::steady_clock::now();
  Response response;
  Written written;
  Call call{.principal = {.kind = Principal::Kind::anonymous},
            .request_id = request.id,
            .deadline = request.deadline,
            .written = &written,
            .address = request.address};
  try {
    response = co_await guarded(*found, request, call);
    // The answer to a change is the resource, too, which the client may want to change again.
    const auto& method = found->operation.method;
    if (found->operation.permission != open_to_all && (method == "GET" || method == "PATCH"))
      add_entity_tag(request, response);
  } catch (const Unavailable& error) {
    response = unavailable(*found, request, error.what());
  } catch (const boost::system::system_error& error) {
    // The server is being stopped and its patience is over.
    if (error.code() == boost::asio::error::operation_aborted) throw;
    response = failure(*found, request, error.what());
  } catch (const std::exception& error) {
    response = failure(*found, request, error.what());
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  found->duration.observe(seconds.count());
  count(*found, response.status);
  if (is_refusal(found->operation, call.principal, response.status))
    around_.refusals.note({.principal = call.principal,
                           .address = request.address,
                           .account = written.account,
                           .operation = std::string(found->operation.id),
                           .status = response.status});
  co_return response;
}

std::vector<Router::Listed> Router::list() const {
  std::vector<Listed> out;
  for (const auto& route : routes_) {
    out.push_back({std::string(route->operation.method), std::string(route->operation.path),
                   std::string(route->operation.permission), std::string(route->operation.summary)});
  }
  return out;
}

PathParameters path_parameters(std::string_view path_template, const Request& request) {
  PathParameters out;
  const auto names = segments(path_template);
  for (std::size_t i = 0; i < names.size() && i < request.segments.size(); ++i) {
    if (is_placeholder(names[i])) out.emplace_back(names[i].substr(1, names[i].size() - 2), request.segments[i]);
  }
  return out;
}

Error with_body_faults(Error parameters, Error body) {
  // A body that cannot be read at all is the first thing to mend.
  if (body.code != Code::unprocessable || parameters.code != Code::unprocessable) return body;
  std::ranges::move(body.fields, std::back_inserter(parameters.fields));
  return unprocessable(std::move(parameters.fields)).error();
}

std::string media_type(const Request& request) {
  const auto header = request.header("content-type");
  return lower(trim(header.substr(0, header.find(';'))));
}

Result<std::string> json_body(const Request& request) {
  const auto type = media_type(request);
  if (!type.empty() && type != "application/json" && !type.ends_with("+json")) {
    return fail(Code::unsupported_media,
                "The body must have Content-Type application/json, not " + shortened(type, 64) + ".");
  }
  if (request.body.empty()) return fail(Code::malformed, "The body is empty; a JSON object is expected.");
  return request.body;
}

namespace detail {

namespace {

// True when the text could stand as a JSON number or boolean; the binder says what is wrong with the rest.
bool is_bare(std::string_view text) {
  return text == "true" || text == "false" || Decimal::parse(text).has_value() ||
         (!text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos && text.front() != '0');
}

void write_parameter(json::Writer& out, TextKind kind, std::string_view value) {
  if (kind == TextKind::list) {
    out.begin_array();
    for (std::string_view rest = value; !rest.empty();) {
      const auto end = rest.find(',');
      out.string(trim(rest.substr(0, end)));
      rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
    }
    out.end_array();
  } else if (kind == TextKind::bare && is_bare(value)) {
    out.raw(value);
  } else {
    out.string(value);
  }
}

}  // namespace

std::string parameters_json(const PathParameters& path, const Request& request, std::span<const ParameterShape> shapes,
                            std::string_view rest) {
  json::Writer out;
  std::vector<std::pair<std::string_view, std::string_view>> others;
  out.begin_object();
  const auto put = [&](const std::pair<std::string, std::string>& parameter) {
    const auto& [name, value] = parameter;
    const auto shape =
        std::ranges::find_if(shapes, [&](const auto& known) { return known.name == name && name != rest; });
    if (shape == shapes.end() && !rest.empty()) {
      others.emplace_back(name, value);
      return;
    }
    out.key(name);
    write_parameter(out, shape == shapes.end() ? TextKind::string : shape->kind, value);
  };
  for (const auto& parameter : path) put(parameter);
  for (const auto& parameter : request.query) put(parameter);
  if (!rest.empty()) {
    out.key(rest);
    out.begin_object();
    for (const auto& [name, value] : others) {
      out.key(name);
      write_parameter(out, TextKind::bare, value);
    }
    out.end_object();
  }
  out.end_object();
  return std::move(out).text();
}

Error parameter_error(Error error, const PathParameters& path, const Request& request, std::string_view rest) {
  const std::string inside = "/" + std::string(rest) + "/";
  for (auto& field : error.fields) {
    if (!rest.empty() && field.pointer.starts_with(inside)) field.pointer.erase(0, inside.size() - 1);
    if (!field.pointer.starts_with('/')) continue;
    const auto name = std::string_view(field.pointer).substr(1);
    const auto has = [&](const PathParameters& parameters) {
      return std::ranges::find(parameters, name, &PathParameters::value_type::first) != parameters.end();
    };
    const bool is_in_path = has(path) && !has(request.query);
    field.pointer = is_in_path ? fmt::format("{{{}}}", name) : fmt::format("?{}", name);
  }
  return error;
}

std::string parameter_description(std::string_view name, bool in_path, bool required, std::string_view description,
                                  const std::string& schema) {
  json::Writer out;
  out.begin_object();
  out.field("name", name);
  out.field("in", in_path ? "path" : "query");
  out.key("required");
  out.boolean(required);
  if (!description.empty()) out.field("description", description);
  // Lists are one parameter with commas, not one parameter per item.
  if (schema.starts_with(R"({"type":"array")")) {
    out.field("style", "form");
    out.key("explode");
    out.boolean(false);
  }
  out.key("schema");
  out.raw(schema);
  out.end_object();
  return std::move(out).text();
}

}  // namespace detail
}  // namespace cognive::http
