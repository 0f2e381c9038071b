#include "http/router.hpp"
#include "identity/permissions.hpp"
#include "prices/prices.hpp"

namespace cognive::prices {
namespace {

Async<Result<http::Reply<PriceOverride>>> set(Prices& prices, const Call& call, OverrideSet body) {
  auto answer = co_await prices.set(call, std::move(body));
  if (!answer) co_return std::unexpected(answer.error());
  co_return http::Reply<PriceOverride>{.body = std::move(answer->override_), .status = answer->created ? 201 : 200};
}

}  // namespace

void add_routes(http::Router& router, Prices& prices) {
  router.add(
      {.method = "GET",
       .path = "/api/v1/prices/quote",
       .id = "price_quote",
       .tag = "Prices",
       .summary = "Price a usage without storing it",
       .description =
           "Every parameter besides model, provider, team and at is a unit of usage, for instance input_tokens=1000.",
       .permission = identity::permission::prices_read},
      [&prices](const Call& call, QuoteQuery query, http::NoInput) { return prices.quote(call, std::move(query)); });
  router.add({.method = "GET",
              .path = "/api/v1/prices/versions",
              .id = "price_version_list",
              .tag = "Prices",
              .summary = "Every price version of a model, and which one holds",
              .description = "A version is never changed: a correction makes a new one.",
              .permission = identity::permission::prices_read},
             [&prices](const Call& call, VersionQuery query, http::NoInput) {
               return prices.versions(call, std::move(query));
             });
  router.add(
      {.method = "POST",
       .path = "/api/v1/prices/overrides",
       .id = "price_override_create",
       .tag = "Prices",
       .summary = "Set or end rates that win over the catalogue's",
       .description = "For negotiated rates and private models, of the organisation or of one team. An override "
                      "is never changed: a new one takes its place from its own time on.",
       .permission = identity::permission::prices_write,
       .status = 201,
       .also = {200, 409}},
      [&prices](const Call& call, http::NoInput, OverrideSet body) { return set(prices, call, std::move(body)); });
  router.add({.method = "GET",
              .path = "/api/v1/prices/overrides",
              .id = "price_override_list",
              .tag = "Prices",
              .summary = "List overrides",
              .description = "Negotiated rates and private models, which win over the catalogue. The newest first.",
              .permission = identity::permission::prices_read},
             [&prices](const Call& call, OverrideList query, http::NoInput) {
               return prices.overrides(call, std::move(query));
             });
}

}  // namespace cognive::prices
