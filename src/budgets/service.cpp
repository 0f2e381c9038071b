#include "audit/audit.hpp"
#include "base/text.hpp"
#include "budgets/budgets.hpp"
#include "budgets/store.hpp"
#include "json/bind.hpp"
#include "json/entity_tag.hpp"
#include "pg/transact.hpp"
#include "teams/teams.hpp"

namespace cognive::budgets {
namespace {

Error not_found() {
  return {Code::not_found, "There is no such budget.", {}};
}

// Of one scope: each call is charged to all of them.
constexpr std::int64_t alike_max = 50;

Error agents_key() {
  return {Code::forbidden, "This key belongs to one agent and cannot set budgets.", {}};
}

audit::Entry entry(std::string_view action, const Budget& budget) {
  return {.action = action,
          .resource_kind = "budget",
          .resource_id = budget.id.text(),
          .team_id = budget.team_id,
          .details = json::encode(budget)};
}

Limits::Stored stored(const Limits& limits) {
  json::Faults ignored;
  return limits.stored(ignored).value_or(Limits::Stored{});
}

// Whether a repeat means the same budget: all that was said of it, but for what may have been changed since.
bool same(const Budget& a, const Budget& b) {
  return a.scope == b.scope && a.team_id == b.team_id && a.agent_id == b.agent_id && a.api_key_id == b.api_key_id &&
         a.run_id == b.run_id && a.provider == b.provider && a.model == b.model && a.window == b.window &&
         a.time_zone == b.time_zone && a.assumed_usd_per_call == b.assumed_usd_per_call &&
         stored(a).metric == stored(b).metric;
}

}  // namespace

// The budget that is asked for, its team and time zone checked.
Async<bool> Budgets::knows_time_zone(const Call& call, const std::string& name) {
  if (known_time_zones_.contains(name)) co_return true;
  const bool is_known = co_await store::knows_time_zone(database_.primary(), name, call.deadline);
  if (is_known) known_time_zones_.insert(name);
  co_return is_known;
}

Async<Result<Budget>> Budgets::budget_of(const Call& call, BudgetCreate request) {
  Budget budget;
  static_cast<Limits&>(budget) = request;
  budget.id = call.id_or_new(request.id);
  budget.name = std::move(request.name);
  budget.scope = request.scope;
  budget.agent_id = request.agent_id;
  budget.api_key_id = request.api_key_id;
  budget.run_id = request.run_id;
  budget.provider = std::move(request.provider);
  budget.model = std::move(request.model);
  budget.window = request.window.value_or(WindowKind::run);
  budget.time_zone = std::move(request.time_zone);
  budget.hard_stop = request.hard_stop;
  budget.thresholds = std::move(request.thresholds);
  if (request.assumed_usd_per_call) budget.assumed_usd_per_call = NanoUsd::exactly(*request.assumed_usd_per_call);
  budget.enabled = request.enabled;

  auto& primary = database_.primary();
  if (budget.scope == Scope::organisation) {
    if (call.principal.team_id)
      co_return fail(Code::forbidden, "This key belongs to a team and cannot set a budget of the organisation.");
  } else if (budget.scope == Scope::team) {
    budget.team_id = call.principal.team_id;
    if (request.team || !budget.team_id) {
      const auto name = request.team.value_or(std::string(teams::default_team));
      budget.team_id = co_await teams::find_by_name(database_, name, call);
      if (!budget.team_id)
        co_return unprocessable("/team", "There is no such team.", json::quoted(shortened(name, 64)));
    }
  } else {
    const auto [pointer, id] = budget.scope == Scope::agent     ? std::pair("/agent_id", *budget.agent_id)
                               : budget.scope == Scope::api_key ? std::pair("/api_key_id", *budget.api_key_id)
                                                                : std::pair("/run_id", *budget.run_id);
    const auto team_id = co_await store::team_of(primary, budget.scope, id, call.principal, call.deadline);
    if (!team_id) co_return unprocessable(pointer, "There is nothing with this id.", json::quoted(id.text()));
    budget.team_id = *team_id;
  }
  if (!co_await knows_time_zone(call, budget.time_zone)) {
    co_return unprocessable("/time_zone", "It must be an IANA name such as Europe/Berlin.",
                            json::quoted(shortened(budget.time_zone, 64)));
  }
  co_return budget;
}

Async<Result<CreateAnswer>> Budgets::create(const Call& call, BudgetCreate request) {
  if (call.principal.agent_id) co_return fail(agents_key());
  const auto budget = co_await budget_of(call, std::move(request));
  if (!budget) co_return std::unexpected(budget.error());
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<CreateAnswer>> {
    const auto edition = co_await store::next_edition(transaction);
    const bool created = co_await store::insert(transaction, *budget, edition);
    auto now = co_await store::lock(transaction, budget->id, call.principal);
    const bool has_changed = now && now->updated_at != now->created_at;
    if (!now || (!created && (!same(*now, *budget) || (!has_changed && stored(*now).amount != stored(*budget).amount))))
      co_return fail(Code::conflict, "There is a budget with this id already, and it is another one.");
    if (created && co_await store::count_alike(transaction, *budget) > alike_max) {
      co_return fail(Code::conflict,
                     fmt::format("There are {} budgets of it already: delete one, or change one.", alike_max));
    }
    if (created) {
      auto made = entry("budget_create", *now);
      trail_.record(transaction, call, std::move(made));
    }
    co_return CreateAnswer{std::move(*now), created};
  };
  co_return co_await pg::transact(database_, "budget_create", call, body);
}

Async<Result<Budget>> Budgets::update(const Call& call, Uuid id, BudgetChange change) {
  if (call.principal.agent_id) co_return fail(agents_key());
  std::optional<Uuid> touched;
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<Budget>> {
    const auto edition = co_await store::next_edition(transaction);
    auto budget = co_await store::lock(transaction, id, call.principal);
    if (!budget) co_return fail(not_found());
    touched = id;
    if (auto same = json::check_match(call.if_match, *budget); !same)
      co_return std::unexpected(std::move(same.error()));
    json::Faults faults;
    if (const auto limit = change.stored(faults)) {
      if (limit->metric != stored(*budget).metric)
        co_return unprocessable("", "A budget cannot count something else; make another one.");
      static_cast<Limits&>(*budget) = Limits::of(*limit);
    }
    if (change.name) budget->name = *change.name;
    if (change.hard_stop) budget->hard_stop = *change.hard_stop;
    if (change.thresholds) budget->thresholds = *change.thresholds;
    if (change.enabled) budget->enabled = *change.enabled;
    budget->updated_at = co_await store::update(transaction, *budget, edition);
    auto changed = entry("budget_update", *budget);
    trail_.record(transaction, call, std::move(changed));
    co_return std::move(*budget);
  };
  auto changing = pg::transact(database_, "budget_update", call, body);
  co_return co_await cache::forgetting(cache_, cache::Kind::budget, touched, std::move(changing));
}

Async<Result<Budget>> Budgets::remove(const Call& call, Uuid id) {
  if (call.principal.agent_id) co_return fail(agents_key());
  std::optional<Uuid> touched;
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<Budget>> {
    const auto edition = co_await store::next_edition(transaction);
    auto budget = co_await store::lock(transaction, id, call.principal);
    if (!budget) co_return fail(not_found());
    touched = id;
    if (auto same = json::check_match(call.if_match, *budget); !same)
      co_return std::unexpected(std::move(same.error()));
    co_await store::remove(transaction, id, edition);
    auto removed = entry("budget_delete", *budget);
    trail_.record(transaction, call, std::move(removed));
    co_return std::move(*budget);
  };
  auto changing = pg::transact(database_, "budget_delete", call, body);
  co_return co_await cache::forgetting(cache_, cache::Kind::budget, touched, std::move(changing));
}

Async<Result<Budget>> Budgets::get(const Call& call, Uuid id) {
  auto budget = co_await store::get(database_.read_preferred(call), id, call.principal, call.deadline);
  if (!budget) co_return fail(not_found());
  co_return std::move(*budget);
}

Async<Result<json::Page<Budget>>> Budgets::list(const Call& call, BudgetList query) {
  auto rows = co_await store::list(database_.read_preferred(call), query, call.principal, call.deadline);
  co_return json::page_of(std::move(rows), query.limit,
                          [](const Budget& budget) { return json::PagePosition{budget.created_at, budget.id}; });
}

}  // namespace cognive::budgets
