#include "pg/cluster.hpp"

#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <random>

#include "observe/log.hpp"
#include "pg/conninfo.hpp"

namespace cognive::pg {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds ejection_first{1'000};
constexpr milliseconds ejection_max{30'000};
// A primary that is slow to answer the monitor once or twice is still worth asking; after this long it has hung, and
// nobody shall wait for it until their own deadline.
constexpr milliseconds silence_max{3'000};

}  // namespace

struct Cluster::State : std::enable_shared_from_this<State> {
  // One database host and our pool for it.
  struct Member {
    Member(const Executor& executor, PoolOptions options, Metrics& metrics, const std::string& label)
        : pool(executor, std::move(options), metrics),
          reads(metrics.counter("db_reads_total", "Reads that may go to a replica, by where they went",
                                {{"host", label}})) {}

    Pool pool;
    Counter reads;
    std::optional<ServerIdentity> admitted;  // whom the pool's connections lead to
    // After a failure: not before `ejected_until`, nor before the monitor has asked again.
    Instant admitted_at{};  // the latest connection
    Instant failed_at{};
    Instant ejected_until{};
    milliseconds ejection{0};
  };

  State(Monitor& cluster_monitor, Metrics& metrics)
      : monitor(cluster_monitor),
        topology(monitor.topology()),
        stale(metrics.counter("db_reads_stale_total", "Reads that a replica could not serve yet and the primary did")),
        failed(metrics.counter("db_reads_failed_over_total", "Reads that failed on a replica and the primary served")) {
  }

  void make_members(const Executor& executor, const PoolOptions& options, Metrics& metrics) {
    const auto urls = monitor.options().urls();
    for (std::size_t i = 0; i < urls.size(); ++i) {
      auto own = options;
      own.url = urls[i];
      own.admit = [weak = weak_from_this(), i](const ServerIdentity& identity) {
        if (const auto self = weak.lock()) self->admit(i, identity);
      };
      members.push_back(std::make_unique<Member>(executor, std::move(own), metrics, host_label(urls[i])));
    }
  }

  Monitor& monitor;
  std::shared_ptr<const Topology> topology;
  std::vector<std::unique_ptr<Member>> members;
  Counter stale;
  Counter failed;
  std::size_t turn = 0;

  // A server that restarted or changed its role since the monitor saw it may not be who the picture says: an old
  // primary that comes back looks just as it did. Its connections wait until all hosts have been asked again.
  void admit(std::size_t index, const ServerIdentity& identity) {
    const bool seen = index < topology->hosts.size() && topology->hosts[index].report.reachable &&
                      identity.is_still(topology->hosts[index].report.identity);
    // A host that was slow to answer the monitor is still the one that our other connections lead to.
    const auto& admitted = members[index]->admitted;
    if (!seen && !(admitted && identity.is_still(*admitted))) {
      monitor.look_again();
      throw Unavailable("the database host has just started or changed its role, and is being looked at");
    }
    members[index]->admitted = identity;
    members[index]->admitted_at = std::chrono::steady_clock::now();
  }

  void apply() {
    topology = monitor.topology();
    for (std::size_t i = 0; i < members.size(); ++i) {
      auto& member = *members[i];
      const auto& host = topology->hosts[i];
      if (!member.admitted) continue;
      std::string reason;
      if (host.report.reachable && !host.report.identity.is_still(*member.admitted)) {
        reason = "the database host has restarted or changed its role";
      } else if (!host.report.reachable && topology->primary != i) {
        reason = "the database host does not answer";
      } else if (topology->primary == i && is_silent(host)) {
        reason = "the primary does not answer";
      } else if (!member.admitted->in_recovery && topology->primary != i) {
        reason = "the primary is another database host now";
      }
      if (reason.empty()) continue;
      member.admitted.reset();
      member.pool.drop(reason);
    }
  }

  [[nodiscard]] static bool is_silent(const Host& host) {
    return !host.report.reachable && std::chrono::steady_clock::now() - host.report.answered_at > silence_max;
  }

  [[nodiscard]] Pool& primary() const {
    if (!topology->primary) throw Unavailable("no primary database: " + topology->no_primary);
    const auto& host = topology->hosts[*topology->primary];
    if (is_silent(host)) throw Unavailable("the primary database does not answer: " + host.report.failure);
    return members[*topology->primary]->pool;
  }

  // The replica with the least load among those that may serve the read; null: the primary. A replica that had replayed
  // what is asked for when it was last looked at is as good as any; one that was abreast of the primary then will have
  // replayed it by now, most likely, and is asked.
  Member* choose(const std::optional<Position>& not_before) {
    const auto now = std::chrono::steady_clock::now();
    Member* best = nullptr;
    ++turn;
    for (std::size_t step = 0; step < members.size(); ++step) {
      const auto i = (turn + step) % members.size();
      if (i >= topology->hosts.size() || !topology->hosts[i].routed) continue;
      const auto& host = topology->hosts[i];
      auto& member = *members[i];
      if (now < member.ejected_until || host.report.asked_at <= member.failed_at) continue;
      // Positions of another timeline cannot be compared, and may have been lost with it.
      if (not_before && not_before->timeline != host.report.identity.timeline) continue;
      if (not_before && not_before->lsn > host.report.lsn && host.lag > milliseconds{0}) continue;
      if (best == nullptr || member.pool.load() < best->pool.load()) best = &member;
    }
    return best;
  }

  // Whether the host's answer must be checked against the position: the picture does not show yet that it is there.
  [[nodiscard]] bool must_check(const Member& member, const std::optional<Position>& not_before) const {
    if (!not_before) return false;
    for (std::size_t i = 0; i < members.size(); ++i) {
      if (members[i].get() != &member) continue;
      // A standby that crashed and recovered within one server process may be behind what it showed before.
      const auto& report = topology->hosts[i].report;
      return not_before->lsn > report.lsn || report.asked_at <= member.admitted_at;
    }
    return true;
  }

  void eject(Member& member, const std::string& reason) {
    thread_local std::minstd_rand random{std::random_device{}()};
    // The reads that were under way fail together; that is one incident.
    if (std::chrono::steady_clock::now() < member.ejected_until) return;
    member.failed_at = std::chrono::steady_clock::now();
    member.ejection = std::clamp(member.ejection * 2, ejection_first, ejection_max);
    std::uniform_int_distribution<std::int64_t> jitter(member.ejection.count() / 2, member.ejection.count());
    member.ejected_until = member.failed_at + milliseconds{jitter(random)};
    log(Level::warning, "a replica failed and is left alone for a while",
        {{"reason", reason}, {"milliseconds", member.ejection.count()}});
  }

  enum class Kind { shared, apart, find };

  // What the replica answers; nothing when the primary has to.
  Async<std::optional<Rows>> ask_replica(const Query& query, Params params, Kind kind,
                                         std::optional<Position> not_before, Deadline deadline) {
    auto* const member = choose(not_before);
    if (member == nullptr || deadline.passed()) co_return std::nullopt;
    // Half of the time: the rest is for the primary, should the replica's way be blocked.
    const auto patience = Deadline::in(deadline.remaining() / 2);
    std::string failure;
    bool refused = false;
    try {
      std::optional<Rows> rows;
      if (must_check(*member, not_before)) {
        const auto lane = kind == Kind::apart ? Pool::Lane::apart : Pool::Lane::shared;
        rows = co_await member->pool.execute_not_before(query, std::move(params), lane, *not_before, patience);
      } else if (kind == Kind::apart) {
        rows = co_await member->pool.execute_apart(query, std::move(params), patience);
      } else {
        rows = co_await member->pool.execute(query, std::move(params), patience);
      }
      member->ejection = milliseconds{0};
      if (!rows) stale.add();
      if (rows && kind == Kind::find && rows->empty()) co_return std::nullopt;
      if (rows) member->reads.add();
      co_return rows;
    } catch (const boost::system::system_error&) {
      throw;  // the task is being stopped
    } catch (const Retryable&) {
      refused = true;  // replay needed what the statement was reading, for instance
    } catch (const Unavailable& error) {
      failure = error.what();
    } catch (const SqlError&) {
      // Perhaps a table that a migration has just made and the replica does not have yet; the primary will tell.
      refused = true;
    }
    if (!refused) eject(*member, failure);
    failed.add();
    co_return std::nullopt;
  }

  static Async<Rows> read(std::shared_ptr<State> state, const Query& query, Params params, Kind kind,
                          std::optional<Position> not_before, Deadline deadline) {
    auto answer = co_await state->ask_replica(query, params, kind, not_before, deadline);
    if (answer) co_return std::move(*answer);
    auto& pool = state->primary();
    const auto& report = state->topology->hosts[*state->topology->primary].report;
    if (not_before && report.reachable && not_before->timeline > report.identity.timeline) {
      // Somebody knows of a promotion that we have not seen yet.
      state->monitor.look_again();
      throw Unavailable("the read is to be newer than the primary that is known here");
    }
    state->members[*state->topology->primary]->reads.add();
    if (kind == Kind::apart) co_return co_await pool.execute_apart(query, std::move(params), deadline);
    co_return co_await pool.execute(query, std::move(params), deadline);
  }
};

Cluster::Cluster(Executor executor, PoolOptions options, Monitor& monitor, Metrics& metrics)
    : state_(std::make_shared<State>(monitor, metrics)) {
  state_->make_members(executor, options, metrics);
  monitor.follow(std::move(executor), [weak = std::weak_ptr(state_)] {
    const auto state = weak.lock();
    if (state) state->apply();
    return state != nullptr;
  });
}

Cluster::~Cluster() = default;

Pool& Cluster::primary() const {
  return state_->primary();
}

Reader Cluster::read_preferred(const Call& call) {
  return {*this, call.not_before};
}

Async<Transaction> Cluster::begin(Deadline deadline) {
  co_return co_await state_->primary().begin(deadline);
}

Async<Transaction> Cluster::begin_lazily(Deadline deadline) {
  co_return co_await state_->primary().begin_lazily(deadline);
}

Async<> Cluster::close() {
  const auto state = state_;
  for (const auto& member : state->members) co_await member->pool.close();
}

Async<Rows> Reader::execute(const Query& query, Params params, Deadline deadline) const {
  return Cluster::State::read(cluster_->state_, query, std::move(params), Cluster::State::Kind::shared, not_before_,
                              deadline);
}

Async<Rows> Reader::execute_apart(const Query& query, Params params, Deadline deadline) const {
  return Cluster::State::read(cluster_->state_, query, std::move(params), Cluster::State::Kind::apart, not_before_,
                              deadline);
}

Async<Rows> Reader::find(const Query& query, Params params, Deadline deadline) const {
  return Cluster::State::read(cluster_->state_, query, std::move(params), Cluster::State::Kind::find, not_before_,
                              deadline);
}

}  // namespace cognive::pg
