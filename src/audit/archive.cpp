#include "audit/archive.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <stdexcept>
#include <system_error>

#include "audit/chain.hpp"
#include "audit/store.hpp"
#include "json/bind.hpp"
#include "keyring/purposes.hpp"

namespace cognive::audit {
namespace {

struct EntryLine {
  StoredEntry entry;
  std::string seal;

  static constexpr auto fields() {
    return json::fields(json::field("entry", &EntryLine::entry, ""), json::field("seal", &EntryLine::seal, ""));
  }
};

struct CheckpointLine {
  std::int64_t checkpoint = 0;
  std::string seal;
  Timestamp at;
  std::string signature;

  static constexpr auto fields() {
    return json::fields(json::field("checkpoint", &CheckpointLine::checkpoint, ""),
                        json::field("seal", &CheckpointLine::seal, ""), json::field("at", &CheckpointLine::at, ""),
                        json::field("signature", &CheckpointLine::signature, ""));
  }
};

// The root key, so that the file can be verified with nothing but a master key.
struct SlotLine {
  std::string master_key;  // its id
  std::string sealed;

  static constexpr auto fields() {
    return json::fields(json::field("master_key", &SlotLine::master_key, ""),
                        json::field("sealed", &SlotLine::sealed, ""));
  }
};

constexpr std::string_view slot_begins = R"({"master_key":)";
constexpr std::string_view checkpoint_begins = R"({"checkpoint":)";

std::string signed_text(const CheckpointLine& line) {
  return fmt::format("cognive/audit-checkpoint/1\n{}\n{}\n{}", line.checkpoint, line.seal, line.at.text());
}

std::optional<Digest> digest_of(std::string_view hex) {
  const auto bytes = from_hex(hex);
  Digest out{};
  if (!bytes || bytes->size() != out.size()) return std::nullopt;
  std::ranges::copy(*bytes, out.begin());
  return out;
}

std::span<const std::uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::optional<keyring::Slot> slot_of(std::string_view text) {
  const auto line = json::decode<SlotLine>(std::string(text));
  const auto bytes = line ? from_hex(line->sealed) : std::nullopt;
  if (!bytes) return std::nullopt;
  return keyring::Slot{.id = line->master_key, .sealed = std::string(bytes->begin(), bytes->end())};
}

// Makes the root key known by what the file says of it, unless it is known already.
Result<void> open_with(const std::filesystem::path& file, const keyring::RootKey& root) {
  if (root.is_known()) return {};
  std::ifstream in(file);
  std::string text;
  bool has_slots = false;
  while (std::getline(in, text)) {
    if (!text.starts_with(slot_begins)) continue;
    has_slots = true;
    const auto slot = slot_of(text);
    if (slot && root.open(*slot)) return {};
  }
  // Written before there were root keys.
  if (!has_slots && root.open(root.first_slot_as_before())) return {};
  return fail(Code::conflict, fmt::format("{} knows nothing of this COGNIVE_MASTER_KEY, whose id is {}: no server has "
                                          "archived with it there.",
                                          file.native(), root.id()));
}

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

SigningKey checkpoint_key(const keyring::RootKey& root) {
  return SigningKey(root.derive(keyring::purpose::audit_checkpoints));
}

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
  const auto checkpoint_line = [&](const Checkpoint& checkpoint) {
    CheckpointLine line{.checkpoint = checkpoint.sequence, .seal = to_hex(checkpoint.seal), .at = Timestamp::now()};
    line.signature = to_hex(key.sign(signed_text(line)));
    return json::encode(line) + "\n";
  };
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
    const auto slot = root_.sealed();
    append(json::encode(SlotLine{.master_key = slot.id, .sealed = to_hex(bytes_of(slot.sealed))}) + "\n");
    has_slot_ = true;
  }
  if (!last_) {
    last_ = Checkpoint{.sequence = 0, .seal = (co_await store::earlier(database, deadline)).digest};
    append(checkpoint_line(*last_));
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
      lines += json::encode(EntryLine{.entry = entry, .seal = to_hex(seal)}) + "\n";
    }
    const Checkpoint reached{.sequence = prover.proved(), .seal = prover.seal()};
    append(lines + checkpoint_line(reached));
    last_ = reached;
  }
}

Result<ArchiveVerification> verify_archive(const std::filesystem::path& file, const keyring::RootKey& root) {
  std::ifstream in(file);
  if (!in) return fail(Code::not_found, fmt::format("{} cannot be read.", file.native()));
  if (auto opened = open_with(file, root); !opened) return std::unexpected(opened.error());
  const auto public_key = checkpoint_key(root).public_key();
  const auto entry_key = chain_key(root);
  ArchiveVerification out;
  std::optional<Prover> prover;
  const auto broken = [&](std::int64_t line, std::string_view what) {
    out.trail.broken = Break{prover ? prover->proved() + 1 : 0, fmt::format("{}:{}: {}", file.native(), line, what)};
  };
  std::string text;
  std::uintmax_t read = 0;
  for (std::int64_t number = 1; !out.trail.broken && std::getline(in, text); ++number) {
    if (in.eof()) break;  // the line has no end yet
    read += text.size() + 1;
    if (text.starts_with(checkpoint_begins)) {
      const auto line = json::decode<CheckpointLine>(std::string(text));
      const auto seal = line ? digest_of(line->seal) : std::nullopt;
      const auto signature = line ? from_hex(line->signature) : std::nullopt;
      if (!seal || !signature) {
        broken(number, "it is no checkpoint.");
      } else if (!is_signed(public_key, signed_text(*line), *signature)) {
        broken(number, "the checkpoint is not signed by this installation.");
      } else if (!prover && line->checkpoint == 0) {
        prover.emplace(entry_key, *seal);
      } else if (!prover || line->checkpoint != prover->proved() || !equal_constant_time(*seal, prover->seal())) {
        broken(number,
               fmt::format("the checkpoint of entry {} does not fit to the entries before it.", line->checkpoint));
      }
      if (out.trail.broken) break;
      ++out.checkpoints;
      out.last = Checkpoint{.sequence = line->checkpoint, .seal = *seal};
      out.bytes = read;
      continue;
    }
    if (text.starts_with(slot_begins)) {
      // Of another master key it cannot be proved; whoever has that one proves it by opening it.
      const auto slot = slot_of(text);
      if (!slot || (slot->id == root.id() && !root.open(*slot))) {
        broken(number, "it is not what a master key has sealed.");
        break;
      }
      out.has_slot = out.has_slot || slot->id == root.id();
      const auto behind = out.last ? out.last->sequence : 0;
      if (!prover || prover->proved() == behind) out.bytes = read;
      continue;
    }
    const auto line = json::decode<EntryLine>(std::string(text));
    const auto seal = line ? digest_of(line->seal) : std::nullopt;
    if (!seal || !prover) {
      broken(number, "it is no entry, or stands before the first checkpoint.");
    } else {
      out.trail.broken = prover->take(line->entry, *seal);
    }
  }
  if (!prover && !out.trail.broken) return fail(Code::not_found, fmt::format("{} holds no archive.", file.native()));
  if (prover) out.trail.entries = prover->proved();
  return out;
}

}  // namespace cognive::audit
