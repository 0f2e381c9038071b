#include "budgets/authorise.hpp"

#include "base/crypto.hpp"
#include "base/text.hpp"

namespace cognive::budgets {
namespace {

Error no_reservation() {
  return {Code::not_found, "There is no such reservation.", {}};
}

std::int64_t tokens_of(const prices::Usage& usage) {
  static const auto input = *prices::Units::shipped().by_name("input_tokens");
  static const auto output = *prices::Units::shipped().by_name("output_tokens");
  return usage.quantity(input) + usage.quantity(output);
}

// Tells a repeat from another request under the same id. How long it is to be held may differ.
std::int64_t hash_of(const AuthoriseRequest& request) {
  json::Writer text;
  text.begin_object();
  text.field("agent_id", request.agent_id.text());
  if (request.run_id) text.field("run_id", request.run_id->text());
  if (request.provider) text.field("provider", *request.provider);
  text.field("model", request.model);
  if (request.max_cost_usd) text.field("max_cost_usd", request.max_cost_usd->text());
  text.key("usage");
  text.raw(json::encode(request.usage.counts()));
  text.end_object();
  const auto digest = sha256(text.text());
  std::int64_t out = 0;
  std::memcpy(&out, digest.data(), sizeof out);
  return out;
}

ReservationAnswer answer_of(const store::Reservation& found) {
  return {.reservation_id = found.id,
          .state = found.state,
          .agent_id = found.subject.agent_id,
          .run_id = found.subject.run_id,
          .cost_usd = NanoUsd{found.amounts.cost_nanos},
          .tokens = found.amounts.tokens,
          .granted_at = found.granted_at,
          .expires_at = found.expires_at,
          .ended_at = found.ended_at,
          .call_id = found.call_id};
}

}  // namespace

void AuthoriseRequest::check(json::Faults& faults) const {
  if (!max_cost_usd && usage.reported_units() == 0 && !faults.has_at("max_cost_usd") && !faults.has_at("usage"))
    faults.add_at("max_cost_usd", "Say what the call may cost at most, or its expected usage.");
  if (max_cost_usd && !faults.has_at("max_cost_usd")) {
    const auto cost = NanoUsd::at_least(*max_cost_usd);
    if (!cost || max_cost_usd->is_negative() || *cost > cost_max)
      faults.add_at("max_cost_usd", "It must be dollars from 0 to a million.", max_cost_usd->text());
  }
}

Authorisation::Authorisation(Executor executor, pg::Cluster& database, const prices::CurrentCatalogue& catalogue,
                             runs::KnownRuns& known_runs, NamesOf names_of, Authoriser& authoriser)
    : executor_(std::move(executor)),
      database_(database),
      catalogue_(catalogue),
      known_runs_(known_runs),
      names_of_(std::move(names_of)),
      authoriser_(authoriser) {}

Async<Result<void>> Authorisation::check_subject(const Call& call, const AuthoriseRequest& request, Waiting& waiting) {
  const auto agent = co_await known_agents_.find(database_.primary(), request.agent_id, call.deadline);
  if (!agent || !call.principal.sees(agent->team_id, request.agent_id))
    co_return fail(Code::not_found, "There is no such agent.");
  if (agent->status != agents::AgentStatus::active)
    co_return fail(Code::forbidden, fmt::format("The agent is {}.", json::enum_text(agent->status)));
  if (request.run_id) {
    auto run = known_runs_.find(*request.run_id);
    if (!run) {
      const auto ticket = known_runs_.ticket(*request.run_id);
      const auto found = co_await runs::find_known(database_.primary(), {*request.run_id}, call.deadline);
      if (const auto one = found.find(*request.run_id); one != found.end()) {
        run = one->second;
        known_runs_.put(*request.run_id, run, ticket);
      }
    }
    if (!run || !call.principal.sees(run->team_id, run->agent_id))
      co_return fail(Code::not_found, "There is no such run.");
    if (run->agent_id != request.agent_id)
      co_return unprocessable("/run_id", "The run belongs to another agent.", json::quoted(request.run_id->text()));
    if (!run->is_active()) {
      co_return fail(Code::conflict, fmt::format("The run is {}{}{}.", run->status, run->error ? ": " : "",
                                                 shortened(run->error.value_or(""), 256)));
    }
  }
  waiting.subject = {
      .team_id = agent->team_id,
      .agent_id = request.agent_id,
      .run_id = request.run_id,
      .api_key_id = call.principal.kind == Principal::Kind::api_key ? std::optional(call.principal.id) : std::nullopt};
  co_return appraise(request, agent->policy, waiting);
}

Result<void> Authorisation::appraise(const AuthoriseRequest& request, const agents::Policy& policy,
                                     Waiting& waiting) const {
  const auto catalogue = catalogue_.loaded();
  const auto price = prices::price_call(*catalogue, waiting.subject.team_id, request.provider.value_or(""),
                                        request.model, Timestamp::now(), request.usage);
  waiting.names = names_of_(*catalogue, request.provider.value_or(""), request.model, price.model);
  if (const auto violation = agents::check_call(policy, waiting.names)) return fail(Code::forbidden, violation->detail);
  const bool has_price = price.version != nullptr && price.status != prices::PriceStatus::no_rates;
  if (price.status == prices::PriceStatus::inconsistent_usage && !request.max_cost_usd)
    return unprocessable("/usage", "Parts of it exceed what contains them.");
  waiting.model = request.model;
  waiting.amounts = {.cost_nanos = 0, .tokens = tokens_of(request.usage), .is_unpriced = !has_price};
  if (request.max_cost_usd) {
    waiting.amounts.cost_nanos = NanoUsd::at_least(*request.max_cost_usd)->nanos;
  } else if (has_price) {
    if (price.cost > cost_max) return unprocessable("/usage", "No call costs more than a million dollars.");
    waiting.amounts.cost_nanos = price.cost.nanos;
  }
  return {};
}

Async<Result<Verdict>> Authorisation::authorise(const Call& call, AuthoriseRequest request) {
  const auto waiting = std::make_shared<Waiting>(executor_, this);
  if (const auto may = co_await check_subject(call, request, *waiting); !may) co_return std::unexpected(may.error());
  waiting->may_be_repeat = request.reservation_id || call.made_id;
  waiting->id = call.id_or_new(request.reservation_id);
  waiting->request_hash = hash_of(request);
  waiting->lifetime = std::chrono::seconds{request.expires_in_s};
  if (auto pushed = authoriser_.push(waiting); !pushed) co_return std::unexpected(pushed.error());
  while (!waiting->done) {
    const bool notified = co_await waiting->settled.wait(call.deadline);
    if (!notified && !waiting->done) {
      waiting->abandoned = true;
      throw Unavailable("the reservation was not decided in time");
    }
  }
  if (waiting->failure) std::rethrow_exception(waiting->failure);
  if (waiting->error) co_return std::unexpected(*waiting->error);
  if (waiting->refusal) co_return Verdict(*waiting->refusal);
  co_return Verdict(AuthoriseAnswer{.reservation_id = waiting->id,
                                    .expires_at = waiting->grant->expires_at,
                                    .remaining_usd = waiting->grant->remaining});
}

Async<Result<ReservationAnswer>> Authorisation::release(const Call& call, Uuid id) {
  static_cast<void>(co_await store::release(database_, id, call));
  auto now = co_await get(call, id);
  if (now && now->state == ReservationState::settled)
    co_return fail(Code::conflict, "A call has settled the reservation already.");
  co_return now;
}

Async<Result<ReservationAnswer>> Authorisation::renew(const Call& call, Uuid id, Renewal renewal) {
  const bool renewed = co_await store::renew(database_.primary(), id, std::chrono::seconds{renewal.expires_in_s}, call);
  auto now = co_await get(call, id);
  if (now && !renewed) {
    co_return fail(Code::conflict,
                   fmt::format("The reservation is {} and holds nothing.", json::enum_text(now->state)));
  }
  co_return now;
}

Async<Result<ReservationAnswer>> Authorisation::get(const Call& call, Uuid id) {
  const auto found = co_await store::find(database_.primary(), id, call.principal, call.deadline);
  if (!found) co_return fail(no_reservation());
  co_return answer_of(*found);
}

}  // namespace cognive::budgets
