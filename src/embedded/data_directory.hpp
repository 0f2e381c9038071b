// The directory in which `cognive up` keeps everything: DIR/postgres, DIR/run, DIR/log, DIR/objects, and small private
// files.
//
// All of it belongs to us; only the nodes' data directories and the socket directory belong to the user who runs
// PostgreSQL, so that nothing we write as root lies where another user could redirect it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "embedded/files.hpp"
#include "embedded/process.hpp"

namespace cognive::embedded {

// Open means locked: no second process gets the same directory until this object, or this process, is gone. Outlives
// the Cluster that uses it.
class DataDirectory {
 public:
  // Makes what is missing. `database_user` (Identity::unprivileged) must be able to reach the directory, which fails
  // for instance under /root. Fails with Code::conflict when another process has it.
  static Result<DataDirectory> open(const std::filesystem::path& path, const Identity& database_user);

  DataDirectory(DataDirectory&&) = default;
  DataDirectory& operator=(DataDirectory&&) = delete;
  ~DataDirectory();

  [[nodiscard]] const std::filesystem::path& root() const { return root_; }  // absolute
  [[nodiscard]] const Identity& database_user() const { return database_user_; }
  [[nodiscard]] std::filesystem::path postgres() const { return root_ / "postgres"; }
  [[nodiscard]] std::filesystem::path log() const { return root_ / "log"; }
  [[nodiscard]] std::filesystem::path objects() const { return root_ / "objects"; }

  // Where the unix sockets are. DIR/run, unless its name is too long for a socket or has a comma, which separates hosts
  // for libpq: then a private directory under /tmp, remembered in DIR/sockets and removed by the destructor.
  [[nodiscard]] const std::filesystem::path& sockets() const { return sockets_; }

  // A file that only we may read, for instance "master-key"; `name` is relative to the root. All or nothing, durable on
  // return.
  Result<void> write_private(const std::string& name, std::string_view content) const;

  // Nothing when there is no such file.
  [[nodiscard]] Result<std::optional<std::string>> read_private(const std::string& name) const;

  // Makes a directory (also when it exists) that belongs to the database user and is closed to everybody else.
  Result<void> make_database_directory(const std::filesystem::path& path) const;

 private:
  DataDirectory(std::filesystem::path root, Identity database_user)
      : root_(std::move(root)), database_user_(std::move(database_user)) {}

  Result<void> take_lock();
  Result<void> make_directories();
  Result<void> choose_sockets();

  std::filesystem::path root_;
  std::filesystem::path sockets_;
  Identity database_user_;
  Descriptor lock_;
};

}  // namespace cognive::embedded
