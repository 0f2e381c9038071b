#include "http/cors.hpp"

#include <algorithm>

namespace cognive::http {

void Cors::allow(const Request& request, Response& response) const {
  if (origins_.empty()) return;
  response.headers.emplace_back("Vary", "Origin");
  const auto origin = request.header("origin");
  if (origin.empty() || std::ranges::find(origins_, origin) == origins_.end()) return;
  response.headers.emplace_back("Access-Control-Allow-Origin", origin);
  if (request.method == "OPTIONS" && !request.header("access-control-request-method").empty()) {
    response.headers.emplace_back("Access-Control-Allow-Methods", "DELETE, GET, HEAD, PATCH, POST, PUT");
    response.headers.emplace_back("Access-Control-Allow-Headers",
                                  "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, If-Range, "
                                  "Last-Event-ID, Range, X-API-Key, "
                                  "X-Consistency-Token, X-Request-Id, X-Team");
    response.headers.emplace_back("Access-Control-Max-Age", "600");
    return;
  }
  response.headers.emplace_back(
      "Access-Control-Expose-Headers",
      "Content-Disposition, Content-Range, ETag, Idempotent-Replayed, RateLimit, RateLimit-Policy, Repr-Digest, "
      "Retry-After, X-Consistency-Token, X-Request-Id");
}

}  // namespace cognive::http
