#include "http/problem.hpp"

#include "json/writer.hpp"

namespace cognive::http {
namespace {

struct Kind {
  Code code;
  int status;
  std::string_view slug;
  std::string_view title;
};

constexpr Kind kinds[] = {
    {Code::malformed, 400, "malformed", "The request cannot be parsed"},
    {Code::unauthenticated, 401, "unauthenticated", "Credentials are missing or not valid"},
    {Code::forbidden, 403, "forbidden", "Not allowed"},
    {Code::not_found, 404, "not-found", "Not found"},
    {Code::method_not_allowed, 405, "method-not-allowed", "Method not allowed"},
    {Code::not_acceptable, 406, "not-acceptable", "No representation that the client takes"},
    {Code::timed_out, 408, "request-timeout", "The request took too long to arrive"},
    {Code::conflict, 409, "conflict", "Conflict"},
    {Code::precondition_failed, 412, "precondition-failed", "The resource has changed"},
    {Code::too_large, 413, "too-large", "The request body is too large"},
    {Code::uri_too_long, 414, "uri-too-long", "The request target is too long"},
    {Code::unsupported_media, 415, "unsupported-media-type", "Unsupported content type or encoding"},
    {Code::not_satisfiable, 416, "range-not-satisfiable", "The resource has no such part"},
    {Code::unprocessable, 422, "unprocessable", "The request is not acceptable"},
    {Code::too_many, 429, "over-limit", "Over a limit"},
    {Code::headers_too_large, 431, "headers-too-large", "The request head is too large"},
    {Code::internal, 500, "internal", "Internal error"},
    {Code::unavailable, 503, "unavailable", "Temporarily unavailable"},
};

const Kind& kind_of(Code code) {
  for (const auto& kind : kinds) {
    if (kind.code == code) return kind;
  }
  return kind_of(Code::internal);
}

}  // namespace

Code code_of(int status) {
  for (const auto& kind : kinds) {
    if (kind.status == status) return kind.code;
  }
  return Code::internal;
}

int status_of(Code code) {
  return kind_of(code).status;
}

Response problem(const Error& error, std::string_view instance, std::string_view request_id) {
  const auto& kind = kind_of(error.code);
  json::Writer body;
  body.begin_object();
  body.field("type", "urn:cognive:problem:" + std::string(kind.slug));
  body.field("title", kind.title);
  body.key("status");
  body.integer(kind.status);
  body.field("detail", error.detail);
  body.field("instance", instance);
  body.field("request_id", request_id);
  if (!error.fields.empty()) {
    body.key("errors");
    body.begin_array();
    for (const auto& field : error.fields) {
      body.begin_object();
      body.field("pointer", field.pointer);
      body.field("message", field.message);
      if (!field.rejected.empty()) body.field("rejected", field.rejected);
      body.end_object();
    }
    body.end_array();
  }
  body.end_object();
  Response response{
      .status = kind.status, .content_type = "application/problem+json", .body = std::move(body).text(), .headers = {}};
  if (error.code == Code::unavailable || error.code == Code::too_many) {
    response.headers.emplace_back("Retry-After", std::to_string(error.retry_after_s));
  }
  if (error.code == Code::unauthenticated) response.headers.emplace_back("WWW-Authenticate", "ApiKey, Bearer");
  return response;
}

Response problem(const Error& error, const Request& request) {
  return problem(error, request.instance, request.id);
}

Response problem(const Error& error, const Request& request, std::string_view extension) {
  auto response = problem(error, request);
  response.body.back() = ',';
  response.body += extension.substr(1);
  return response;
}

std::string_view problem_schema() {
  return R"({"type":"object","description":"RFC 9457 problem document","properties":{)"
         R"("type":{"type":"string","format":"uri"},"title":{"type":"string"},"status":{"type":"integer"},)"
         R"("detail":{"type":"string","description":"One sentence for a person"},"instance":{"type":"string"},)"
         R"("request_id":{"type":"string"},"errors":{"type":"array","description":"Every fault of the request",)"
         R"("items":{"type":"object","properties":{"pointer":{"type":"string","description":"JSON pointer into the body, )"
         R"(?name of a query parameter, {name} of one in the path, or the name of a header"},"message":{"type":"string"},"rejected":{"type":"string","description":"The rejected value )"
         R"(as JSON text, shortened"}},"required":["pointer","message"]}},"budget":{"type":"object","description":"With 429: the )"
         R"(budget that has no room, in dollars of cost or in counts","properties":{"id":{"type":"string","format":"uuid"},)"
         R"("metric":{"type":"string"},"limit":{"type":"number"},"spent":{"type":"number"},"reserved":{"type":"number"},)"
         R"("wanted":{"type":"number"},"resets_at":{"type":["string","null"],"format":"date-time"}},"required":["id","metric",)"
         R"("limit","spent","reserved","wanted","resets_at"]}},)"
         R"("required":["type","title","status","detail","instance","request_id"]})";
}

}  // namespace cognive::http
