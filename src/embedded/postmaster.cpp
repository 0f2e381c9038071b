#include "embedded/postmaster.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <system_error>
#include <thread>

#include "base/text.hpp"
#include "embedded/files.hpp"

namespace cognive::embedded {
namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

std::string_view line_of(std::string_view text, int number) {
  for (int i = 1; i < number; ++i) {
    const auto end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  return trim(text.substr(0, text.find('\n')));
}

std::string proc_text(pid_t pid, const char* name) {
  const auto text = read_file(fmt::format("/proc/{}/{}", pid, name));
  return text && *text ? **text : std::string{};
}

Result<void> remove_pid_file(const fs::path& data) {
  const auto path = data / "postmaster.pid";
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return system_failure("remove", path, errno);
  return {};
}

}  // namespace

std::optional<PostmasterFile> read_postmaster_file(const fs::path& data) {
  const auto text = read_file(data / "postmaster.pid");
  if (!text || !*text) return std::nullopt;
  // Line 1 is the process id, negative for a single-user server; line 8 the status (PostgreSQL's miscadmin.h).
  const auto first = line_of(**text, 1);
  int pid = 0;
  if (std::from_chars(first.data(), first.data() + first.size(), pid).ec != std::errc{} || pid == 0)
    return std::nullopt;
  return PostmasterFile{.pid = std::abs(pid), .status = std::string(line_of(**text, 8))};
}

bool serves(pid_t pid, const fs::path& data, const Identity& user) {
  struct stat process{};
  if (::stat(fmt::format("/proc/{}", pid).c_str(), &process) != 0 || process.st_uid != user.uid) return false;
  if (trim(proc_text(pid, "comm")) != "postgres") return false;
  // A server works inside its data directory. A container's root may not look there, but may read the command line.
  struct stat working{};
  struct stat wanted{};
  if (::stat(fmt::format("/proc/{}/cwd", pid).c_str(), &working) == 0 && ::stat(data.c_str(), &wanted) == 0) {
    return working.st_dev == wanted.st_dev && working.st_ino == wanted.st_ino;
  }
  return proc_text(pid, "cmdline").contains('\0' + data.native() + '\0');
}

Result<void> end_orphan(const fs::path& data, const Identity& user, const Interrupted& interrupted) {
  // Fast shutdown first, which loses nothing; then the immediate one, which costs crash recovery but loses nothing
  // either.
  constexpr std::array steps{Child::Step{.signal = SIGINT, .patience = 60s},
                             Child::Step{.signal = SIGQUIT, .patience = 10s}};
  for (const auto& step : steps) {
    const auto deadline = Clock::now() + step.patience;
    bool told = false;
    do {
      const auto file = read_postmaster_file(data);
      if (!file || !serves(file->pid, data, user)) return remove_pid_file(data);
      if (interrupted && interrupted()) return fail(Code::unavailable, "Interrupted.");
      if (!told) ::kill(file->pid, step.signal);
      told = true;
      std::this_thread::sleep_for(10ms);
    } while (Clock::now() < deadline);
  }
  return fail(Code::conflict,
              fmt::format("A PostgreSQL of an earlier start still works on {} and does not end.", data.native()));
}

}  // namespace cognive::embedded
