// What is asked before a call: may this agent use this model, and is there money for it? Sets it aside if so.
#pragma once

#include <functional>
#include <variant>

#include "agents/known_agents.hpp"
#include "budgets/authoriser.hpp"
#include "budgets/reservations.hpp"
#include "prices/pricer.hpp"
#include "runs/known_runs.hpp"

namespace cognive::budgets {

inline constexpr std::int64_t lifetime_s_default = 600;
inline constexpr std::int64_t lifetime_s_max = 86'400;
inline constexpr NanoUsd cost_max{1'000'000'000'000'000};  // a million dollars: no call comes near

struct AuthoriseRequest {
  std::optional<Uuid> reservation_id;
  Uuid agent_id;
  std::optional<Uuid> run_id;
  std::optional<std::string> provider;
  std::string model;
  std::optional<Decimal> max_cost_usd;
  prices::Usage usage;
  std::int64_t expires_in_s = lifetime_s_default;

  void check(json::Faults& faults) const;

  static constexpr std::string_view schema_name = "AuthoriseRequest";
  static constexpr auto fields() {
    return json::fields(
        json::field("reservation_id", &AuthoriseRequest::reservation_id,
                    "The caller's own id, so that it can be repeated: a repeat returns the same grant."),
        json::field("agent_id", &AuthoriseRequest::agent_id, "Who calls."),
        json::field("run_id", &AuthoriseRequest::run_id, "Within which run; needed by budgets of runs."),
        json::field("provider", &AuthoriseRequest::provider, "Whose model it is.",
                    {.min_length = 1, .max_length = 128}),
        json::field("model", &AuthoriseRequest::model, "As the provider names it.",
                    {.min_length = 1, .max_length = 256, .example = "\"gpt-4o\""}),
        json::field("max_cost_usd", &AuthoriseRequest::max_cost_usd,
                    "The most that the call may cost; absent: what the expected usage costs.", {.example = "0.05"}),
        json::field("usage", &AuthoriseRequest::usage, "Expected counts by unit.",
                    {.min = 0, .max = prices::quantity_max, .max_length = 64, .optional = true}),
        json::field("expires_in_s", &AuthoriseRequest::expires_in_s,
                    "After so many seconds what was set aside is given back by itself.",
                    {.min = 1, .max = lifetime_s_max, .optional = true}));
  }
};

struct AuthoriseAnswer {
  Uuid reservation_id;
  Timestamp expires_at;
  std::optional<NanoUsd> remaining_usd;

  static constexpr std::string_view schema_name = "AuthoriseAnswer";
  static constexpr auto fields() {
    return json::fields(
        json::field("reservation_id", &AuthoriseAnswer::reservation_id, "For the call's event, which settles it."),
        json::field("expires_at", &AuthoriseAnswer::expires_at, "Until then it is set aside, unless it is renewed."),
        json::field("remaining_usd", &AuthoriseAnswer::remaining_usd,
                    "The least that a budget of money has left now; null when none covers the call, or on a repeat."));
  }
};

using Verdict = std::variant<AuthoriseAnswer, Refusal>;

struct Renewal {
  std::int64_t expires_in_s = lifetime_s_default;

  static constexpr std::string_view schema_name = "ReservationRenewal";
  static constexpr auto fields() {
    return json::fields(json::field("expires_in_s", &Renewal::expires_in_s, "From now; never sooner than before.",
                                    {.min = 1, .max = lifetime_s_max, .optional = true}));
  }
};

// A reservation as callers see it.
struct ReservationAnswer {
  Uuid reservation_id;
  ReservationState state = ReservationState::held;
  Uuid agent_id;
  std::optional<Uuid> run_id;
  NanoUsd cost_usd;
  std::int64_t tokens = 0;
  Timestamp granted_at;
  Timestamp expires_at;
  std::optional<Timestamp> ended_at;
  std::optional<Uuid> call_id;

  static constexpr std::string_view schema_name = "Reservation";
  static constexpr auto fields() {
    return json::fields(
        json::field("reservation_id", &ReservationAnswer::reservation_id, ""),
        json::field("state", &ReservationAnswer::state, "held until a call settles it, it is released, or it expires."),
        json::field("agent_id", &ReservationAnswer::agent_id, ""),
        json::field("run_id", &ReservationAnswer::run_id, ""),
        json::field("cost_usd", &ReservationAnswer::cost_usd, "What was set aside on budgets of money."),
        json::field("tokens", &ReservationAnswer::tokens, "What was set aside on budgets of tokens."),
        json::field("granted_at", &ReservationAnswer::granted_at, ""),
        json::field("expires_at", &ReservationAnswer::expires_at, ""),
        json::field("ended_at", &ReservationAnswer::ended_at, ""),
        json::field("call_id", &ReservationAnswer::call_id, "The LLM call that settled it."));
  }
};

// Lives on one I/O thread.
class Authorisation {
 public:
  // What a call is known by, as its event would be; `found` is what the catalogue understands by it.
  using NamesOf = std::function<agents::CallNames(const prices::Catalogue& catalogue, std::string_view provider,
                                                  std::string_view model, const prices::Model* found)>;
  // `database` of the same thread; the others are shared by all.
  Authorisation(Executor executor, pg::Cluster& database, const prices::CurrentCatalogue& catalogue,
                runs::KnownRuns& known_runs, NamesOf names_of, Authoriser& authoriser);

  // Code::not_found for an agent or run that the caller may not see, Code::forbidden when the agent is not active or
  // its policy forbids the model, Code::conflict when the run has ended or the id is another reservation's,
  // Code::unprocessable for a model without a price that a hard-stop budget of money covers.
  Async<Result<Verdict>> authorise(const Call& call, AuthoriseRequest request);

  // Gives back what is held; a repeat changes nothing. Code::conflict when it has been settled.
  Async<Result<ReservationAnswer>> release(const Call& call, Uuid id);
  // Code::conflict when it is not held any more.
  Async<Result<ReservationAnswer>> renew(const Call& call, Uuid id, Renewal renewal);
  Async<Result<ReservationAnswer>> get(const Call& call, Uuid id);

 private:
  // Fills in who asks, and what for. Nothing is wrong when it may.
  Async<Result<void>> check_subject(const Call& call, const AuthoriseRequest& request, Waiting& waiting);
  Result<void> appraise(const AuthoriseRequest& request, const agents::Policy& policy, Waiting& waiting) const;

  Executor executor_;
  pg::Cluster& database_;
  const prices::CurrentCatalogue& catalogue_;
  runs::KnownRuns& known_runs_;
  agents::KnownAgents known_agents_;
  NamesOf names_of_;
  Authoriser& authoriser_;
};

void add_routes(http::Router& router, Authorisation& authorisation);

}  // namespace cognive::budgets
