// The database as one I/O thread sees it: a primary for everything that writes or decides, replicas for reads that may
// go there. Follows the monitor: when another host becomes the primary, writes go to it from the next statement on.
#pragma once

#include <memory>
#include <optional>

#include "pg/monitor.hpp"
#include "pg/pool.hpp"

namespace cognive::pg {

class Cluster;

// Where a read may go: a replica that is fresh enough, else the primary. A replica that fails is left alone for a
// while, and the primary is asked instead: a lost replica costs time, never an answer.
class Reader {
 public:
  Async<Rows> execute(const Query& query, Params params, Deadline deadline) const;
  // For statements that may take long; see Pool::execute_apart.
  Async<Rows> execute_apart(const Query& query, Params params, Deadline deadline) const;
  // For what must exist if the caller knows of it, a row by its id: when a replica finds nothing, the primary is asked.
  Async<Rows> find(const Query& query, Params params, Deadline deadline) const;

 private:
  friend class Cluster;
  Reader(Cluster& cluster, std::optional<Position> not_before) : cluster_(&cluster), not_before_(not_before) {}

  Cluster* cluster_;
  std::optional<Position> not_before_;
};

class Cluster {
 public:
  // `options.url` and `options.admit` are set per host. `monitor` and `metrics` must outlive it.
  Cluster(Executor executor, PoolOptions options, Monitor& monitor, Metrics& metrics);
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;
  ~Cluster();

  // For writes, and for reads that authorise. Never a standby, never an old primary. Throws Unavailable when there is
  // no primary. The pool lives as long as the cluster.
  [[nodiscard]] Pool& primary() const;

  // For reads on behalf of a call: they see everything that it must see, and otherwise what any replica within the lag
  // limit shows.
  [[nodiscard]] Reader read_preferred(const Call& call);

  // A transaction on the primary.
  Async<Transaction> begin(Deadline deadline);
  // See Pool::begin_lazily.
  Async<Transaction> begin_lazily(Deadline deadline);

  Async<> close();

 private:
  friend class Reader;
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace cognive::pg
