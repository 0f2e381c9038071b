// SQL of charges.
#pragma once

#include "charges/charges.hpp"

namespace cognive::charges::store {

// A call as it is charged now.
struct ChargedCall {
  Place place;
  Uuid team_id;
  std::optional<std::string> provider;
  std::string model;
  prices::Usage usage;
  std::int64_t sequence = 0;  // of its latest adjustment; 0: none
  std::string price_status;
  std::optional<Uuid> price_version_id;
  std::optional<NanoUsd> cost;
  // What rollups tell it apart by, and add up, besides.
  Uuid agent_id;
  std::string environment;
  bool failed = false;
  std::optional<std::int64_t> duration_ms;
};

// Which calls: those behind `after` and before `until`, of whoever the caller may see.
struct Selection {
  std::optional<Uuid> principal_team_id;
  std::optional<Uuid> team_id;
  std::optional<Uuid> agent_id;
  std::optional<std::string> provider;
  std::optional<std::string> model;
};

// Keeps other repricings out until the transaction ends, so that each sees the adjustments of the others; false when
// there is one.
Async<bool> try_lock(pg::Transaction& transaction);
// Whether there are calls, of anybody.
Async<bool> any_calls(pg::Transaction& transaction, Timestamp from, Timestamp until);
// In order, at most `count`; a place without ids stands before all calls of its time.
Async<std::vector<ChargedCall>> read(pg::Transaction& transaction, const Selection& selection, const Place& after,
                                     Timestamp until, std::int64_t count);

struct NewAdjustment {
  const ChargedCall* call = nullptr;
  std::string_view price_status;
  std::optional<Uuid> price_version_id;
  std::optional<NanoUsd> cost;
};
Async<> insert(pg::Transaction& transaction, Uuid repricing_id, const std::vector<NewAdjustment>& adjustments);

// Nothing when the caller may not see such a call.
Async<std::optional<ChargedCall>> find(pg::Reader database, Uuid run_id, Uuid call_id, const Principal& principal,
                                       Deadline deadline);
Async<std::vector<Adjustment>> adjustments(pg::Reader database, Uuid run_id, Uuid call_id, Deadline deadline);

}  // namespace cognive::charges::store
