// The private PostgreSQL of `cognive up`: the servers of one data directory, started, watched and stopped together.
//
//   auto user = Identity::unprivileged();
//   auto directory = DataDirectory::open("/var/lib/cognive", *user);
//   auto cluster = Cluster::start(*directory, {.port = std::nullopt, .interrupted = signal_arrived});
//   … connect to cluster->socket_url(), call cluster->watch() about once a second …
//   cluster->stop();
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

namespace cognive::embedded {

class Cluster {
 public:
  struct Options {
    std::optional<std::uint16_t> port;  // of the primary on 127.0.0.1; none: the last one if it is free, else any
    Interrupted interrupted;            // asked while start() and watch() wait
  };

  // Makes the primary if this is the first start, and returns when it accepts connections. `directory` must outlive the
  // cluster. Every error is a sentence for the operator; Code::conflict when somebody else has the port or the version
  // is another one.
  static Result<Cluster> start(const DataDirectory& directory, Options options);

  Cluster(Cluster&&) = default;
  Cluster& operator=(Cluster&&) = default;
  ~Cluster() { stop(); }

  // Restarts what died: after 1, 2, 4, 8 s, on the same port. Returns what the log should say, mostly nothing. Fails
  // when a server died five times within a minute; nothing is watched any more then. Does not wait for servers to
  // become ready.
  Result<std::vector<std::string>> watch();

  // Fast shutdown, in reverse order of the start. The data is intact whatever happens. Afterwards there is nothing to
  // watch, and no URL and no primary() to ask for.
  void stop();

  // For role cognive on database cognive. The socket needs no password for the user who runs us; the loopback port
  // does.
  [[nodiscard]] std::string socket_url() const;
  [[nodiscard]] std::string tcp_url() const;  // contains the password
  // Role postgres over the socket: for extensions, ALTER SYSTEM and the like.
  [[nodiscard]] std::string superuser_url() const;

  [[nodiscard]] const Postgres& primary() const { return nodes_.front().server; }

 private:
  struct Node {
    Postgres server;
    RestartPolicy policy{};
    std::optional<Clock::time_point> restart_at{};
    bool announced = true;  // whether the log knows that it is ready
  };

  Cluster(const DataDirectory& directory, Options options, std::string password)
      : directory_(&directory), options_(std::move(options)), password_(std::move(password)) {}

  Result<void> start_node(Postgres& server, std::optional<std::uint16_t> fixed_port);
  [[nodiscard]] std::string socket_url_of(std::string_view role) const;

  const DataDirectory* directory_;
  Options options_;
  std::string password_;
  std::vector<Node> nodes_;  // in start order: the primary first, then its replicas
};

}  // namespace cognive::embedded
