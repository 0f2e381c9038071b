#include "replay/store.hpp"

namespace cognive::replay {
namespace {

Error not_found() {
  return {Code::not_found, "There is no such run.", {}};
}

void count(CostSum& sum, const std::optional<NanoUsd>& cost) {
  ++sum.calls;
  if (cost) {
    // As the sums of the database end: at 9.2 billion dollars.
    if (__builtin_add_overflow(sum.cost_usd.nanos, cost->nanos, &sum.cost_usd.nanos)) sum.cost_usd.nanos = INT64_MAX;
  } else {
    ++sum.unpriced_calls;
  }
}

prices::Usage usage_of(const Recorded& call) {
  return prices::Usage::stored(call.input_tokens, call.output_tokens, call.cache_read_tokens, call.cache_write_tokens,
                               call.usage ? std::optional(call.usage->text) : std::nullopt);
}

}  // namespace

Async<Result<Timeline>> Replay::timeline(const Call& call, Uuid run_id) {
  const auto reader = database_.read_preferred(call);
  auto run = co_await runs::find_visible(reader, run_id, call);
  if (!run) co_return fail(not_found());
  auto read = co_await store::read(reader, run_id, false, call.deadline);
  put_in_order(read.moments);
  Timeline out{.run = std::move(*run), .items = {}, .truncated = read.truncated};
  for (auto& one : read.moments) {
    one.offset_ms = (one.timestamp.micros - out.run.started_at.micros) / 1000;
    out.items.push_back(std::move(one));
  }
  co_return out;
}

Async<Result<Bundle>> Replay::bundle(const Call& call, Uuid run_id, ReplayQuery query) {
  const auto reader = database_.read_preferred(call);
  auto run = co_await runs::find_visible(reader, run_id, call);
  if (!run) co_return fail(not_found());
  auto read = co_await store::read(reader, run_id, true, call.deadline);
  put_in_order(read.moments);
  Bundle out{.run = std::move(*run), .events = std::move(read.moments), .truncated = read.truncated};
  const bool reprice = query.as_model || query.as_provider || query.as_of;
  if (reprice) out.repriced.emplace();
  prices::Pricer pricer(reprice ? catalogue_.loaded() : catalogue_.get());
  for (auto& one : out.events) {
    one.offset_ms = (one.timestamp.micros - out.run.started_at.micros) / 1000;
    if (one.type != events::EventType::llm_call) continue;
    count(out.recorded, one.cost_usd);
    if (!reprice) continue;
    // Another model has another provider, unless one was asked for.
    const auto own_provider = query.as_model ? std::string() : one.provider.value_or("");
    const auto priced =
        pricer.price(out.run.team_id, query.as_provider.value_or(own_provider), query.as_model.value_or(one.name),
                     query.as_of.value_or(one.timestamp), usage_of(one));
    one.repriced_status = std::string(json::enum_text(priced.status));
    if (priced.has_cost()) one.repriced_cost_usd = priced.cost;
    count(*out.repriced, one.repriced_cost_usd);
    if (one.cost_usd && one.repriced_cost_usd) {
      if (!out.difference_usd) out.difference_usd.emplace();
      out.difference_usd->nanos += one.repriced_cost_usd->nanos - one.cost_usd->nanos;
    }
  }
  co_return out;
}

}  // namespace cognive::replay
