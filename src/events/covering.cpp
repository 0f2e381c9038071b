#include "events/covering.hpp"

#include <deque>
#include <map>
#include <tuple>

#include "events/names.hpp"

namespace cognive::events {
namespace {

budgets::EventKind kind_of(EventType type) {
  switch (type) {
    case EventType::llm_call:
      return budgets::EventKind::llm_call;
    case EventType::tool_invocation:
      return budgets::EventKind::tool_invocation;
    case EventType::step:
      break;
  }
  return budgets::EventKind::step;
}

budgets::Subject subject_of(const Item& item) {
  const auto& principal = item.sender->principal;
  return {.team_id = item.row.run->team_id,
          .agent_id = item.row.run->agent_id,
          .run_id = item.event->run_id,
          .api_key_id = principal.kind == Principal::Kind::api_key ? std::optional(principal.id) : std::nullopt};
}

// All of one run, of one sender and of one model are covered by the same budgets.
using Alike = std::tuple<Uuid, const Call*, EventType, std::string_view, std::string_view>;

Alike alike(const Item& item) {
  const auto* call = std::get_if<LlmCall>(&item.event->body);
  if (call == nullptr) return {item.event->run_id, item.sender, item.event->type(), {}, {}};
  return {item.event->run_id, item.sender, item.event->type(),
          call->provider ? std::string_view(*call->provider) : std::string_view(), call->model};
}

}  // namespace

std::optional<std::int64_t> edition_without_budgets(const Budgeting& budgeting) {
  const auto coverage = budgeting.coverage.loaded();
  return coverage->empty() ? coverage->edition() : std::nullopt;
}

Async<std::int64_t> cover(const Budgeting& budgeting, pg::Pool& database, std::span<Item* const> items,
                          const prices::Catalogue& catalogue, Deadline deadline) {
  const auto coverage = budgeting.coverage.loaded();
  const auto edition = *coverage->edition();
  if (coverage->empty()) {
    for (auto* item : items) item->row.charge_set_id.reset();
    co_return edition;
  }
  std::deque<budgets::Covered> groups;
  std::map<Alike, budgets::Covered*> group_of;
  std::vector<budgets::Covered*> of_item;
  for (const auto* item : items) {
    auto& group = group_of[alike(*item)];
    if (group == nullptr) {
      group = &groups.emplace_back();
      group->run_id = item->event->run_id;
      agents::CallNames names;
      if (const auto* call = std::get_if<LlmCall>(&item->event->body))
        names = names_of(catalogue, call->provider.value_or(""), call->model, item->row.price.model);
      coverage->find(subject_of(*item), kind_of(item->event->type()), names, group->budgets);
    }
    of_item.push_back(group);
  }
  std::vector<budgets::Covered*> covered;
  for (auto& group : groups) {
    if (!group.budgets.empty()) covered.push_back(&group);
  }
  if (!covered.empty()) co_await budgeting.charge_sets.resolve(database, covered, deadline);
  for (std::size_t i = 0; i < items.size(); ++i) {
    const auto set_id = of_item[i]->charge_set_id;
    items[i]->row.charge_set_id = set_id == 0 ? std::nullopt : std::optional(set_id);
  }
  co_return edition;
}

void add_to(budgets::Charging& charging, const Item& item) {
  const auto& row = item.row;
  const auto set_id = row.charge_set_id.value_or(0);
  const auto* call = std::get_if<LlmCall>(&item.event->body);
  if (set_id == 0 && (call == nullptr || !call->reservation_id)) return;
  budgets::Used used;
  if (call != nullptr) {
    const auto tokens = store::tokens_of(call->usage);
    used.requests = 1;
    used.tokens = tokens[0] + tokens[1];
    // A call that failed and reports nothing has used nothing.
    const bool is_reported = call->usage.reported_units() != 0;
    const bool has_failed_unmeasured = !is_reported && call->status == Outcome::error;
    if (row.price.has_cost()) {
      used.cost_nanos = row.price.cost.nanos;
    } else if (!has_failed_unmeasured) {
      used.unpriced = 1;
    }
    if (call->reservation_id) {
      charging.settle({.reservation_id = *call->reservation_id,
                       .agent_id = row.run->agent_id,
                       .run_id = item.event->run_id,
                       .call_id = item.event->base().id,
                       .charge_set_id = set_id,
                       .is_measured = is_reported || has_failed_unmeasured,
                       .used = used});
      return;
    }
  } else if (item.event->type() == EventType::tool_invocation) {
    used.tool_calls = 1;
  } else {
    used.steps = 1;
  }
  charging.add(set_id, used);
}

}  // namespace cognive::events
