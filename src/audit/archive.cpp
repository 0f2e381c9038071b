#include "audit/archive.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <stdexcept>
#include <system_error>

#include "audit/archive_lines.hpp"
#include "audit/chain.hpp"
#include "audit/store.hpp"

namespace cognive::audit {
namespace {

void append_durably(const std::filesystem::path& file, std::string_view text) {
  const auto fail_with = [&](const char* what) {
    throw std::runtime_error(
        fmt::format("{}: {}: {}", file.native(), what, std::error_code(errno, std::generic_category()).message()));
  };
  const int descriptor = ::open(file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) fail_with("cannot be opened");
  for (auto rest = text; !rest.empty();) {
    const auto written = ::write(descriptor, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      ::close(descriptor);
      fail_with("cannot be written");
    }
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  const int synced = ::fsync(descriptor);
  ::close(descriptor);
  if (synced != 0) fail_with("cannot be made durable");
}

// Of one process at a time. The file is made when there is none.
class FileLock {
 public:
  explicit FileLock(const std::filesystem::path& file)
      : descriptor_(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    if (descriptor_ < 0)
      throw std::runtime_error(fmt::format("{}: cannot be opened: {}", file.native(),
                                           std::error_code(errno, std::generic_category()).message()));
    is_held_ = ::flock(descriptor_, LOCK_EX | LOCK_NB) == 0;
  }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  ~FileLock() { ::close(descriptor_); }

  [[nodiscard]] bool is_held() const { return is_held_; }

 private:
  int descriptor_;
  bool is_held_ = false;
};

}  // namespace

Archive::Archive(std::filesystem::path file, keyring::RootKey root) : file_(std::move(file)), root_(std::move(root)) {}

void Archive::append(std::string_view text) {
  append_durably(file_, text);
  size_ += text.size();
}

Async<> Archive::extend(pg::Pool& database, Deadline deadline) {
  const FileLock lock(file_);
  if (!lock.is_held()) co_return;  // another process is at it
  std::error_code missing;
  const auto size = std::filesystem::file_size(file_, missing);
  // Somebody else has extended it, or what we wrote is not all there: what it says is proved again.
  if (last_ && (missing || size != size_)) last_.reset();
  try {
    co_await extend_locked(database, deadline);
  } catch (...) {
    last_.reset();
    throw;
  }
}

Async<> Archive::extend_locked(pg::Pool& database, Deadline deadline) {
  const auto key = checkpoint_key(root_);
  if (!last_) {
    has_slot_ = false;
    size_ = 0;
  }
  if (!last_ && std::filesystem::exists(file_) && std::filesystem::file_size(file_) > 0) {
    const auto found = verify_archive(file_, root_);
    if (!found && found.error().code != Code::not_found) throw std::runtime_error(found.error().detail);
    if (found && found->trail.broken) throw std::runtime_error(file_.native() + ": " + found->trail.broken->what);
    // A begin that was cut off is begun anew.
    size_ = found ? found->bytes : 0;
    std::filesystem::resize_file(file_, size_);
    last_ = found ? found->last : std::nullopt;
    has_slot_ = found && found->has_slot;
  }
  if (!has_slot_) {
    append(slot_line(root_));
    has_slot_ = true;
  }
  if (!last_) {
    last_ = Checkpoint{.sequence = 0, .seal = (co_await store::earlier(database, deadline)).digest};
    append(checkpoint_line(key, *last_));
  }
  const auto end = co_await store::end(database, deadline);
  if (!end || end->sequence < last_->sequence) {
    throw std::runtime_error(
        fmt::format("the audit trail ends at {}, but went to {} before: `cognive audit verify` says more",
                    end ? end->sequence : 0, last_->sequence));
  }
  // What is not sealed right is no part of the trail, and must not get a signature.
  Prover prover(chain_key(root_), *last_);
  while (prover.proved() < end->sequence) {
    const auto page = co_await store::page(database, prover.proved(), end->sequence, deadline);
    if (page.empty()) throw std::runtime_error(missing(prover.proved() + 1, end->sequence).what);
    std::string lines;
    for (const auto& [entry, seal] : page) {
      if (const auto broken = prover.take(entry, seal)) throw std::runtime_error(broken->what);
      lines += entry_line(entry, seal);
    }
    const Checkpoint reached{.sequence = prover.proved(), .seal = prover.seal()};
    append(lines + checkpoint_line(key, reached));
    last_ = reached;
  }
}

Result<ArchiveVerification> verify_archive(const std::filesystem::path& file, const keyring::RootKey& root) {
  std::ifstream in(file);
  if (!in) return fail(Code::not_found, fmt::format("{} cannot be read.", file.native()));
  if (auto opened = open_with(in, file.native(), root); !opened) return std::unexpected(opened.error());
  in.clear();
  in.seekg(0);
  ArchiveVerification out;
  ArchiveProof proof(root, ArchiveProof::Begin::first_entry);
  std::string text;
  std::uintmax_t read = 0;
  for (std::int64_t number = 1; !proof.broken() && std::getline(in, text); ++number) {
    if (in.eof()) break;  // the line has no end yet
    read += text.size() + 1;
    proof.take(text, file.native(), number);
    if (!proof.broken() && proof.is_whole()) out.bytes = read;
  }
  if (!proof.has_begun() && !proof.broken())
    return fail(Code::not_found, fmt::format("{} holds no archive.", file.native()));
  out.trail = {.entries = proof.proved(), .earlier = 0, .broken = proof.broken()};
  out.checkpoints = proof.checkpoints();
  out.last = proof.last();
  out.has_slot = proof.has_slot();
  return out;
}

}  // namespace cognive::audit
