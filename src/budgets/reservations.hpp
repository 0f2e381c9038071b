// SQL of reservations and of the windows that they hold. See store.hpp for the order of locks.
#pragma once

#include "budgets/authoriser.hpp"
#include "budgets/grants.hpp"

namespace cognive::budgets {

enum class ReservationState { held, settled, released, expired };

constexpr auto enum_names(ReservationState) {
  return std::array{json::name(ReservationState::held, "held"), json::name(ReservationState::settled, "settled"),
                    json::name(ReservationState::released, "released"),
                    json::name(ReservationState::expired, "expired")};
}

}  // namespace cognive::budgets

namespace cognive::budgets::store {

// The windows as they are now, locked until the transaction ends.
struct Locked {
  std::vector<LockedWindow> windows;              // ascending by id
  std::vector<Uuid> budget_ids;                   // of each
  std::vector<Metric> metrics;                    // of each
  std::vector<std::int64_t> assumed_costs;        // of each, of a call without a price
  std::vector<std::optional<Timestamp>> ends_at;  // of each; nothing: never
  std::int64_t edition = 0;                       // of all budgets
  Timestamp now;                                  // PostgreSQL's
  bool is_something_due = false;                  // a reservation that is held and has expired
};
// Those that have ended, or whose budget covers nothing any more, are missing; without any, only the edition is looked
// at.
Async<Locked> lock_windows(pg::Transaction& transaction, const std::vector<std::int64_t>& ids);

// What is to be set aside on a window that nobody has looked at yet.
struct Addition {
  std::int64_t window_id = 0;
  std::int64_t amount = 0;
  std::int64_t least = 0;         // what must be left of a hard limit; ≥ amount
  std::int64_t assumed_cost = 0;  // of the budget, by which the amount was reckoned
};

struct Reservation {
  Uuid id;
  Subject subject;
  std::int64_t charge_set_id = 0;
  Amounts amounts;
  std::int64_t request_hash = 0;
  Timestamp granted_at;
  Timestamp expires_at;
  ReservationState state = ReservationState::held;
  std::optional<Timestamp> ended_at;
  std::optional<Uuid> call_id;  // that settled it
};

// Those that there are already.
Async<std::map<Uuid, Reservation>> find(pg::Transaction& transaction, const std::vector<Uuid>& ids);

// Inserts reservations, held from now for so long as `lifetimes` say.
pg::Statement insert_statement(const std::vector<Reservation>& reservations,
                               const std::vector<std::chrono::seconds>& lifetimes);

// Sets aside on windows that are locked, `added` on each.
pg::Statement hold_statement(const std::vector<std::int64_t>& window_ids, const std::vector<std::int64_t>& added);

// Locks windows, ascending by id, and sets aside if all of it fits and the edition is this one; else it fails with
// `does_not_fit`. Its answer is for read_held.
pg::Statement hold_all_statement(const std::vector<Addition>& additions, std::int64_t edition);
inline constexpr std::string_view does_not_fit = "22012";  // SQLSTATE: division by zero
// The windows as they were before it.
Locked read_held(const pg::Rows& rows);

// Gives back what has expired, in a transaction of its own: how many reservations that were, at most `count`.
Async<std::int64_t> expire(pg::Cluster& database, std::int64_t count, Deadline deadline);

// One that the principal may see.
Async<std::optional<Reservation>> find(pg::Pool& database, Uuid id, const Principal& principal, Deadline deadline);

// Gives back what a caller does not need, if it is held. Whether it was.
Async<bool> release(pg::Cluster& database, Uuid id, const Call& call);

// Holds it for so long from now. False when it is not held, or not there.
Async<bool> renew(pg::Pool& database, Uuid id, std::chrono::seconds lifetime, const Call& call);

}  // namespace cognive::budgets::store
