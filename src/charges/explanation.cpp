#include "charges/charges.hpp"
#include "charges/store.hpp"

namespace cognive::charges {

Async<Result<Explanation>> Charges::explain(const Call& call, Uuid run_id, Uuid call_id) {
  const auto reader = database_.read_preferred(call);
  const auto found = co_await store::find(reader, run_id, call_id, call.principal, call.deadline);
  if (!found) co_return fail(Code::not_found, "There is no such LLM call.");
  Explanation out{.run_id = run_id,
                  .id = call_id,
                  .provider = found->provider,
                  .model = found->model,
                  .timestamp = found->place.timestamp,
                  .usage = found->usage.counts(),
                  .price_status = found->price_status,
                  .cost_usd = found->cost,
                  .price_version_id = found->price_version_id,
                  .price_source = {},
                  .lines = {},
                  .adjustments = {}};
  const auto catalogue = catalogue_.loaded();
  const auto* version =
      found->price_version_id ? catalogue->version(found->team_id, *found->price_version_id) : nullptr;
  if (version != nullptr) {
    out.price_source = version->source;
    if (found->cost) {
      for (const auto& line : prices::price(version->card.at(found->place.timestamp), found->usage).lines) {
        const auto& unit = prices::Units::shipped()[line.unit];
        out.lines.push_back({unit.name, line.quantity, line.rate, unit.per});
      }
    }
  }
  if (found->sequence > 0) {
    out.adjustments = co_await store::adjustments(reader, run_id, call_id, call.deadline);
    // Those that came after the first look would contradict what it saw.
    std::erase_if(out.adjustments, [&](const Adjustment& one) { return one.sequence > found->sequence; });
  }
  co_return out;
}

}  // namespace cognive::charges
