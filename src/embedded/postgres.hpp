// One PostgreSQL server on a data directory of our own: made once, started as a child process, ended with us.
//
// What is on disk, for a node called `primary`:
//   DIR/postgres/primary/        its data directory; primary.new-<random>/ while it is being made
//   DIR/postgres/primary.conf    written at every start, with hba.conf and ident.conf, which all nodes share. They lie
//   outside the
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
  // `directory` must outlive this object.
  Postgres(const DataDirectory& directory, Binaries binaries, std::string name);

  Postgres(Postgres&&) = default;
  Postgres& operator=(Postgres&&) = delete;
  ~Postgres() { stop(); }

  [[nodiscard]] bool exists() const;  // whether create() has succeeded, now or earlier

  // Makes the data directory, with role postgres (superuser, no password), and role and database cognive. An attempt
  // that was interrupted leaves nothing that matters: the next one starts over.
  Result<void> create(const std::string& password, const Interrupted& interrupted);

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

  // Fast shutdown; immediate shutdown after 30 s; returns when the process is gone. Nothing to do when it is not
  // running.
  void stop();

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::uint16_t port() const { return port_; }  // of the last launch()
  [[nodiscard]] bool running() const { return child_ != nullptr; }
  [[nodiscard]] std::optional<pid_t> pid() const;

 private:
  Result<void> check_data() const;
  Result<void> write_settings(std::uint16_t port) const;
  Result<void> single_user(const std::filesystem::path& data, const std::string& statements,
                           const Interrupted& interrupted) const;
  void remove_unfinished() const;
  void remove_stale_socket(std::uint16_t port) const;
  Result<void> open_log();
  [[nodiscard]] Error ended(const Exit& exit) const;

  [[nodiscard]] std::filesystem::path log_path() const;

  const DataDirectory* directory_;
  Binaries binaries_;
  std::string name_;
  std::filesystem::path data_;

  std::uint16_t port_ = 0;
  std::unique_ptr<Child> child_;
  bool ready_ = false;
  Clock::time_point launched_;
  std::uintmax_t log_offset_ = 0;  // where this start's part of the log begins
};

}  // namespace cognive::embedded
