#include "embedded/data_directory.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "base/text.hpp"

namespace cognive::embedded {
namespace fs = std::filesystem;

namespace {

constexpr const char* sockets_file = "sockets";

// Other users pass through to what is theirs, but see no names.
mode_t passable_mode() {
  return ::geteuid() == 0 ? 0711 : 0700;
}

Result<void> make_directory(const fs::path& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) == 0) {
    // Whatever the umask says.
    if (::chmod(path.c_str(), mode) != 0) return system_failure("set the mode of", path, errno);
    return {};
  }
  if (errno != EEXIST) return system_failure("create the directory", path, errno);
  std::error_code unknown;
  if (!fs::is_directory(path, unknown))
    return fail(Code::conflict, fmt::format("{} is not a directory.", path.native()));
  return {};
}

// A missing path as its existing beginning and the rest.
fs::path existing_part(fs::path path) {
  std::error_code unknown;
  while (!fs::exists(path, unknown) && path != path.parent_path()) path = path.parent_path();
  return path;
}

bool fits_a_socket(const fs::path& directory) {
  // A comma separates hosts in a libpq connection string, and nothing can quote it.
  const auto longest = directory.native() + "/.s.PGSQL.65535";
  return longest.size() < sizeof(sockaddr_un::sun_path) && !longest.contains(',');
}

bool is_private_directory_of(const fs::path& path, uid_t owner) {
  struct stat status{};
  return ::lstat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == owner &&
         (status.st_mode & 07777) == 0700;
}

}  // namespace

Result<DataDirectory> DataDirectory::open(const fs::path& path, const Identity& database_user) {
  if (path.empty()) return fail(Code::malformed, "The data directory has an empty name.");
  std::error_code error;
  // Without symbolic links, so that the reachability of every real parent is checked.
  const auto root = fs::weakly_canonical(fs::absolute(path, error), error);
  if (error) return system_failure("find", path, error.value());
  // weakly_canonical keeps a trailing slash of what does not exist.
  DataDirectory directory(root.has_filename() ? root : root.parent_path(), database_user);

  if (const auto part = existing_part(directory.root_); !fs::is_directory(part, error)) {
    return fail(Code::conflict, part.native() + " is not a directory: choose another with --data.");
  }
  if (database_user.uid != ::geteuid()) {
    const auto closed = first_closed_directory(existing_part(directory.root_), database_user);
    if (!closed) return fail(closed.error());
    if (*closed) {
      return fail(Code::forbidden,
                  fmt::format("User {}, who runs PostgreSQL, may not pass through {}: choose another data directory "
                              "with --data, for instance /var/lib/cognive.",
                              database_user.name, (*closed)->native()));
    }
  }
  if (auto made = directory.make_directories(); !made) return fail(made.error());
  if (auto locked = directory.take_lock(); !locked) return fail(locked.error());
  if (auto chosen = directory.choose_sockets(); !chosen) return fail(chosen.error());
  return directory;
}

DataDirectory::~DataDirectory() {
  // Moved from, or not finished.
  if (!lock_ || sockets_.empty() || sockets_ == root_ / "run") return;
  std::error_code ignored;
  fs::remove_all(sockets_, ignored);
  fs::remove(root_ / sockets_file, ignored);
}

Result<void> DataDirectory::make_directories() {
  std::vector<fs::path> missing;
  for (auto path = root_; path != existing_part(root_); path = path.parent_path()) missing.push_back(path);
  for (auto path = missing.rbegin(); path != missing.rend(); ++path) {
    if (auto made = make_directory(*path, passable_mode()); !made) return made;
  }
  if (auto made = make_directory(root_, passable_mode()); !made) return made;
  if (auto made = make_directory(postgres(), passable_mode()); !made) return made;
  if (auto made = make_directory(log(), 0700); !made) return made;
  return make_directory(objects(), 0700);
}

Result<void> DataDirectory::take_lock() {
  const auto path = root_ / "lock";
  lock_ = Descriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!lock_) return system_failure("open", path, errno);
  if (::flock(lock_.number(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return system_failure("lock", path, errno);
    const auto owner = read_file(path);
    const auto pid = owner && *owner ? std::string(trim(**owner)) : "";
    lock_.close();
    return fail(Code::conflict,
                fmt::format("{} is in use by {}.", root_.native(), pid.empty() ? "another process" : "process " + pid));
  }
  const auto pid = fmt::format("{}\n", ::getpid());
  if (::ftruncate(lock_.number(), 0) != 0 ||
      ::pwrite(lock_.number(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return system_failure("write", path, errno);
  }
  return {};
}

Result<void> DataDirectory::choose_sockets() {
  if (fits_a_socket(root_ / "run")) {
    if (auto made = make_database_directory(root_ / "run"); !made) return made;
    sockets_ = root_ / "run";
    return {};
  }
  const auto remembered = read_private(sockets_file);
  if (!remembered) return fail(remembered.error());
  // After a kill the old one is still there; /tmp being what it is, it is used only if nobody else could have made it.
  if (*remembered && is_private_directory_of(**remembered, database_user_.uid)) {
    sockets_ = **remembered;
    return {};
  }
  std::string name = "/tmp/cognive-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) return system_failure("create a directory like", name, errno);
  sockets_ = name;
  if (auto owned = make_database_directory(sockets_); !owned) return owned;
  return write_private(sockets_file, name);
}

Result<void> DataDirectory::write_private(const std::string& name, std::string_view content) const {
  return write_file(root_ / name, content, 0600);
}

Result<std::optional<std::string>> DataDirectory::read_private(const std::string& name) const {
  return read_file(root_ / name);
}

Result<void> DataDirectory::make_database_directory(const fs::path& path) const {
  if (auto made = make_directory(path, 0700); !made) return made;
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0) return system_failure("look at", path, errno);
  if (status.st_uid == database_user_.uid) return {};
  if (::lchown(path.c_str(), database_user_.uid, database_user_.gid) != 0) {
    return system_failure(fmt::format("give user {} the directory", database_user_.name), path, errno);
  }
  return {};
}

}  // namespace cognive::embedded
