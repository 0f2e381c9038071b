#include "base/crypto.hpp"
#include "health/health.hpp"
#include "health/replication.hpp"
#include "http/problem.hpp"
#include "http/router.hpp"
#include "json/bind.hpp"

#ifndef COGNIVE_VERSION
#error "the build defines COGNIVE_VERSION"
#endif

namespace cognive::health {
namespace {

struct Root {
  std::string service;
  std::string version = COGNIVE_VERSION;
  std::string docs = "/docs";
  std::string redoc = "/redoc";
  std::string openapi = "/openapi.json";
  std::string api_base = "/api/v1";

  static constexpr std::string_view schema_name = "Root";
  static constexpr auto fields() {
    return json::fields(json::field("service", &Root::service, ""), json::field("version", &Root::version, ""),
                        json::field("docs", &Root::docs, ""), json::field("redoc", &Root::redoc, ""),
                        json::field("openapi", &Root::openapi, ""), json::field("api_base", &Root::api_base, ""));
  }
};

struct Welcome {
  std::string message;
  std::string version = COGNIVE_VERSION;
  std::string environment;

  static constexpr std::string_view schema_name = "Welcome";
  static constexpr auto fields() {
    return json::fields(json::field("message", &Welcome::message, ""), json::field("version", &Welcome::version, ""),
                        json::field("environment", &Welcome::environment, ""));
  }
};

struct Liveness {
  std::string status = "alive";

  static constexpr std::string_view schema_name = "Liveness";
  static constexpr auto fields() { return json::fields(json::field("status", &Liveness::status, "")); }
};

struct Dependencies {
  std::string database_url;
  std::string redis_url;
  std::string rabbitmq_url;
  std::string storage_endpoint;

  static constexpr std::string_view schema_name = "Dependencies";
  static constexpr auto fields() {
    return json::fields(
        json::field("database_url", &Dependencies::database_url, "Password masked."),
        json::field("redis_url", &Dependencies::redis_url, "`embedded` when not configured."),
        json::field("rabbitmq_url", &Dependencies::rabbitmq_url, "`embedded` when not configured."),
        json::field("storage_endpoint", &Dependencies::storage_endpoint,
                    "The `file:` URL of a directory where that keeps the objects; `embedded`: nothing does."));
  }
};

struct Ready {
  std::string status = "ready";
  Dependencies dependencies;

  static constexpr std::string_view schema_name = "Ready";
  static constexpr auto fields() {
    return json::fields(json::field("status", &Ready::status, ""),
                        json::field("dependencies", &Ready::dependencies, ""));
  }
};

template <typename T>
Async<Result<T>> answer(T value) {
  co_return value;
}

std::string masked_or_embedded(const std::string& url) {
  if (url.empty()) return "embedded";
  return masked_endpoint(url);
}

std::string storage_of(Health& health) {
  const auto& settings = health.settings();
  if (settings.storage_endpoint.empty() && health.objects().is_configured()) return health.objects().place();
  return masked_or_embedded(settings.storage_endpoint);
}

Async<Result<Ready>> readiness(Health& health) {
  const auto state = co_await health.readiness();
  if (!state.ready) co_return fail(Code::unavailable, state.detail);
  const auto& settings = health.settings();
  Ready ready;
  ready.dependencies = {masked_url(settings.database_url), masked_or_embedded(settings.redis_url),
                        masked_or_embedded(settings.rabbitmq_url), storage_of(health)};
  co_return ready;
}

// 503 when the primary cannot be asked, with what is known of the others.
Async<http::Response> replication(Health& health, const http::Request& request) {
  const auto topology = health.topology();
  auto state = describe(*topology, health.database_urls());
  if (primary_can_be_asked(*topology)) co_return http::Response{.status = 200, .body = json::encode(state)};
  std::string detail = "The primary database does not answer.";
  if (!state.problems.empty()) detail = state.problems.front();
  const ReplicationLoss loss{std::move(state.primary), std::move(state.replicas), std::move(state.problems)};
  co_return http::problem({Code::unavailable, std::move(detail), {}}, request, json::encode(loss));
}

Async<http::Response> text(std::string body, std::string type) {
  co_return http::Response{.status = 200, .content_type = std::move(type), .body = std::move(body)};
}

}  // namespace

void add_routes(http::Router& router, Health& health) {
  constexpr std::string_view tag = "System";
  const auto& settings = health.settings();
  router.add(
      {.method = "GET",
       .path = "/",
       .id = "root",
       .tag = tag,
       .summary = "What this is",
       .description = "Name and version, and where the documentation is.",
       .permission = http::open_to_all},
      [&settings](const Call&, http::NoInput, http::NoInput) { return answer(Root{.service = settings.app_name}); });
  router.add({.method = "GET",
              .path = "/api/v1/",
              .id = "welcome",
              .tag = tag,
              .summary = "What this API is",
              .description = "Version and environment.",
              .permission = http::open_to_all},
             [&settings](const Call&, http::NoInput, http::NoInput) {
               return answer(
                   Welcome{.message = "Welcome to the " + settings.app_name, .environment = settings.app_environment});
             });
  router.add({.method = "GET",
              .path = "/api/v1/health/liveness",
              .id = "health_liveness",
              .tag = tag,
              .summary = "Whether the process answers",
              .description = "For whoever restarts a process that hangs. Nothing is asked for it.",
              .permission = http::open_to_all,
              .is_probe = true},
             [](const Call&, http::NoInput, http::NoInput) { return answer(Liveness{}); });
  router.add({.method = "GET",
              .path = "/api/v1/health/readiness",
              .id = "health_readiness",
              .tag = tag,
              .summary = "Whether every dependency answers",
              .description = "For whoever sends requests to the process. Each dependency is asked within a second; "
                             "READINESS_REQUIRES narrows the list.",
              .permission = http::open_to_all,
              .also = {503},
              .is_probe = true},
             [&health](const Call&, http::NoInput, http::NoInput) { return readiness(health); });

  http::Router::Description replication_answer;
  replication_answer.answer = router.answer_schema<ReplicationHealth>();
  router.add_raw({.method = "GET",
                  .path = "/api/v1/health/replication",
                  .id = "health_replication",
                  .tag = tag,
                  .summary = "Primary and replicas: roles, lag, and where reads go",
                  .description = "503 when the primary cannot be asked; the problem document then has the members "
                                 "`primary`, `replicas` and `problems` too.",
                  .permission = http::open_to_all,
                  .also = {503}},
                 std::move(replication_answer),
                 [&health](const Call&, const http::Request& request) { return replication(health, request); });

  http::Router::Description exposition;
  exposition.answer = R"({"type":"string"})";
  exposition.answer_type = "text/plain";
  router.add_raw(
      {.method = "GET",
       .path = "/metrics",
       .id = "metrics",
       .tag = tag,
       .summary = "Prometheus metrics",
       .description =
           "In the text format of Prometheus. Series of agents are bounded: the rest is summed under `other`.",
       .permission = http::open_to_all,
       .is_probe = true},
      exposition, [&health](const Call&, const http::Request&) {
        return text(health.metrics().exposition(), "text/plain; version=0.0.4; charset=utf-8");
      });
}

}  // namespace cognive::health
