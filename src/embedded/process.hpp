// Other programs: as whom they run, how they are started, watched and ended.
//
// Everything here belongs to the main thread. PR_SET_PDEATHSIG, which ends our children when we are killed, follows the
// *thread* that forked: a child started by a worker thread would be ended with that thread.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace cognive::embedded {

using Clock = std::chrono::steady_clock;

// Asked every few milliseconds of a long wait, so that a signal can end it; true means: give up now. May be empty.
using Interrupted = std::function<bool()>;

// A user of the operating system.
struct Identity {
  uid_t uid;
  gid_t gid;
  std::string name;
  std::vector<gid_t> groups;

  // Who this process is. Fails when its user id has no name, which PostgreSQL would not accept either.
  static Result<Identity> current();

  // As whom PostgreSQL runs, which refuses root: user postgres (the Debian package makes it) when we are root, else
  // ourselves.
  static Result<Identity> unprivileged();
};

struct Command {
  std::vector<std::string> argv;  // argv[0] is a path
  Identity identity;
  std::vector<std::string> environment{};  // NAME=value. Besides these only PATH, LC_ALL and TZ; nothing is inherited
};

// How a process ended.
struct Exit {
  int status;  // as waitpid reports it

  [[nodiscard]] bool success() const { return status == 0; }
  [[nodiscard]] std::string text() const;  // "exit code 1", "signal 9"
};

struct Output {
  Exit exit;
  std::string text;  // standard output and error as they came, at most the last 64 KiB
};

// Runs a short tool to its end, with `input` as its standard input. The tool and what it started are killed at the
// deadline, on interruption, and when we die. An exit code other than zero is not an error here.
Result<Output> run(const Command& command, std::string_view input, Clock::time_point deadline,
                   const Interrupted& interrupted);

// A long-running process. It has a process group of its own, so that Ctrl-C on the terminal reaches us alone and we
// decide in which order things end; it gets `death_signal` when we die, however we die; and the destructor ends it.
class Child {
 public:
  // Standard output and error are appended to `log`, which we open: `identity` needs no access to it.
  static Result<std::unique_ptr<Child>> start(const Command& command, const std::filesystem::path& log,
                                              int death_signal);

  // Neither copied nor moved: a process id without an owner must not exist.
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child();

  [[nodiscard]] pid_t pid() const { return pid_; }

  // How it ended; nothing while it runs.
  std::optional<Exit> poll_exit();

  // Sends each signal in turn and waits its time for the process to end; after the last one SIGKILL. Returns when it
  // ended.
  struct Step {
    int signal;
    std::chrono::milliseconds patience;
  };
  Exit stop(std::span<const Step> steps);

 private:
  Child(pid_t pid, int death_signal) : pid_(pid), death_signal_(death_signal) {}

  pid_t pid_;
  int death_signal_;
  std::optional<Exit> exit_;
};

// The first directory on the way to `path` (itself included) that `identity` may not pass through; nothing when it gets
// there. Asks the kernel as that user, so that access control lists and mount options count too. `path` must be
// absolute.
Result<std::optional<std::filesystem::path>> first_closed_directory(const std::filesystem::path& path,
                                                                    const Identity& identity);

}  // namespace cognive::embedded
