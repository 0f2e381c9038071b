#include "embedded/postgres.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <system_error>
#include <thread>

#include "base/text.hpp"
#include "embedded/complaint.hpp"
#include "embedded/control_data.hpp"
#include "embedded/files.hpp"
#include "embedded/port.hpp"
#include "embedded/postmaster.hpp"
#include "embedded/settings.hpp"

namespace cognive::embedded {
namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

constexpr auto create_patience = 5min;  // initdb takes a second, but writes 40 MB and waits for the disk
constexpr auto start_patience = 1min;
constexpr auto recovery_patience = 10min;
constexpr auto query_patience = 30s;
constexpr std::uintmax_t log_bytes_max = 16UL * 1024 * 1024;
constexpr std::array stop_steps{Child::Step{.signal = SIGINT, .patience = 30s},
                                Child::Step{.signal = SIGQUIT, .patience = 10s}};
constexpr std::array fence_steps{Child::Step{.signal = SIGQUIT, .patience = 5s}};

}  // namespace

Result<std::optional<int>> data_version(const fs::path& data) {
  const auto text = read_file(data / "PG_VERSION");
  if (!text) return fail(text.error());
  if (!*text) return std::nullopt;
  int major = 0;
  const auto number = trim(**text);
  if (std::from_chars(number.data(), number.data() + number.size(), major).ec != std::errc{}) {
    return fail(Code::conflict, fmt::format("{} is not a data directory of PostgreSQL.", data.native()));
  }
  return major;
}

Postgres::Postgres(const DataDirectory& directory, Binaries binaries, std::string name, int max_connections)
    : directory_(&directory),
      binaries_(std::move(binaries)),
      name_(std::move(name)),
      max_connections_(max_connections),
      data_(directory.postgres() / name_) {}

fs::path Postgres::log_path() const {
  return directory_->log() / (name_ + ".log");
}

std::optional<pid_t> Postgres::pid() const {
  if (!child_) return std::nullopt;
  return child_->pid();
}

bool Postgres::exists() const {
  std::error_code unknown;
  return fs::exists(data_, unknown);
}

Result<void> Postgres::create(const std::string& password, const Interrupted& interrupted) {
  const auto made = make_unfinished();
  if (!made) return fail(made.error());
  const auto& unfinished = *made;
  const Command initdb{
      .argv = {binaries_.program("initdb"), "-D", unfinished.native(), "--username=postgres", "--auth-local=peer",
               "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums", "--no-sync"},
      .identity = directory_->database_user()};
  const auto output = run(initdb, "", Clock::now() + create_patience, interrupted);
  if (!output) return fail(output.error());
  if (!output->exit.success()) {
    return fail(Code::unavailable,
                fmt::format("PostgreSQL's initdb could not make {}: {}.", data_.native(), complaint(output->text)));
  }
  const auto statements = fmt::format(
      "CREATE ROLE cognive LOGIN PASSWORD {}\n"
      // To see how far the replicas are.
      "GRANT pg_monitor TO cognive\n"
      "CREATE DATABASE cognive OWNER cognive\n",
      quoted_literal(password));
  if (auto done = single_user(unfinished, statements, false, interrupted); !done) return done;

  // Only now does the data directory exist.
  if (auto synced = sync_file_system(unfinished); !synced) return synced;
  if (::rename(unfinished.c_str(), data_.c_str()) != 0) return system_failure("create", data_, errno);
  remove_unfinished();
  return sync_directory(directory_->postgres());
}

Result<void> Postgres::set_password(const std::string& password, const Interrupted& interrupted) {
  if (auto fine = check_data(); !fine) return fine;
  if (auto ended = end_orphan(data_, directory_->database_user(), interrupted); !ended) return ended;
  return single_user(data_, fmt::format("ALTER ROLE cognive PASSWORD {}\n", quoted_literal(password)), true,
                     interrupted);
}

// Statements, one a line, by a server without sockets: nobody else can connect before the access rules are in place.
// Without `synced` the caller must see to it that they reach the disk.
Result<void> Postgres::single_user(const fs::path& data, const std::string& statements, bool synced,
                                   const Interrupted& interrupted) const {
  const Command command{
      .argv = {binaries_.program("postgres"), "--single", "-D", data.native(), "-c", "exit_on_error=on", "-c",
               synced ? "fsync=on" : "fsync=off",
               // A password must not appear in a message.
               "-c", "log_min_error_statement=panic", "-c", "password_encryption=scram-sha-256", "postgres"},
      .identity = directory_->database_user()};
  const auto output = run(command, statements, Clock::now() + recovery_patience, interrupted);
  if (!output) return fail(output.error());
  if (output->exit.success()) return {};
  return fail(Code::unavailable,
              fmt::format("PostgreSQL could not prepare {}: {}.", data_.native(), complaint(output->text)));
}

Result<void> Postgres::check_data() const {
  const auto made_by = data_version(data_);
  if (!made_by) return fail(made_by.error());
  if (!*made_by) return fail(Code::conflict, fmt::format("{} is not a data directory of PostgreSQL.", data_.native()));
  if (**made_by != binaries_.major) {
    return fail(
        Code::conflict,
        fmt::format("{0} was made by PostgreSQL {1}, but {2} is installed: install postgresql-{1}, or convert the "
                    "directory with pg_upgrade.",
                    data_.native(), **made_by, binaries_.major));
  }
  return check_owner();
}

Result<void> Postgres::check_owner() const {
  struct stat status{};
  if (::stat(data_.c_str(), &status) != 0) return system_failure("look at", data_, errno);
  const auto& user = directory_->database_user();
  if (status.st_uid == user.uid) return {};
  return fail(
      Code::conflict,
      fmt::format("{} belongs to another user (id {}) than {}, who runs PostgreSQL here: start Cognive as the user who "
                  "started it first.",
                  data_.native(), status.st_uid, user.name));
}

Result<void> Postgres::write_settings(std::uint16_t port) const {
  const auto current = Identity::current();
  if (!current) return fail(current.error());
  std::vector<std::string> users{current->name};
  if (directory_->database_user().name != current->name) users.push_back(directory_->database_user().name);

  const auto base = directory_->postgres();
  int connections = max_connections_;
  if (is_standby(data_)) {
    // A replica must allow as many as the primary did when it wrote what the replica still has to read.
    const auto control = read_control_data(data_, binaries_, directory_->database_user());
    if (!control) return fail(control.error());
    connections = std::max(connections, control->max_connections);
  }
  const Settings settings{.cluster_name = name_,
                          .port = port,
                          .sockets = directory_->sockets(),
                          .hba_file = base / "hba.conf",
                          .ident_file = base / "ident.conf",
                          .max_connections = connections,
                          .follows = follows_};
  // The database user must read them; there are no secrets in them.
  constexpr mode_t mode = 0644;
  if (auto done = write_file(settings.hba_file, access_rules(), mode); !done) return done;
  if (auto done = write_file(settings.ident_file, peer_map(users), mode); !done) return done;
  return write_file(base / (name_ + ".conf"), server_settings(settings), mode);
}

// The lock file of a socket has the trouble of postmaster.pid: a reused process id would make PostgreSQL refuse to
// start.
void Postgres::remove_stale_socket(std::uint16_t port) const {
  const auto socket = directory_->sockets() / fmt::format(".s.PGSQL.{}", port);
  ::unlink(socket.c_str());
  ::unlink((socket.native() + ".lock").c_str());
}

Result<void> Postgres::open_log() {
  const auto path = log_path();
  std::error_code error;
  const auto size = fs::file_size(path, error);
  log_offset_ = error ? 0 : size;
  if (log_offset_ > log_bytes_max) {
    if (::rename(path.c_str(), (path.native() + ".old").c_str()) != 0) return system_failure("rename", path, errno);
    log_offset_ = 0;
  }
  searched_until_ = log_offset_;
  return {};
}

Result<void> Postgres::launch(std::uint16_t port, const Interrupted& interrupted) {
  stop();
  if (auto fine = check_data(); !fine) return fine;
  if (auto ended = end_orphan(data_, directory_->database_user(), interrupted); !ended) return ended;
  if (!port_is_free(port)) {
    return fail(Code::conflict, fmt::format("Port {} of 127.0.0.1 is in use by another program.", port));
  }
  if (follows_) {
    if (auto done = forget_copied_upstream(data_, interrupted); !done) return done;
  }
  if (auto written = write_settings(port); !written) return written;
  remove_stale_socket(port);
  if (auto opened = open_log(); !opened) return opened;

  const auto settings = directory_->postgres() / (name_ + ".conf");
  const Command command{
      .argv = {binaries_.program("postgres"), "-D", data_.native(), "-c", "config_file=" + settings.native()},
      .identity = directory_->database_user()};
  auto child = Child::start(command, log_path(), SIGINT);
  if (!child) return fail(child.error());
  child_ = std::move(*child);
  port_ = port;
  ready_ = false;
  launched_ = Clock::now();
  return {};
}

Result<bool> Postgres::poll() {
  if (!child_) return fail(Code::unavailable, fmt::format("PostgreSQL ({}) is not running.", name_));
  if (const auto exit = child_->poll_exit()) {
    auto error = ended(*exit);
    child_.reset();
    return fail(std::move(error));
  }
  if (ready_) return true;
  const auto file = read_postmaster_file(data_);
  const bool ours = file && file->pid == child_->pid();
  ready_ = ours && (file->status == "ready" || file->status == "standby");
  if (ready_) return true;

  const auto patience = ours ? std::chrono::minutes(recovery_patience) : start_patience;
  if (Clock::now() - launched_ < patience) return false;
  const auto said = complaint(read_from(log_path(), log_offset_));
  stop();
  return fail(Code::timed_out, fmt::format("PostgreSQL ({}) did not become ready within {} min: {} (see {}).", name_,
                                           patience.count(), said, log_path().native()));
}

Error Postgres::ended(const Exit& exit) const {
  if (!ready_ && !port_is_free(port_)) {
    return {Code::conflict, fmt::format("Port {} of 127.0.0.1 is in use by another program.", port_), {}};
  }
  const auto said = complaint(read_from(log_path(), log_offset_));
  return {Code::unavailable,
          fmt::format("PostgreSQL ({}) ended {}with {}: {} (see {}).", name_, ready_ ? "" : "while starting, ",
                      exit.text(), said, log_path().native()),
          {}};
}

Result<void> Postgres::start(std::uint16_t port, const Interrupted& interrupted) {
  if (auto launched = launch(port, interrupted); !launched) return launched;
  while (true) {
    const auto ready = poll();
    if (!ready) return fail(ready.error());
    if (*ready) return {};
    if (interrupted && interrupted()) {
      stop();
      return fail(Code::unavailable, "Interrupted.");
    }
    std::this_thread::sleep_for(5ms);
  }
}

Result<std::string> Postgres::query(const std::string& database, const std::string& statements,
                                    const Interrupted& interrupted) const {
  const Command psql{
      .argv = {binaries_.program("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", directory_->sockets().native(), "-p",
               std::to_string(port_), "-U", "postgres", "-d", database},
      .identity = directory_->database_user(),
      // What is asked here must not wait for replicas that are not there yet.
      .environment = {"PGOPTIONS=-c synchronous_commit=local -c default_transaction_read_only=off",
                      "PGCONNECT_TIMEOUT=10"}};
  const auto output = run(psql, statements, Clock::now() + query_patience, interrupted);
  if (!output) return fail(output.error());
  if (output->exit.success()) return std::string(trim(output->text));
  return fail(Code::unavailable, fmt::format("PostgreSQL ({}) refused: {}.", name_, complaint(output->text)));
}

void Postgres::begin_stop() {
  if (child_ && !child_->poll_exit()) ::kill(child_->pid(), stop_steps.front().signal);
}

void Postgres::fence() {
  if (!child_) return;
  child_->stop(fence_steps);
  child_.reset();
}

void Postgres::stop() {
  if (!child_) return;
  child_->stop(stop_steps);
  child_.reset();
}

}  // namespace cognive::embedded
