#include "http/router.hpp"

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <set>

#include "base/text.hpp"
#include "http/problem.hpp"
#include "http/route.hpp"
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

Router::Router(Gate* gate, RecentWrites& recent_writes, Metrics& metrics)
    : gate_(gate), recent_writes_(recent_writes), metrics_(metrics) {}

Router::~Router() = default;

void Router::add_raw(Operation operation, Description description, RawHandler handler) {
  if (operation.permission.empty())
    throw std::logic_error("a route without a permission: " + std::string(operation.path));
  if (gate_ == nullptr && operation.permission != open_to_all) throw std::logic_error("a route that no gate guards");
  const auto parts = segments(operation.path);
  auto duration = metrics_.histogram(
      "http_request_duration_seconds", "Time to answer, from the end of the request's body",
      {{"method", std::string(operation.method)}, {"path", std::string(operation.path)}}, duration_buckets());
  routes_.push_back(std::make_unique<Route>(Route{std::move(operation),
                                                  std::move(description),
                                                  std::move(handler),
                                                  std::vector<std::string>(parts.begin(), parts.end()),
                                                  {},
                                                  duration}));
}

namespace {

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

}  // namespace

Async<Response> Router::guarded(const Operation& operation, const RawHandler& handler, const Request& request) const {
  Written written;
  Call call{.principal = {}, .request_id = request.id, .deadline = request.deadline, .written = &written};
  if (operation.permission != open_to_all) {
    auto principal = co_await gate_->admit(request);
    if (!principal) co_return problem(principal.error(), request);
    if (!principal->may(operation.permission)) {
      const Error error{Code::forbidden, fmt::format("This needs the permission {}.", operation.permission), {}};
      co_return problem(error, request);
    }
    call.principal = std::move(*principal);
    const auto position = not_before(request, recent_writes_, call.principal.id);
    if (!position) co_return problem(position.error(), request);
    call.not_before = *position;
  }
  auto response = co_await handler(call, request);
  if (written.position != Position{}) {
    recent_writes_.note(call.principal.id, written.position);
    response.headers.emplace_back(token_header, written.position.token());
  }
  co_return response;
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
  metrics_
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

Async<Response> Router::dispatch(Request& request) const {
  const std::string_view method = request.method == "HEAD" ? std::string_view("GET") : std::string_view(request.method);
  const auto place = std::ranges::find_if(routes_, [&](const auto& route) {
    return route->operation.method == method && matches(route->segments, request.segments);
  });
  if (place == routes_.end()) co_return no_route(request);
  Route* const found = place->get();

  const auto begin = std::chrono::steady_clock::now();
  Response response;
  try {
    response = co_await guarded(found->operation, found->handler, request);
  } catch (const Unavailable& error) {
    log_unavailable(found->operation.id, request.id, error.what());
    response =
        problem({Code::unavailable,
                 "A dependency is away; whether the request took effect is not known. Repeat it with the same ids.",
                 {}},
                request);
  } catch (const boost::system::system_error& error) {
    // The server is being stopped and its patience is over.
    if (error.code() == boost::asio::error::operation_aborted) throw;
    response = failure(*found, request, error.what());
  } catch (const std::exception& error) {
    response = failure(*found, request, error.what());
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  found->duration.observe(seconds.count());
  auto counter = found->requests_by_status.find(response.status);
  if (counter == found->requests_by_status.end()) {
    counter = found->requests_by_status
                  .emplace(response.status, metrics_.counter("http_requests_total", "Requests answered",
                                                             {{"method", std::string(found->operation.method)},
                                                              {"path", std::string(found->operation.path)},
                                                              {"status", std::to_string(response.status)}}))
                  .first;
  }
  counter->second.add();
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

Error parameter_error(Error error, std::string_view rest) {
  const std::string inside = "/" + std::string(rest) + "/";
  for (auto& field : error.fields) {
    if (!rest.empty() && field.pointer.starts_with(inside)) field.pointer.erase(0, inside.size() - 1);
    if (field.pointer.starts_with('/')) field.pointer.front() = '?';
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
