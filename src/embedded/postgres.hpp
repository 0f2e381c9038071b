// One PostgreSQL server on a data directory of our own: made once, started as a child process, ended with us.
//
// What is on disk, for a node called `primary`:
//   DIR/postgres/primary/        its data directory; primary.new-<random>/ while it is being made
//   DIR/postgres/primary.conf    written at every start and when a replica gets another primary, with hba.conf and
//   ident.conf, which all nodes share. They lie outside the
//                                data directory so that a base backup of one node does not carry its settings to
//                                another
//   DIR/log/primary.log          what the server says; primary.log.old when it grew over 16 MiB
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "embedded/binaries.hpp"
#include "embedded/data_directory.hpp"
#include "embedded/process.hpp"

namespace cognive::embedded {

// The version that made a data directory (its PG_VERSION); nothing when there is none.
Result<std::optional<int>> data_version(const std::filesystem::path& data);

// Belongs to the main thread. The destructor stops the server.
class Postgres {
 public:
  // `directory` must outlive this object. All servers of an installation need the same `max_connections`.
  Postgres(const DataDirectory& directory, Binaries binaries, std::string name, int max_connections);

  Postgres(Postgres&&) = default;
  Postgres& operator=(Postgres&&) = delete;
  ~Postgres() { stop(); }

  [[nodiscard]] bool exists() const;  // whether create() has succeeded, now or earlier

  // Fails when the data directory belongs to another user than the one who runs PostgreSQL here.
  [[nodiscard]] Result<void> check_owner() const;

  // Makes the data directory, with role postgres (superuser, no password), and role and database cognive. An attempt
  // that was interrupted leaves nothing that matters: the next one starts over.
  Result<void> create(const std::string& password, const Interrupted& interrupted);

  // Makes the data directory anew as a copy of the primary that listens on `primary_port`, and this node its replica.
  // What was there is moved to `keep_old`, or else removed, once the copy is complete.
  Result<void> copy(std::uint16_t primary_port, const std::optional<std::filesystem::path>& keep_old,
                    const Interrupted& interrupted);

  // Whom this node follows, if it is a replica: also while it runs.
  Result<void> follow(std::optional<std::uint16_t> primary_port, const Interrupted& interrupted);

  // Whether a server that was told to follow another has become a primary, by whatever means, and is ready.
  [[nodiscard]] bool promoted() const;

  // What a replica said when it found out that it can never again follow its primary, for instance because the primary
  // keeps no WAL of that time any more: since the launch or the last call.
  std::optional<std::string> lost_track();

  // Runs SQL as role postgres, in one session of its own, and returns what psql prints, without headers.
  Result<std::string> query(const std::string& database, const std::string& statements,
                            const Interrupted& interrupted) const;

  // Gives role cognive another password while the server is stopped.
  Result<void> set_password(const std::string& password, const Interrupted& interrupted);

  // Starts the server and returns; poll() tells when it is ready. Ends a server that an earlier process left behind,
  // which is the only thing that takes time here. Code::conflict: another program has the port.
  Result<void> launch(std::uint16_t port, const Interrupted& interrupted);

  // Whether the server accepts connections. Fails when it ended, or when it takes hopelessly long (one minute, ten
  // while it recovers from a crash); it is stopped then, and launch() may be tried again.
  Result<bool> poll();

  // launch() and poll() until the server is ready.
  Result<void> start(std::uint16_t port, const Interrupted& interrupted);

  // Begins a fast shutdown, so that several servers can end at the same time. stop() must follow.
  void begin_stop();

  // Immediate shutdown: no client can write any more, and nothing is sent to replicas. Nothing that was committed is
  // lost.
  void fence();

  // Fast shutdown; immediate shutdown after 30 s; returns when the process is gone. Nothing to do when it is not
  // running.
  void stop();

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::uint16_t port() const { return port_; }  // of the last launch()
  [[nodiscard]] bool running() const { return child_ != nullptr; }
  [[nodiscard]] bool ready() const { return ready_; }  // whether the last launch() led to a server that was ready
  [[nodiscard]] const Binaries& binaries() const { return binaries_; }
  [[nodiscard]] const std::filesystem::path& data() const { return data_; }
  [[nodiscard]] std::optional<pid_t> pid() const;

 private:
  Result<void> check_data() const;
  Result<void> write_settings(std::uint16_t port) const;
  Result<std::filesystem::path> make_unfinished() const;
  Result<void> forget_copied_upstream(const std::filesystem::path& data, const Interrupted& interrupted) const;
  Result<void> single_user(const std::filesystem::path& data, const std::string& statements, bool synced,
                           const Interrupted& interrupted) const;
  void remove_unfinished() const;
  void remove_stale_socket(std::uint16_t port) const;
  Result<void> open_log();
  [[nodiscard]] Error ended(const Exit& exit) const;

  [[nodiscard]] std::filesystem::path log_path() const;

  const DataDirectory* directory_;
  Binaries binaries_;
  std::string name_;
  int max_connections_;
  std::filesystem::path data_;

  std::optional<std::uint16_t> follows_;  // the primary's port
  std::uint16_t port_ = 0;
  std::unique_ptr<Child> child_;
  bool ready_ = false;
  Clock::time_point launched_;
  std::uintmax_t log_offset_ = 0;      // where this start's part of the log begins
  std::uintmax_t searched_until_ = 0;  // what lost_track() has read
};

}  // namespace cognive::embedded
