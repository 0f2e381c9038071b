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

// Sets aside: the reservations are new, and `windows` are those that were locked, as they are to be.
std::vector<pg::Statement> hold(const std::vector<Reservation>& reservations,
                                const std::vector<std::int64_t>& window_ids, const std::vector<std::int64_t>& added);

// Gives back what has expired, in a transaction of its own: how many reservations that were, at most `count`.
Async<std::int64_t> expire(pg::Cluster& database, std::int64_t count, Deadline deadline);

// One that the principal may see.
Async<std::optional<Reservation>> find(pg::Pool& database, Uuid id, const Principal& principal, Deadline deadline);

// Gives back what a caller does not need, if it is held. Whether it was.
Async<bool> release(pg::Cluster& database, Uuid id, const Call& call);

// Holds it for so long from now. False when it is not held, or not there.
Async<bool> renew(pg::Pool& database, Uuid id, std::chrono::seconds lifetime, const Call& call);

}  // namespace cognive::budgets::store
