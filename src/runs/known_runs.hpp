// Runs as this process has seen them within the last second, for whoever asks about the same runs again and again.
// Shared by all threads. Whoever changes a run or what its agent may do, forgets it here once that is committed: on
// this node changes hold at once, on others within a second.
#pragma once

#include <array>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "agents/policy.hpp"
#include "base/uuid.hpp"
#include "pg/cluster.hpp"

namespace cognive::runs {

struct KnownRun {
  Uuid team_id;
  Uuid agent_id;
  std::string environment;
  std::string status;
  std::optional<std::string> error;
  std::shared_ptr<const agents::Policy> policy;  // of its agent, now

  [[nodiscard]] bool is_active() const { return status == "queued" || status == "running"; }
};

using KnownRunRows = std::unordered_map<Uuid, std::shared_ptr<const KnownRun>>;

// As the primary knows them; those that do not exist are missing.
Async<KnownRunRows> find_known(pg::Transaction& transaction, const std::set<Uuid>& ids);
Async<KnownRunRows> find_known(pg::Pool& database, const std::set<Uuid>& ids, Deadline deadline);

class KnownRuns {
 public:
  static constexpr std::chrono::milliseconds age_max{1'000};

  // As of when a run is asked for; `put` drops what may have changed since.
  using Ticket = std::uint64_t;

  [[nodiscard]] std::shared_ptr<const KnownRun> find(const Uuid& id);
  // Before the database is asked.
  [[nodiscard]] Ticket ticket(const Uuid& id);
  void put(const Uuid& id, std::shared_ptr<const KnownRun> run, Ticket ticket);
  void forget(const Uuid& id);
  void forget_agent(const Uuid& agent_id);

 private:
  static constexpr std::size_t kept_max = 512;  // in each shard

  struct Entry {
    std::shared_ptr<const KnownRun> run;
    std::chrono::steady_clock::time_point until;
  };
  struct Shard {
    std::mutex mutex;
    Ticket changes = 0;
    std::unordered_map<Uuid, Entry> runs;
  };

  Shard& shard(const Uuid& id) { return shards_[std::hash<Uuid>{}(id) % shards_.size()]; }

  std::array<Shard, 64> shards_;
};

}  // namespace cognive::runs
