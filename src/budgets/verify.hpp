// Whether the counters of budgets are what their calls, steps, tool invocations and reservations add up to.
#pragma once

#include <vector>

#include "budgets/budgets.hpp"

namespace cognive::budgets {

// A counter of a window that is not what was charged to it.
struct WrongCounter {
  std::int64_t window_id = 0;
  Uuid budget_id;
  std::string counter;  // spent, reserved, unreserved or exceeded
  std::string stored;   // in the unit that is stored: 1e-9 USD of money, milliseconds of time, else a count
  std::string ledger;
};

struct Verification {
  std::int64_t windows = 0;  // compared
  std::vector<WrongCounter> wrong;
};

// Compares the windows that were first used since `since`, in one snapshot, with everything that was ever charged to
// them. Reads every call that is kept, on the primary. Of older windows retention may have dropped calls.
Async<Verification> verify(pg::Pool& database, Timestamp since, Deadline deadline);

}  // namespace cognive::budgets
