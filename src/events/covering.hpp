// Which budgets the events of a commit are charged to, and what they use up of them.
#pragma once

#include <span>

#include "budgets/charge_sets.hpp"
#include "budgets/charging.hpp"
#include "events/item.hpp"
#include "prices/catalogue.hpp"

namespace cognive::events {

// The budgets of a process as one thread uses them.
struct Budgeting {
  budgets::CurrentCoverage& coverage;
  budgets::ChargeSets& charge_sets;
};

// The edition of the budgets when there are none at all, and so nothing to fill in. Throws Unavailable.
std::optional<std::int64_t> edition_without_budgets(const Budgeting& budgeting);

// Fills in the charge sets of items, which have been appraised; the edition of the budgets by which that was decided.
// `catalogue`: to which their prices belong. Throws Unavailable.
Async<std::int64_t> cover(const Budgeting& budgeting, pg::Pool& database, std::span<Item* const> items,
                          const prices::Catalogue& catalogue, Deadline deadline);

// What a stored event uses up, or settles.
void add_to(budgets::Charging& charging, const Item& item);

}  // namespace cognive::events
