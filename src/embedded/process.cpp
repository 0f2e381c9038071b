#include "embedded/process.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <linux/close_range.h>
#include <poll.h>
#include <pwd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <thread>

#include "embedded/files.hpp"

namespace cognive::embedded {
namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t output_bytes_max = 64UL * 1024;
constexpr auto poll_interval = 5ms;

Result<Identity> identity_of(const passwd& entry) {
  Identity identity{.uid = entry.pw_uid, .gid = entry.pw_gid, .name = entry.pw_name, .groups = {}};
  int count = 0;
  ::getgrouplist(entry.pw_name, entry.pw_gid, nullptr, &count);
  identity.groups.resize(static_cast<std::size_t>(std::max(count, 1)));
  if (::getgrouplist(entry.pw_name, entry.pw_gid, identity.groups.data(), &count) < 0) {
    return fail(Code::unavailable, fmt::format("The groups of user {} cannot be read.", identity.name));
  }
  identity.groups.resize(static_cast<std::size_t>(count));
  return identity;
}

// What can fail between fork and exec; the child reports it through a pipe.
enum class Stage : int { streams, groups, group_id, user_id, death_signal, program };

std::string_view text_of(Stage stage) {
  switch (stage) {
    case Stage::streams:
      return "its standard streams";
    case Stage::groups:
      return "setgroups";
    case Stage::group_id:
      return "setgid";
    case Stage::user_id:
      return "setuid";
    case Stage::death_signal:
      return "prctl(PR_SET_PDEATHSIG)";
    case Stage::program:
      return "exec";
  }
  return "an unknown step";
}

struct StageFailure {
  Stage stage;
  int error;
};

// Everything the child needs, made before the fork: after it, in a program that may have threads, only system calls are
// allowed.
struct Launch {
  std::vector<char*> argv;
  std::vector<char*> environment;
  const Identity* identity;
  bool change_identity;
  int input;
  int output;
  int report;
  int death_signal;
  pid_t parent;
};

[[noreturn]] void report_and_exit(int report, Stage stage) {
  const StageFailure failure{stage, errno};
  [[maybe_unused]] const auto written = ::write(report, &failure, sizeof failure);
  ::_exit(127);
}

void drop_privileges(const Identity& identity, int report) {
  if (::setgroups(identity.groups.size(), identity.groups.data()) != 0) report_and_exit(report, Stage::groups);
  if (::setgid(identity.gid) != 0) report_and_exit(report, Stage::group_id);
  if (::setuid(identity.uid) != 0) report_and_exit(report, Stage::user_id);
}

void close_others_on_exec() {
  if (::close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) == 0) return;
  // Kernels before 5.11.
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const int end = static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 65536));
  for (int number = 3; number < end; ++number) ::fcntl(number, F_SETFD, FD_CLOEXEC);
}

[[noreturn]] void become(const Launch& launch) {
  // Out of the way of 0, 1 and 2, which one of them is when we were started with a closed stream.
  const int report = ::fcntl(launch.report, F_DUPFD_CLOEXEC, 3);
  const int input = ::fcntl(launch.input, F_DUPFD_CLOEXEC, 3);
  const int output = ::fcntl(launch.output, F_DUPFD_CLOEXEC, 3);
  if (input < 0 || output < 0 || ::dup2(input, 0) < 0 || ::dup2(output, 1) < 0 || ::dup2(output, 2) < 0) {
    report_and_exit(report, Stage::streams);
  }
  ::setpgid(0, 0);
  ::umask(077);
  // Our directory may be closed to the other user, and must not be kept busy.
  if (::chdir("/") != 0) report_and_exit(report, Stage::streams);
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_DFL);

  if (launch.change_identity) drop_privileges(*launch.identity, report);
  // After the change of user, which clears it. Had our parent died before this line, nobody would tell us any more.
  if (::prctl(PR_SET_PDEATHSIG, launch.death_signal) != 0) report_and_exit(report, Stage::death_signal);
  if (::getppid() != launch.parent) ::_exit(127);

  close_others_on_exec();
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execve(launch.argv[0], launch.argv.data(), launch.environment.data());
  report_and_exit(report, Stage::program);
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  out.reserve(texts.size() + 1);
  for (auto& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

// Forks with all signals blocked, so that none of our handlers runs in the child, where it would write into our pipes.
pid_t fork_quietly() {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = ::fork();
  const int error = errno;
  if (pid != 0) ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return pid;
}

Exit wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return {status};
}

Result<pid_t> launch(const Command& command, int input, int output, int death_signal) {
  if (::gettid() != ::getpid()) throw std::logic_error("a child process must be started by the main thread");
  std::vector<std::string> argv = command.argv;
  std::vector<std::string> environment{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC"};
  environment.insert(environment.end(), command.environment.begin(), command.environment.end());

  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return system_failure("start", argv[0], errno);
  const Descriptor report_read(pipe[0]);
  Descriptor report_write(pipe[1]);
  const Launch plan{.argv = pointers(argv),
                    .environment = pointers(environment),
                    .identity = &command.identity,
                    .change_identity = command.identity.uid != ::geteuid(),
                    .input = input,
                    .output = output,
                    .report = report_write.number(),
                    .death_signal = death_signal,
                    .parent = ::getpid()};
  const pid_t pid = fork_quietly();
  if (pid < 0) return system_failure("start", argv[0], errno);
  if (pid == 0) become(plan);

  // The pipe closes without a word when exec succeeds.
  report_write.close();
  StageFailure failure{};
  ssize_t count = 0;
  do count = ::read(report_read.number(), &failure, sizeof failure);
  while (count < 0 && errno == EINTR);
  if (count != sizeof failure) return pid;
  wait_for(pid);
  return fail(Code::unavailable, fmt::format("{} cannot be started as user {}: {}: {}.", argv[0], command.identity.name,
                                             text_of(failure.stage), std::generic_category().message(failure.error)));
}

// A file without a name that holds the input: unlike a pipe it can be filled before anybody reads.
Result<Descriptor> input_file(std::string_view text) {
  Descriptor file(::memfd_create("input", MFD_CLOEXEC));
  if (!file) return system_failure("create", "a temporary file", errno);
  if (::write(file.number(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::lseek(file.number(), 0, SEEK_SET) != 0) {
    return system_failure("write", "a temporary file", errno);
  }
  return file;
}

// Appends what can be read now; false at the end of the stream.
bool drain(int source, std::string& text) {
  std::array<char, 4096> buffer;
  while (true) {
    const auto count = ::read(source, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno == EAGAIN;
    if (count == 0) return false;
    text.append(buffer.data(), static_cast<std::size_t>(count));
    if (text.size() > output_bytes_max) text.erase(0, text.size() - output_bytes_max);
  }
}

}  // namespace

Result<Identity> Identity::current() {
  const auto* entry = ::getpwuid(::geteuid());
  if (entry == nullptr) {
    return fail(Code::not_found,
                fmt::format("User id {} has no name in /etc/passwd, which PostgreSQL needs.", ::geteuid()));
  }
  return identity_of(*entry);
}

Result<Identity> Identity::unprivileged() {
  if (::geteuid() != 0) return current();
  const auto* entry = ::getpwnam("postgres");
  if (entry == nullptr) {
    return fail(
        Code::not_found,
        "PostgreSQL does not run as root, and there is no user postgres: install postgresql-15, which makes one, "
        "or start Cognive as another user.");
  }
  return identity_of(*entry);
}

std::string Exit::text() const {
  if (WIFSIGNALED(status)) return fmt::format("signal {}", WTERMSIG(status));
  return fmt::format("exit code {}", WEXITSTATUS(status));
}

Result<Output> run(const Command& command, std::string_view input, Clock::time_point deadline,
                   const Interrupted& interrupted) {
  auto stdin_file = input_file(input);
  if (!stdin_file) return fail(std::move(stdin_file.error()));
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return system_failure("start", command.argv[0], errno);
  const Descriptor read_end(pipe[0]);
  Descriptor write_end(pipe[1]);
  // Only our end: the other one is shared with the tool, which expects a stream that blocks.
  ::fcntl(read_end.number(), F_SETFL, O_NONBLOCK);
  const auto pid = launch(command, stdin_file->number(), write_end.number(), SIGTERM);
  if (!pid) return fail(pid.error());
  write_end.close();

  Output output{};
  bool open = true;
  while (true) {
    if (open) {
      pollfd event{.fd = read_end.number(), .events = POLLIN, .revents = 0};
      ::poll(&event, 1, 20);
      open = drain(read_end.number(), output.text);
    } else {
      std::this_thread::sleep_for(poll_interval);
    }
    // A grandchild may hold the stream open, so the tool's own end decides.
    if (::waitpid(*pid, &output.exit.status, WNOHANG) != 0) {
      if (open) drain(read_end.number(), output.text);
      return output;
    }
    const bool gave_up = interrupted && interrupted();
    if (!gave_up && Clock::now() < deadline) continue;
    ::kill(-*pid, SIGKILL);
    wait_for(*pid);
    if (gave_up) return fail(Code::unavailable, "Interrupted.");
    return fail(Code::timed_out, fmt::format("{} did not end in time and was stopped.", command.argv[0]));
  }
}

Result<std::unique_ptr<Child>> Child::start(const Command& command, const fs::path& log, int death_signal) {
  const Descriptor output(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!output) return system_failure("open", log, errno);
  const Descriptor input(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!input) return system_failure("open", "/dev/null", errno);
  const auto pid = launch(command, input.number(), output.number(), death_signal);
  if (!pid) return fail(pid.error());
  return std::unique_ptr<Child>(new Child(*pid, death_signal));
}

Child::~Child() {
  const std::array steps{Step{death_signal_, 10s}};
  stop(steps);
}

std::optional<Exit> Child::poll_exit() {
  if (exit_) return exit_;
  int status = 0;
  const pid_t ended = ::waitpid(pid_, &status, WNOHANG);
  // ECHILD: somebody ignores SIGCHLD and the kernel kept no status.
  if (ended == pid_ || (ended < 0 && errno == ECHILD)) exit_ = Exit{status};
  return exit_;
}

Exit Child::stop(std::span<const Step> steps) {
  for (const auto& step : steps) {
    if (poll_exit()) return *exit_;
    ::kill(pid_, step.signal);
    const auto deadline = Clock::now() + step.patience;
    while (!poll_exit() && Clock::now() < deadline) std::this_thread::sleep_for(poll_interval);
  }
  if (!poll_exit()) {
    ::kill(pid_, SIGKILL);
    exit_ = wait_for(pid_);
  }
  return *exit_;
}

Result<std::optional<fs::path>> first_closed_directory(const fs::path& path, const Identity& identity) {
  std::vector<fs::path> ways;
  for (fs::path way = path;; way = way.parent_path()) {
    ways.push_back(way);
    if (way == way.parent_path()) break;
  }
  std::ranges::reverse(ways);

  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return system_failure("look at", path, errno);
  const Descriptor answer_read(pipe[0]);
  Descriptor answer_write(pipe[1]);
  const pid_t pid = fork_quietly();
  if (pid < 0) return system_failure("look at", path, errno);
  if (pid == 0) {
    if (identity.uid != ::geteuid() && (::setgroups(identity.groups.size(), identity.groups.data()) != 0 ||
                                        ::setgid(identity.gid) != 0 || ::setuid(identity.uid) != 0)) {
      ::_exit(1);
    }
    std::size_t open = 0;
    while (open < ways.size() && ::access(ways[open].c_str(), X_OK) == 0) ++open;
    ::_exit(::write(answer_write.number(), &open, sizeof open) == sizeof open ? 0 : 1);
  }
  answer_write.close();
  std::size_t open = 0;
  ssize_t count = 0;
  do count = ::read(answer_read.number(), &open, sizeof open);
  while (count < 0 && errno == EINTR);
  wait_for(pid);
  if (count != sizeof open) {
    return fail(Code::forbidden,
                fmt::format("This process may not become user {}, who runs PostgreSQL.", identity.name));
  }
  if (open == ways.size()) return std::nullopt;
  return ways[open];
}

}  // namespace cognive::embedded
