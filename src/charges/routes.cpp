#include "charges/charges.hpp"
#include "http/router.hpp"
#include "identity/permissions.hpp"

namespace cognive::charges {
namespace {

struct CallPath {
  Uuid id;
  Uuid call_id;
  static constexpr auto fields() {
    return json::fields(json::field("id", &CallPath::id, "The run's id."),
                        json::field("call_id", &CallPath::call_id, "The LLM call's id."));
  }
};

}  // namespace

void add_routes(http::Router& router, Charges& charges) {
  router.add({.method = "POST",
              .path = "/api/v1/prices/reprice",
              .id = "charges_reprice",
              .tag = "Prices",
              .summary = "Price the calls of a range again",
              .description = "By the prices and overrides of now. Where the charge differs, an adjustment is appended; "
                             "the call itself is never changed. Works for a few seconds: send the request again with "
                             "`id` and `cursor` of the answer until it is done. A repeat changes nothing more.",
              .permission = identity::permission::prices_write},
             [&charges](const Call& call, http::NoInput, RepriceRequest body) {
               return charges.reprice(call, std::move(body));
             });
  router.add({.method = "GET",
              .path = "/api/v1/runs/{id}/llm-calls/{call_id}",
              .id = "llm_call_charge",
              .tag = "Prices",
              .summary = "How the charge of an LLM call comes about",
              .description = "Its usage, the price version, the lines that add up to the cost, and every adjustment.",
              .permission = identity::permission::runs_read},
             [&charges](const Call& call, CallPath path, http::NoInput) {
               return charges.explain(call, path.id, path.call_id);
             });
}

}  // namespace cognive::charges
