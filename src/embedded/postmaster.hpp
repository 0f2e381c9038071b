// What PostgreSQL says about itself in postmaster.pid, and servers that outlived the process that started them.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "embedded/process.hpp"

namespace cognive::embedded {

struct PostmasterFile {
  pid_t pid;
  std::string status;  // "starting", "ready", "standby" or "stopping"; empty before the server got that far
};

// Nothing when there is no such file, or not yet a complete one. `data` is a data directory.
std::optional<PostmasterFile> read_postmaster_file(const std::filesystem::path& data);

// Whether process `pid` is a PostgreSQL of `user` working in `data`: process ids are reused, and most of all in
// containers.
bool serves(pid_t pid, const std::filesystem::path& data, const Identity& user);

// Ends a server that still runs on `data`, which only the holder of our lock may call: such a server is one of ours
// whose parent was killed, mostly in the middle of its own shutdown. Waits for its end, at most about a minute. Removes
// the pid file of a server that is gone, because PostgreSQL would refuse to start if any process of the same user had
// its old number.
Result<void> end_orphan(const std::filesystem::path& data, const Identity& user, const Interrupted& interrupted);

}  // namespace cognive::embedded
