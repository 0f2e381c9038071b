#include "analytics/performance.hpp"
#include "http/router.hpp"
#include "identity/permissions.hpp"

namespace cognive::analytics {

void add_routes(http::Router& router, Analytics& analytics) {
  namespace permission = identity::permission;
  router.add({.method = "GET",
              .path = "/api/v1/analytics/costs",
              .id = "analytics_costs",
              .tag = "Analytics",
              .summary = "Costs, tokens and calls, grouped",
              .description = "From sums that are kept while events come in: it takes milliseconds, and agrees with the "
                             "ledger to the nano-dollar.",
              .permission = permission::analytics_read},
             [&analytics](const Call& call, CostQuery query, http::NoInput) {
               return analytics.costs(call, std::move(query));
             });
  router.add(
      {.method = "GET",
       .path = "/api/v1/analytics/runs",
       .id = "analytics_runs",
       .tag = "Analytics",
       .summary = "Runs by state, grouped",
       .description = "How many began, and how they ended.",
       .permission = permission::analytics_read},
      [&analytics](const Call& call, RunQuery query, http::NoInput) { return analytics.runs(call, std::move(query)); });
  router.add({.method = "GET",
              .path = "/api/v1/analytics/latency",
              .id = "analytics_latency",
              .tag = "Analytics",
              .summary = "Durations of LLM calls, grouped",
              .description = "The median, the 95th and the 99th percentile of durations, in milliseconds.",
              .permission = permission::analytics_read},
             [&analytics](const Call& call, LatencyQuery query, http::NoInput) {
               return analytics.latency(call, std::move(query));
             });
  router.add({.method = "GET",
              .path = "/api/v1/analytics/tools",
              .id = "analytics_tools",
              .tag = "Analytics",
              .summary = "Tool invocations: how many, how long, how many failed or were forbidden",
              .description = "Forbidden are those that the policy of their agent does not allow.",
              .permission = permission::analytics_read},
             [&analytics](const Call& call, ToolQuery query, http::NoInput) {
               return analytics.tools(call, std::move(query));
             });
  router.add(
      {.method = "GET",
       .path = "/api/v1/analytics/coverage",
       .id = "analytics_coverage",
       .tag = "Analytics",
       .summary = "Which share of calls and tokens has a price",
       .description = "What has no price is counted as unpriced, never as free; models without a price are named.",
       .permission = permission::analytics_read},
      [&analytics](const Call& call, CoverageQuery query, http::NoInput) {
        return analytics.coverage(call, std::move(query));
      });
}

}  // namespace cognive::analytics
