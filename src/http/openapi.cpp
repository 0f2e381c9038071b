// The OpenAPI 3.1 document, made from what the routes declare.
#include <set>

#include "base/text.hpp"
#include "http/problem.hpp"
#include "http/route.hpp"

namespace cognive::http {
namespace {

constexpr std::string_view introduction =
    R"(The control plane for AI agents: which exist, what they may touch, what they cost, and how to stop them.

**Credentials.** `X-API-Key` of a machine, or `Authorization: Bearer` with the token of a person who has signed in. Each operation names the permission it needs.

**Errors** are problem documents (RFC 9457), whose `errors` name every fault of a request: by JSON pointer in the body (`/model`), as `?limit` of a query parameter, as `{id}` of the path. Besides those that are listed, any request may be answered with 408 (it came too slowly), 414 or 431 (its target or head is too long).

**Repeats.** 503 means that the outcome is not known. A request with ids of its own is repeated as it was; other POSTs take an `Idempotency-Key`, and a repeat within a day gets the answer of the first.

**Lists** are pages, the newest first: `limit` items, and `next_cursor` for the `cursor` of the next page; null ends it. What is added meanwhile moves nothing.

**Changes that meet.** Resources have an `ETag`. `If-None-Match` saves the answer when it is known already (304); `If-Match` lets a change happen only to the state that was seen (412 otherwise).

**Freshness.** An answer to a change carries an `X-Consistency-Token`. Sent with a later read, wherever that goes, the read is at least as new as the change.

**Values.** Times are RFC 3339 in UTC with microseconds. Money is dollars as exact decimal numbers with nine digits. Answers are compressed for whoever accepts gzip. Every answer has an `X-Request-Id`: the caller's own, if it sent one.)";

void write_info(json::Writer& out, std::string_view title, std::string_view version) {
  out.begin_object();
  out.field("title", title);
  out.field("version", version);
  out.field("summary", "The control plane for AI agents");
  out.field("description", introduction);
  out.key("license");
  out.begin_object();
  out.field("name", "Apache-2.0");
  out.field("identifier", "Apache-2.0");
  out.end_object();
  out.end_object();
}

struct ProblemResponse {
  int status;
  std::string_view name;
  std::string_view description;
};

constexpr ProblemResponse problem_responses[] = {
    {400, "BadRequest", "The request cannot be parsed."},
    {401, "Unauthenticated", "Credentials are missing or not valid."},
    {403, "Forbidden", "The caller may not do that."},
    {404, "NotFound", "There is no such thing, or the caller may not know of it."},
    {406, "NotAcceptable", "The answer has no representation that Accept allows."},
    {408, "TooSlow", "The body did not come in time."},
    {409, "Conflict", "It contradicts what is stored."},
    {412, "PreconditionFailed", "It is not what If-Match names any more."},
    {413, "TooLarge", "The body is too large."},
    {415, "UnsupportedMediaType", "The body has a content type or an encoding that is not read."},
    {416, "RangeNotSatisfiable", "It has no such part."},
    {422, "Unprocessable", "The request breaks rules; errors names every fault."},
    {429, "OverLimit", "Over a rate limit or a budget."},
    {503, "Unavailable",
     "A dependency is away, and whether the request took effect is not known: repeat it with the same ids."},
};

const ProblemResponse& problem_of(int status) {
  for (const auto& one : problem_responses) {
    if (one.status == status) return one;
  }
  throw std::logic_error(fmt::format("no problem is described for status {}", status));
}

std::string example_of(int status, std::string_view description) {
  Error error{code_of(status), std::string(description), {}};
  if (status == 422)
    error.fields = {{.pointer = "/name", .message = "It must have at least 1 character.", .rejected = R"("")"}};
  return problem(error, "/api/v1/agents", "01980000-0000-7000-8000-000000000000").body;
}

// {"<type>": {"schema": …}} for each of the types.
void write_content(json::Writer& out, std::span<const std::string> types, std::string_view schema) {
  out.key("content");
  out.begin_object();
  for (const auto& type : types) {
    out.key(type);
    out.begin_object();
    out.key("schema");
    out.raw(schema);
    out.end_object();
  }
  out.end_object();
}

void write_security(json::Writer& out, std::string_view permission) {
  out.key("security");
  out.begin_array();
  if (permission != open_to_all) {
    for (const std::string_view scheme : {"ApiKeyAuth", "BearerAuth"}) {
      out.begin_object();
      out.key(scheme);
      out.begin_array();
      out.end_array();
      out.end_object();
    }
  }
  out.end_array();
  if (permission != open_to_all && permission != signed_in) out.field("x-permission", permission);
}

// What streams its answer says of itself which conditions it heeds.
bool has_own_conditions(const Router::Description& description) {
  return description.answer_type.find("json") == std::string::npos;
}

bool takes_key(const Operation& operation) {
  return operation.method == "POST" && operation.permission != open_to_all && !operation.streams_body;
}

// Every status that an operation may answer with: what it says of itself, and what follows from its shape.
std::set<int> statuses(const Operation& operation, const Router::Description& description) {
  std::set<int> out(operation.also.begin(), operation.also.end());
  out.insert(operation.status);
  out.insert({400, 422});  // targets that are no text, and parameters that nobody knows
  if (operation.permission != open_to_all) out.insert({400, 401, 403, 429, 503});
  if (operation.permission != open_to_all && operation.method == "GET" && !has_own_conditions(description))
    out.insert(304);
  if (operation.method != "GET") out.insert(412);  // what heeds no If-Match refuses it
  if (takes_key(operation)) out.insert({409, 422});
  if (!description.answer.empty() && description.answer_type.find('*') == std::string::npos) out.insert(406);
  if (operation.path.find('{') != std::string_view::npos) out.insert(404);
  if (!description.parameters.empty()) out.insert(422);
  if (!description.body.empty()) out.insert({400, 413, 415, 422});
  return out;
}

std::string_view success_text(int status) {
  switch (status) {
    case 201:
      return "Created";
    case 202:
      return "Accepted: it will be done";
    case 206:
      return "The part that was asked for";
    default:
      return "Success";
  }
}

void write_reference(json::Writer& out, std::string_view name, std::string_view to) {
  out.key(name);
  out.begin_object();
  out.field("$ref", to);
  out.end_object();
}

void write_headers(json::Writer& out, const Operation& operation, const Router::Description& description) {
  out.key("headers");
  out.begin_object();
  write_reference(out, "X-Request-Id", "#/components/headers/RequestId");
  if (operation.permission != open_to_all) {
    if (operation.method != "GET") write_reference(out, "X-Consistency-Token", "#/components/headers/ConsistencyToken");
    if (operation.method == "PATCH" || (operation.method == "GET" && !has_own_conditions(description)))
      write_reference(out, "ETag", "#/components/headers/ETag");
    if (takes_key(operation)) write_reference(out, "Idempotent-Replayed", "#/components/headers/IdempotentReplayed");
  }
  out.end_object();
}

void write_responses(json::Writer& out, const Operation& operation, const Router::Description& description) {
  out.key("responses");
  out.begin_object();
  for (const int status : statuses(operation, description)) {
    out.key(std::to_string(status));
    out.begin_object();
    if (status < 300) {
      out.field("description", success_text(status));
      write_headers(out, operation, description);
      if (!description.answer.empty()) write_content(out, std::array{description.answer_type}, description.answer);
    } else if (status == 304) {
      out.field("$ref", "#/components/responses/NotModified");
    } else {
      out.field("$ref", "#/components/responses/" + std::string(problem_of(status).name));
    }
    out.end_object();
  }
  out.end_object();
}

void write_operation(json::Writer& out, const Operation& operation, const Router::Description& description) {
  out.key(lower(operation.method));
  out.begin_object();
  out.field("operationId", operation.id);
  out.field("summary", operation.summary);
  if (!operation.description.empty()) out.field("description", operation.description);
  out.key("tags");
  out.begin_array();
  out.string(operation.tag);
  out.end_array();
  write_security(out, operation.permission);
  const bool reads = operation.permission != open_to_all && operation.method == "GET";
  std::vector<std::string_view> shared;
  if (reads) shared.emplace_back("ConsistencyToken");
  if (reads && !has_own_conditions(description)) shared.emplace_back("IfNoneMatch");
  if (operation.heeds_if_match) shared.emplace_back("IfMatch");
  if (takes_key(operation)) shared.emplace_back("IdempotencyKey");
  if (!description.parameters.empty() || !shared.empty()) {
    out.key("parameters");
    out.begin_array();
    for (const auto& parameter : description.parameters) out.raw(parameter);
    for (const auto& name : shared) {
      out.begin_object();
      out.field("$ref", "#/components/parameters/" + std::string(name));
      out.end_object();
    }
    out.end_array();
  }
  if (!description.body.empty()) {
    out.key("requestBody");
    out.begin_object();
    out.key("required");
    out.boolean(true);
    write_content(out, description.body_types, description.body);
    out.end_object();
  }
  write_responses(out, operation, description);
  out.end_object();
}

void write_shared_responses(json::Writer& out) {
  out.begin_object();
  out.key("NotModified");
  out.raw(R"({"description":"The caller has it already","headers":{"ETag":{"$ref":"#/components/headers/ETag"}}})");
  for (const auto& [status, name, description] : problem_responses) {
    out.key(name);
    out.begin_object();
    out.field("description", description);
    out.key("headers");
    out.begin_object();
    write_reference(out, "X-Request-Id", "#/components/headers/RequestId");
    if (status == 429 || status == 503) write_reference(out, "Retry-After", "#/components/headers/RetryAfter");
    out.end_object();
    out.key("content");
    out.begin_object();
    out.key("application/problem+json");
    out.begin_object();
    out.key("schema");
    out.raw(R"({"$ref":"#/components/schemas/Problem"})");
    out.key("example");
    out.raw(example_of(status, description));
    out.end_object();
    out.end_object();
    out.end_object();
  }
  out.end_object();
}

void write_components(json::Writer& out, const json::Components& components) {
  out.begin_object();
  out.key("securitySchemes");
  out.raw(R"({"ApiKeyAuth":{"type":"apiKey","in":"header","name":"X-API-Key","description":"For agents and SDKs"},)"
          R"("BearerAuth":{"type":"http","scheme":"bearer","bearerFormat":"JWT","description":"For people"}})");
  out.key("parameters");
  out.raw(
      R"({"ConsistencyToken":{"name":"X-Consistency-Token","in":"header","required":false,"schema":{"type":"string"},)"
      R"("description":"From an earlier answer: what is read is at least as new as what that request wrote"},)"
      R"("IfNoneMatch":{"name":"If-None-Match","in":"header","required":false,"schema":{"type":"string"},)"
      R"("description":"ETags that the caller has already: 304 when it is still one of them"},)"
      R"("IfMatch":{"name":"If-Match","in":"header","required":false,"schema":{"type":"string"},)"
      R"("description":"The ETag of the state that is meant: 412 when it is another one by now"},)"
      R"("IdempotencyKey":{"name":"Idempotency-Key","in":"header","required":false,"schema":{"type":"string","minLength":1,)"
      R"("maxLength":255},"description":"Visible characters of ASCII, new for each request that is none of its repeats: )"
      R"(for a day a repeat gets the answer of the first"}})");
  out.key("headers");
  out.raw(
      R"({"ConsistencyToken":{"schema":{"type":"string"},"description":"Opaque; sent with a later read, that read )"
      R"(is at least as new as this write. Absent when nothing was written"},)"
      R"("ETag":{"schema":{"type":"string"},"description":"Of the state that is shown"},)"
      R"("IdempotentReplayed":{"schema":{"type":"string","enum":["true"]},"description":"This answer was given before"},)"
      R"("RequestId":{"schema":{"type":"string"},"description":"The caller's own, or ours: it finds the request in the log"},)"
      R"("RetryAfter":{"schema":{"type":"integer","minimum":0},"description":"Seconds after which to try again"}})");
  out.key("responses");
  write_shared_responses(out);
  out.key("schemas");
  out.begin_object();
  out.key("Problem");
  out.raw(problem_schema());
  for (const auto& [name, schema] : components.schemas) {
    out.key(name);
    out.raw(schema);
  }
  out.end_object();
  out.end_object();
}

}  // namespace

std::string Router::openapi(std::string_view title, std::string_view version, std::span<const Tag> tags) const {
  json::Writer out;
  out.begin_object();
  out.field("openapi", "3.1.0");
  out.key("info");
  write_info(out, title, version);
  out.key("servers");
  out.raw(R"([{"url":"/","description":"This installation"}])");
  out.key("tags");
  out.begin_array();
  for (const auto& tag : tags) {
    out.begin_object();
    out.field("name", tag.name);
    out.field("description", tag.description);
    out.end_object();
  }
  out.end_array();
  out.key("paths");
  out.begin_object();
  std::set<std::string_view> written;
  for (const auto& first : routes_) {
    const auto path = first->operation.path;
    if (!written.insert(path).second) continue;
    out.key(path);
    out.begin_object();
    for (const auto& route : routes_) {
      if (route->operation.path == path) write_operation(out, route->operation, route->description);
    }
    out.end_object();
  }
  out.end_object();
  out.key("components");
  write_components(out, components_);
  out.end_object();
  return std::move(out).text();
}

}  // namespace cognive::http
