#include "http/router.hpp"
#include "identity/permissions.hpp"
#include "prices/prices.hpp"

namespace cognive::prices {

void add_routes(http::Router& router, Prices& prices) {
  router.add(
      {.method = "GET",
       .path = "/api/v1/prices/quote",
       .id = "price_quote",
       .tag = "Prices",
       .summary = "Price a usage without storing it",
       .description =
           "Every parameter besides model, provider and at is a unit of usage, for instance input_tokens=1000.",
       .permission = identity::permission::prices_read},
      [&prices](const Call& call, QuoteQuery query, http::NoInput) { return prices.quote(call, std::move(query)); });
}

}  // namespace cognive::prices
