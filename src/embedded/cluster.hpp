// The private PostgreSQL of `cognive up`: a primary and its streaming replicas in one data directory, started, watched
// and stopped together.
//
//   auto user = Identity::unprivileged();
//   auto directory = DataDirectory::open("/var/lib/cognive", *user);
//   auto cluster = Cluster::start(*directory, {.replicas = 2, .interrupted = signal_arrived});
//   … connect to cluster->socket_url(), call cluster->watch() about once a second …
//   cluster->stop();
//
// A replica that is promoted, with pg_promote() or in any other way, is the primary from then on, also at later starts:
// nodes keep their names and ports, and exchange their roles.
//
// Belongs to the main thread, which must not end before it (process.hpp says why).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "embedded/data_directory.hpp"
#include "embedded/postgres.hpp"
#include "embedded/restart_policy.hpp"
#include "embedded/roles.hpp"

namespace cognive::embedded {

class Cluster {
 public:
  struct Options {
    std::optional<std::uint16_t> port{};  // of node `primary` on 127.0.0.1; none: the last one if it is free, else any
    int replicas = 0;                     // besides the primary; 0 to replicas_max
    int max_connections = 100;            // of every server
    Interrupted interrupted{};            // asked while start() and watch() wait
  };

  // What an operator wants to know of a node.
  struct NodeStatus {
    std::string name;
    std::uint16_t port;
    std::optional<pid_t> pid;  // none: it is not running at the moment
    bool is_primary;
  };

  // Makes what is missing of the primary and its replicas, and returns when the primary accepts connections and the
  // replicas follow it; replicas that still have much to read after half a minute are not waited for. Replicas that
  // cannot follow any more are made anew. What the log should say of all this comes with the next watch(). `directory`
  // must outlive the cluster. Every error is a sentence for the operator; Code::conflict when somebody else has the
  // port or the version is another one.
  static Result<Cluster> start(const DataDirectory& directory, Options options);

  Cluster(Cluster&&) = default;
  Cluster& operator=(Cluster&&) = default;
  ~Cluster() { stop(); }

  // Restarts what died: after 1, 2, 4, 8 s, on the same port. Returns what the log should say, mostly nothing. Fails
  // when the primary died five times within a minute; nothing is watched any more then. A replica that does so is left
  // alone until the next start.
  //
  // Takes a replica that was promoted as the primary: fences the former primary, if it still runs, before anything
  // else, lets the other replicas follow the new one, and makes the former primary a replica, whose old data are kept
  // beside as <name>.outdated-<time>.
  //
  // Does not wait for servers to become ready. Blocks only for that exchange of roles and while a replica is made
  // anew, which is a copy of the database: a second or two when it is small.
  Result<std::vector<std::string>> watch();

  // Fast shutdown of the primary, which sends its last WAL to the replicas, then of the replicas. The data is intact
  // whatever happens. Afterwards there is nothing to watch, and no URL and no primary() to ask for.
  void stop();

  // For role cognive on database cognive of the current primary. The socket needs no password for the user who runs us;
  // the loopback port does. After a failover the URLs are the same ones in other roles.
  [[nodiscard]] std::string socket_url() const { return socket_url_of(primary(), "cognive"); }
  [[nodiscard]] std::string tcp_url() const { return tcp_url_of(primary()); }  // contains the password
  // Role postgres over the socket: for extensions, ALTER SYSTEM and the like.
  [[nodiscard]] std::string superuser_url() const { return socket_url_of(primary(), "postgres"); }

  // The same for role cognive on the replicas that are running, in the order of their names.
  [[nodiscard]] std::vector<std::string> replica_socket_urls() const;
  [[nodiscard]] std::vector<std::string> replica_tcp_urls() const;

  [[nodiscard]] const Postgres& primary() const { return nodes_[primary_].server; }
  [[nodiscard]] std::vector<NodeStatus> nodes() const;

 private:
  struct Node {
    Postgres server;
    Remake remake = Remake::no;  // before the next launch
    RestartPolicy policy{};
    std::optional<Clock::time_point> restart_at{};
    bool announced = true;  // whether the log knows that it is ready
    bool given_up = false;
  };

  Cluster(const DataDirectory& directory, Options options, std::string password)
      : directory_(&directory), options_(std::move(options)), password_(std::move(password)) {}

  Result<void> start_primary();
  Result<std::uint16_t> choose_port(const Postgres& server, bool as_before) const;
  Result<void> remember_port(const Postgres& server) const;

  Result<void> start_replicas();
  Result<void> launch_replica(Node& node);
  Result<bool> follows(const Node& node, const std::string& timeline) const;

  Result<void> prepare_primary();
  Result<void> remake(Node& node);

  void notice_promotion();
  void settle();
  Result<void> watch_node(Node& node);
  Result<bool> poll_or_restart(Node& node);
  Result<bool> restart(Node& node);

  [[nodiscard]] std::string socket_url_of(const Postgres& server, std::string_view role) const;
  [[nodiscard]] std::string tcp_url_of(const Postgres& server) const;
  [[nodiscard]] bool is_primary(const Node& node) const { return &node == &nodes_[primary_]; }

  const DataDirectory* directory_;
  Options options_;
  std::string password_;
  std::vector<Node> nodes_;  // in the order of their names
  std::size_t primary_ = 0;
  std::vector<std::string> news_;  // for the next watch()

  // The primary changed, and does not have the slots of its replicas, or they do not follow it yet.
  bool settled_ = true;
  Clock::time_point settle_at_{};
};

}  // namespace cognive::embedded
