// The OpenAPI 3.1 document, made from what the routes declare.
#include <set>

#include "base/text.hpp"
#include "http/problem.hpp"
#include "http/route.hpp"

namespace cognive::http {
namespace {

void write_info(json::Writer& out, std::string_view title, std::string_view version) {
  out.begin_object();
  out.field("title", title);
  out.field("version", version);
  out.field("description",
            "The control plane for AI agents: registry, runs, exact costs. Errors are RFC 9457 problem documents.");
  out.key("license");
  out.begin_object();
  out.field("name", "Apache-2.0");
  out.field("identifier", "Apache-2.0");
  out.end_object();
  out.end_object();
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

// Every status that an operation may answer with: what it says of itself, and what follows from its shape.
std::set<int> statuses(const Operation& operation, const Router::Description& description) {
  std::set<int> out(operation.also.begin(), operation.also.end());
  out.insert(operation.status);
  if (operation.permission != open_to_all) out.insert({400, 401, 403, 503});
  if (operation.path.find('{') != std::string_view::npos) out.insert(404);
  if (!description.parameters.empty()) out.insert(422);
  if (!description.body.empty()) out.insert({400, 413, 415, 422});
  return out;
}

void write_responses(json::Writer& out, const Operation& operation, const Router::Description& description) {
  out.key("responses");
  out.begin_object();
  for (const int status : statuses(operation, description)) {
    out.key(std::to_string(status));
    out.begin_object();
    if (status < 300) {
      out.field("description", status == 201 ? "Created" : "Success");
      if (operation.permission != open_to_all && operation.method != "GET") {
        out.key("headers");
        out.raw(R"({"X-Consistency-Token":{"$ref":"#/components/headers/ConsistencyToken"}})");
      }
      if (!description.answer.empty()) write_content(out, std::array{description.answer_type}, description.answer);
    } else {
      out.field("$ref", "#/components/responses/Problem");
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
  const bool takes_token = operation.permission != open_to_all && operation.method == "GET";
  if (!description.parameters.empty() || takes_token) {
    out.key("parameters");
    out.begin_array();
    for (const auto& parameter : description.parameters) out.raw(parameter);
    if (takes_token) out.raw(R"({"$ref":"#/components/parameters/ConsistencyToken"})");
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

void write_components(json::Writer& out, const json::Components& components) {
  out.begin_object();
  out.key("securitySchemes");
  out.raw(R"({"ApiKeyAuth":{"type":"apiKey","in":"header","name":"X-API-Key","description":"For agents and SDKs"},)"
          R"("BearerAuth":{"type":"http","scheme":"bearer","bearerFormat":"JWT","description":"For people"}})");
  out.key("parameters");
  out.raw(
      R"({"ConsistencyToken":{"name":"X-Consistency-Token","in":"header","required":false,"schema":{"type":"string"},)"
      R"("description":"From an earlier answer: what is read is at least as new as what that request wrote"}})");
  out.key("headers");
  out.raw(R"({"ConsistencyToken":{"schema":{"type":"string"},"description":"Opaque; sent with a later read, that read )"
          R"(is at least as new as this write. Absent when nothing was written"}})");
  out.key("responses");
  out.raw(R"({"Problem":{"description":"A problem document that says what was wrong","content":)"
          R"({"application/problem+json":{"schema":{"$ref":"#/components/schemas/Problem"}}}}})");
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

std::string Router::openapi(std::string_view title, std::string_view version) const {
  json::Writer out;
  out.begin_object();
  out.field("openapi", "3.1.0");
  out.key("info");
  write_info(out, title, version);
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
