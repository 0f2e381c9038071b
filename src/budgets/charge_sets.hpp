// The windows that something is charged to, those of now of all budgets that cover it, and the numbers under which such
// sets are known. Shared by all threads of a process; windows are made when something is first charged to them.
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "budgets/coverage.hpp"
#include "pg/cluster.hpp"

namespace cognive::budgets {

// What covers one call, step, tool invocation or reservation.
struct Covered {
  Coverage::Definitions budgets;         // ascending by id
  std::optional<Uuid> run_id;            // needed when a budget has a window for each run
  std::vector<std::int64_t> window_ids;  // of each budget; 0: it covers nothing any more
  std::int64_t charge_set_id = 0;        // 0: nothing covers it
};

// Reads what has changed of the budgets. Throws Unavailable.
Async<> refresh(CurrentCoverage& coverage, pg::Pool& database, Deadline deadline);

class ChargeSets {
 public:
  ChargeSets() = default;
  ChargeSets(const ChargeSets&) = delete;
  ChargeSets& operator=(const ChargeSets&) = delete;

  // Fills in windows and sets. Throws Unavailable.
  Async<> resolve(pg::Pool& database, std::span<Covered* const> covered, Deadline deadline);
  // Windows may have ended before their time, and sets be gone: budgets have changed, PostgreSQL's clock has been set,
  // or a standby that lacked the latest commits has become the primary.
  void forget();

 private:
  static constexpr std::size_t remembered_max = 100'000;

  using Key = std::pair<Uuid, Uuid>;  // budget and run; the nil UUID when all runs share a window
  struct Window {
    std::int64_t id = 0;
    std::chrono::steady_clock::time_point until;
  };

  static Key key_of(const Definition& definition, const Covered& covered);
  // Fills in what is known; the keys that are not.
  std::vector<Key> look_up(std::span<Covered* const> covered);

  std::mutex mutex_;
  std::map<Key, Window> windows_;
  std::map<std::vector<std::int64_t>, std::int64_t> sets_;
};

}  // namespace cognive::budgets
