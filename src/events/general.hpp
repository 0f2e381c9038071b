// The general way of events into the database: in one transaction, which finds or makes their runs, tells new events
// from repeats and conflicts, moves runs on, and ends those whose policy says so. When PostgreSQL refuses a value that
// we let through, the halves of a commit are tried apart, until the one bad event stands alone and is rejected.
#pragma once

#include "audit/audit.hpp"
#include "events/appraisal.hpp"
#include "events/covering.hpp"
#include "events/meters.hpp"
#include "observe/log.hpp"
#include "pg/cluster.hpp"
#include "runs/known_runs.hpp"
#include "runs/runs.hpp"

namespace cognive::events {

// For one thread, one commit at a time.
class GeneralWay {
 public:
  GeneralWay(pg::Cluster& database, const prices::CurrentCatalogue& catalogue, runs::KnownRuns& known,
             Budgeting budgeting, audit::Trail trail, Meters& meters, const keyring::DerivedKey& content_key,
             std::chrono::milliseconds commit_timeout, bool tells_feed);

  // Settles the fates of all items. Where the last commit stands. Throws Unavailable when the outcome is not known.
  Async<Position> commit(std::span<Item> items);

 private:
  // Items that have the key of another one of the same commit, with that one.
  using Repeats = std::vector<std::pair<Item*, Item*>>;
  using ByType = std::array<std::vector<Item*>, 3>;

  Async<Position> commit_with_retry(std::span<Item> items);
  Async<Result<Repeats>> store_together(pg::Transaction& transaction, std::span<Item> items);
  Async<> announce(pg::Transaction& transaction, const ByType& by_type);
  static Async<> append_deltas(pg::Transaction& transaction, const std::vector<Item*>& calls);
  static Async<> tell_ended_runs(pg::Transaction& transaction, const std::vector<Item*>& calls);
  Async<> charge(pg::Transaction& transaction, const ByType& by_type, std::int64_t edition);
  Async<> move_runs(pg::Transaction& transaction, const ByType& by_type);
  void settle(std::span<Item> items, const Repeats& repeats);
  void tell_of_run(Item& item) const;
  static Async<> resolve_runs(pg::Transaction& transaction, std::span<Item> items);
  static Async<> make_placeholders(pg::Transaction& transaction, std::span<Item> items, runs::KnownRunRows& runs);
  static Async<bool> insert(pg::Transaction& transaction, EventType type, const std::vector<Item*>& items);

  pg::Cluster& database_;
  runs::KnownRuns& known_;
  Budgeting budgeting_;
  audit::Trail trail_;
  Meters& meters_;
  std::chrono::milliseconds commit_timeout_;
  bool tells_feed_;
  Appraiser appraiser_;
  std::map<Uuid, runs::Run> terminated_;  // by the commit that is running
  LogThrottle throttle_;
};

}  // namespace cognive::events
