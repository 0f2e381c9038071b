// The part of Postgres that makes replicas and keeps them on their primary.
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <system_error>
#include <utility>

#include "base/text.hpp"
#include "embedded/complaint.hpp"
#include "embedded/control_data.hpp"
#include "embedded/files.hpp"
#include "embedded/postgres.hpp"
#include "embedded/postmaster.hpp"
#include "embedded/settings.hpp"

namespace cognive::embedded {
namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

constexpr const char* unfinished_suffix = ".new-";
constexpr auto copy_patience = 12h;  // a bound for what hangs, not for what is big
constexpr auto edit_patience = 1min;

// What a replica logs when its own data or the primary's WAL make it impossible to go on. Lines of replicas that follow
// this replica (they have user and database before them) do not look like these.
constexpr std::array<std::string_view, 10> lost_track_signs{
    "could not receive data from WAL stream: ERROR:  requested WAL segment",
    "could not receive data from WAL stream: ERROR:  can no longer",
    "could not start WAL streaming: ERROR:  requested WAL segment",
    "could not start WAL streaming: ERROR:  requested starting point",
    "could not start WAL streaming: ERROR:  can no longer",
    "forked off current database system timeline",
    "is not a child of",
    "does not contain minimum recovery point",
    "is behind recovery timeline",
    "database system identifier differs between the primary and standby",
};

}  // namespace

Result<fs::path> Postgres::make_unfinished() const {
  remove_unfinished();
  // A new name each time: an initdb whose parent was killed may still be removing its own attempt.
  std::string name = data_.native() + unfinished_suffix + "XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) return system_failure("create", name, errno);
  if (auto made = directory_->make_database_directory(name); !made) return fail(made.error());
  return name;
}

void Postgres::remove_unfinished() const {
  std::error_code ignored;  // what cannot be removed now costs only space
  for (const auto& entry : fs::directory_iterator(directory_->postgres(), ignored)) {
    if (entry.path().filename().native().starts_with(name_ + unfinished_suffix)) fs::remove_all(entry.path(), ignored);
  }
}

Result<void> Postgres::copy(std::uint16_t primary_port, const std::optional<fs::path>& keep_old,
                            const Interrupted& interrupted) {
  stop();
  const auto& user = directory_->database_user();
  if (auto ended = end_orphan(data_, user, interrupted); !ended) return ended;
  const auto unfinished = make_unfinished();
  if (!unfinished) return fail(unfinished.error());
  // A temporary slot keeps the WAL of the backup; the node's own slot, which the primary has already, that from then
  // on.
  const Command backup{.argv = {binaries_.program("pg_basebackup"), "-D", unfinished->native(), "-d",
                                replication_conninfo(directory_->sockets(), primary_port, name_), "-R", "-X", "stream",
                                "-c", "fast", "--no-password", "--no-manifest", "--no-sync"},
                       .identity = user};
  const auto output = run(backup, "", Clock::now() + copy_patience, interrupted);
  if (!output) return fail(output.error());
  if (!output->exit.success()) {
    return fail(Code::unavailable, fmt::format("PostgreSQL ({}) could not be made as a copy of the primary: {}.", name_,
                                               complaint(output->text)));
  }
  if (auto done = forget_copied_upstream(*unfinished, interrupted); !done) return done;

  if (auto synced = sync_file_system(*unfinished); !synced) return synced;

  // Never half a data directory under the node's name: without its standby.signal it would look like a primary.
  std::error_code unknown;
  if (fs::exists(data_, unknown)) {
    const auto away = keep_old.value_or(data_.native() + unfinished_suffix + "discarded");
    if (::rename(data_.c_str(), away.c_str()) != 0) return system_failure("move away", data_, errno);
  }
  if (::rename(unfinished->c_str(), data_.c_str()) != 0) return system_failure("create", data_, errno);
  remove_unfinished();
  return sync_directory(directory_->postgres());
}

// A base backup, and ALTER SYSTEM during some failover, leave another opinion on whom to follow in the one file that
// wins over ours. Other settings there are the operator's and stay. Done by the user to whom the file belongs.
Result<void> Postgres::forget_copied_upstream(const fs::path& data, const Interrupted& interrupted) const {
  const auto file = data / "postgresql.auto.conf";
  const auto text = read_file(file);
  if (!text) return fail(text.error());
  if (!text->value_or("").contains("primary_")) return {};
  const Command edit{
      .argv = {"/bin/sed", "-i", "-E", "/^[[:space:]]*primary_(conninfo|slot_name)[[:space:]=]/d", file.native()},
      .identity = directory_->database_user()};
  const auto output = run(edit, "", Clock::now() + edit_patience, interrupted);
  if (!output) return fail(output.error());
  if (output->exit.success()) return {};
  return fail(Code::unavailable,
              fmt::format("{} cannot be edited: {}.", file.native(), shortened(trim(output->text), 300)));
}

Result<void> Postgres::follow(std::optional<std::uint16_t> primary_port, const Interrupted& interrupted) {
  if (follows_ == primary_port) return {};
  const auto before = std::exchange(follows_, primary_port);
  if (!child_ || child_->poll_exit()) return {};
  const auto file = read_postmaster_file(data_);
  // Before it has written this file it may not be ready for signals.
  if (!file || file->pid != child_->pid()) return launch(port_, interrupted);
  std::error_code error;
  const auto size = fs::file_size(log_path(), error);
  if (!error) searched_until_ = size;  // what it said of its former primary does not count
  auto written = forget_copied_upstream(data_, interrupted);
  if (written) written = write_settings(port_);
  if (!written) {
    follows_ = before;  // so that the next attempt is one
    return written;
  }
  ::kill(child_->pid(), SIGHUP);
  return {};
}

bool Postgres::promoted() const {
  if (!child_ || !follows_ || is_standby(data_)) return false;
  const auto file = read_postmaster_file(data_);
  return file && file->pid == child_->pid() && file->status == "ready";
}

std::optional<std::string> Postgres::lost_track() {
  std::error_code error;
  if (const auto size = fs::file_size(log_path(), error); error || size == searched_until_) return std::nullopt;
  const auto text = read_from(log_path(), searched_until_);
  std::string_view rest = text;
  // Whole lines only; the rest comes again with the next call.
  while (true) {
    const auto end = rest.find('\n');
    if (end == std::string_view::npos) {
      if (rest.size() >= read_bytes_max) searched_until_ += rest.size();
      break;
    }
    const auto line = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    searched_until_ += end + 1;
    for (const auto sign : lost_track_signs) {
      if (line.contains(sign)) return complaint(line);
    }
  }
  return std::nullopt;
}

}  // namespace cognive::embedded
