// SQL of budgets. Locks are taken in one order by everybody: reservations by id, then windows by id, last before the
// commit. Whoever meets a reservation that somebody else is ending passes it by.
#pragma once

#include "budgets/budgets.hpp"
#include "budgets/coverage.hpp"
#include "budgets/grants.hpp"
#include "pg/cluster.hpp"

namespace cognive::budgets::store {

// Budgets.

// Everything that changes budgets stands behind this lock: the next edition.
Async<std::int64_t> next_edition(pg::Transaction& transaction);
// How many budgets there are of the same team, agent, key or run, or of the organisation.
Async<std::int64_t> count_alike(pg::Transaction& transaction, const Budget& budget);
// False when the id is taken.
Async<bool> insert(pg::Transaction& transaction, const Budget& budget, std::int64_t edition);
Async<std::optional<Budget>> lock(pg::Transaction& transaction, Uuid id, const Principal& principal);
// Writes what may change, also to the windows that have not ended, and sets updated_at; returns it.
Async<Timestamp> update(pg::Transaction& transaction, const Budget& budget, std::int64_t edition);
Async<> remove(pg::Transaction& transaction, Uuid id, std::int64_t edition);
// Whether the queries below would find it, for who knows that it is there.
bool is_visible(const Budget& budget, const Principal& principal);
// On the primary.
Async<std::optional<Budget>> get(pg::Pool& database, Uuid id, const Principal& principal, Deadline deadline);
Async<std::optional<Budget>> get(pg::Reader database, Uuid id, const Principal& principal, Deadline deadline);
Async<std::vector<Budget>> list(pg::Reader database, const BudgetList& query, const Principal& principal,
                                Deadline deadline);

// Whether PostgreSQL knows the time zone.
Async<bool> knows_time_zone(pg::Pool& database, const std::string& name, Deadline deadline);

// The team of an agent, key or run that the principal may see; nothing when there is none such. Outer: none visible.
Async<std::optional<std::optional<Uuid>>> team_of(pg::Pool& database, Scope scope, Uuid id, const Principal& principal,
                                                  Deadline deadline);

// Of what follows, nothing waits for a connection of its own: who asks may hold one.

// What has changed since an edition; all there is when nothing is known.
Async<std::shared_ptr<const Coverage>> load(pg::Pool& database, const Coverage& known, Deadline deadline);

// Windows.

struct WindowKey {
  Uuid budget_id;
  Uuid run_id;                  // nil unless each run has a window of its own
  std::optional<Timestamp> at;  // nothing: now, by PostgreSQL's clock

  auto operator<=>(const WindowKey&) const = default;
};

struct OpenWindow {
  std::int64_t id = 0;
  std::chrono::milliseconds left{0};  // until it ends; at most a day
};

// Made where they are missing. A budget that is gone has none.
Async<std::map<WindowKey, OpenWindow>> open(pg::Pool& database, const std::vector<WindowKey>& keys, Deadline deadline);

// The id under which this set of windows (ascending) is known, made where it is missing.
Async<std::int64_t> intern(pg::Pool& database, const std::vector<std::int64_t>& windows, Deadline deadline);

}  // namespace cognive::budgets::store
