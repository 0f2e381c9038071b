#include "inbound/request.hpp"

#include <algorithm>

#include "amqp/topology.hpp"
#include "base/compression.hpp"
#include "base/crypto.hpp"
#include "base/text.hpp"
#include "base/uuid.hpp"
#include "json/cursor.hpp"

namespace cognive::inbound {
namespace {

constexpr std::size_t id_length_max = 64;

// Of the first header with one of these names, whatever their case.
std::string_view header_of(const amqp::Table& headers, std::initializer_list<std::string_view> names) {
  for (const auto& [key, value] : headers) {
    const auto* text = std::get_if<std::string>(&value.of);
    if (text == nullptr) continue;
    for (const auto name : names) {
      if (lower(key) == name) return *text;
    }
  }
  return {};
}

bool is_id(std::string_view text) {
  return !text.empty() && text.size() <= id_length_max && std::ranges::all_of(text, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' ||
           c == '.';
  });
}

// What a message of a queue is when it does not say.
std::string_view default_type(std::string_view queue) {
  if (queue == amqp::calls_queue) return "llm_call";
  if (queue == amqp::tools_queue) return "tool_invocation";
  return {};
}

struct Route {
  std::string_view type;
  std::vector<std::string> segments;  // {id} stands for the run
};

const std::vector<Route>& run_routes() {
  static const std::vector<Route> routes{{"run_start", {"api", "v1", "runs", "start"}},
                                         {"run_end", {"api", "v1", "runs", "{id}", "end"}},
                                         {"run_heartbeat", {"api", "v1", "runs", "{id}", "heartbeat"}}};
  return routes;
}

// The request about a run; `names_run`: its path does.
// Whether it names a run at all.
bool fill(http::Request& out, json::Cursor& object, const Route& route, bool names_run) {
  std::string run_id;
  bool has_run = false;
  json::Writer body;
  body.begin_object();
  object.each_field([&](std::string_view key, json::Cursor& value) {
    if (key == "type") return;
    has_run = has_run || (key == "run_id" && value.kind() != json::Kind::null);
    if (names_run && key == "run_id" && value.kind() == json::Kind::string) {
      run_id = value.string();
      return;
    }
    body.key(key);
    value.copy_to(body);
  });
  body.end_object();
  out.segments = route.segments;
  std::ranges::replace(out.segments, "{id}", run_id.empty() ? "-" : run_id);
  out.body = std::move(body).text();
  return has_run;
}

// One event, as an array of it.
void fill(http::Request& out, json::Cursor& object, std::string_view missing_type) {
  json::Writer body;
  body.begin_array();
  body.begin_object();
  if (!missing_type.empty()) body.field("type", missing_type);
  object.each_field([&](std::string_view key, json::Cursor& value) {
    body.key(key);
    value.copy_to(body);
  });
  body.end_object();
  body.end_array();
  out.body = std::move(body).text();
}

}  // namespace

Result<http::Request> request_of(const amqp::Delivery& message, std::size_t body_bytes_max) {
  const auto& properties = message.properties;
  http::Request out;
  out.method = "POST";
  out.segments = {"api", "v1", "events"};
  out.id = is_id(properties.message_id) ? properties.message_id : Uuid::make().text();
  const auto key = header_of(properties.headers, {"x-api-key", "api_key", "api-key"});
  const auto token = header_of(properties.headers, {"authorization"});
  if (!key.empty()) out.headers["x-api-key"] = key;
  if (!token.empty()) out.headers["authorization"] = token;
  // Somebody who tries keys holds up nobody else.
  out.address = "rabbitmq/" + to_hex(sha256(key.empty() ? token : key)).substr(0, 16);

  const auto content_type = lower(properties.content_type);
  const auto encoding = lower(properties.content_encoding);
  if (encoding == "gzip") {
    auto text = decompress(message.body, Compression::gzip, body_bytes_max);
    if (!text) return std::unexpected(text.error());
    out.body = std::move(*text);
  } else if (encoding.empty() || encoding == "utf-8" || encoding == "identity" || encoding == "binary") {
    out.body = message.body;
  } else {
    return fail(Code::unsupported_media, "The content_encoding must be utf-8 or gzip.");
  }
  const std::string type(trim(std::string_view(content_type).substr(0, content_type.find(';'))));
  if (type.ends_with("ndjson") || type == "application/jsonl") {
    out.headers["content-type"] = "application/x-ndjson";
  } else if (type.empty() || type == "application/json" || type == "application/octet-stream" || type == "text/plain") {
    out.headers["content-type"] = "application/json";
    auto text = std::move(out.body);
    out.body = text;
    bool is_repeatable = true;
    const auto walked = json::walk(text, [&](json::Cursor& root) {
      if (root.kind() != json::Kind::object) return;
      const auto says = root.peek_string("type");
      const auto& routes = run_routes();
      const auto route = std::ranges::find(routes, says.value_or(""), &Route::type);
      if (route == routes.end()) {
        fill(out, root, says ? std::string_view() : default_type(message.queue));
      } else {
        is_repeatable = fill(out, root, *route, route->type != "run_start");
      }
    });
    if (!walked) return std::unexpected(walked.error());
    // A message may come twice, and must not begin two runs.
    if (!is_repeatable) return fail(Code::unprocessable, "A message about a run must have its run_id.");
  } else {
    return fail(Code::unsupported_media, "The content_type must be application/json or application/x-ndjson.");
  }
  for (const auto& segment : out.segments) out.instance += (out.instance.ends_with('/') ? "" : "/") + segment;
  return out;
}

}  // namespace cognive::inbound
