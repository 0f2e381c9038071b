#include "audit/archive_lines.hpp"

#include <fmt/format.h>

#include <algorithm>

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

std::span<const std::uint8_t> bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::optional<keyring::Slot> slot_of(std::string_view text) {
  const auto line = json::decode<SlotLine>(std::string(text));
  const auto bytes = line ? from_hex(line->sealed) : std::nullopt;
  if (!bytes) return std::nullopt;
  return keyring::Slot{.id = line->master_key, .sealed = std::string(bytes->begin(), bytes->end())};
}

}  // namespace

std::optional<Digest> digest_of(std::string_view hex) {
  const auto bytes = from_hex(hex);
  Digest out{};
  if (!bytes || bytes->size() != out.size()) return std::nullopt;
  std::ranges::copy(*bytes, out.begin());
  return out;
}

SigningKey checkpoint_key(const keyring::RootKey& root) {
  return SigningKey(root.derive(keyring::purpose::audit_checkpoints));
}

std::string entry_line(const StoredEntry& entry, const Digest& seal) {
  return json::encode(EntryLine{.entry = entry, .seal = to_hex(seal)}) + "\n";
}

std::string checkpoint_line(const SigningKey& key, const Checkpoint& checkpoint) {
  CheckpointLine line{.checkpoint = checkpoint.sequence, .seal = to_hex(checkpoint.seal), .at = Timestamp::now()};
  line.signature = to_hex(key.sign(signed_text(line)));
  return json::encode(line) + "\n";
}

std::string slot_line(const keyring::RootKey& root) {
  const auto slot = root.sealed();
  return json::encode(SlotLine{.master_key = slot.id, .sealed = to_hex(bytes_of(slot.sealed))}) + "\n";
}

Result<void> open_with(std::istream& archive, const std::string& name, const keyring::RootKey& root) {
  if (root.is_known()) return {};
  std::string text;
  bool has_slots = false;
  while (std::getline(archive, text)) {
    if (!text.starts_with(slot_begins)) continue;
    has_slots = true;
    const auto slot = slot_of(text);
    if (slot && root.open(*slot)) return {};
  }
  // Written before there were root keys.
  if (!has_slots && root.open(root.first_slot_as_before())) return {};
  return fail(Code::conflict, fmt::format("{} knows nothing of this COGNIVE_MASTER_KEY, whose id is {}: no server has "
                                          "archived with it there.",
                                          name, root.id()));
}

ArchiveProof::ArchiveProof(const keyring::RootKey& root, Begin begin)
    : root_(root), begin_(begin), public_key_(checkpoint_key(root).public_key()), entry_key_(chain_key(root)) {}

void ArchiveProof::fail_at(const std::string& name, std::int64_t number, std::string_view what) {
  broken_ = Break{prover_ ? prover_->proved() + 1 : 0, fmt::format("{}:{}: {}", name, number, what)};
}

void ArchiveProof::take(std::string_view line, const std::string& name, std::int64_t number) {
  if (broken_) return;
  if (line.starts_with(checkpoint_begins)) {
    take_checkpoint(line, name, number);
  } else if (line.starts_with(slot_begins)) {
    take_slot(line, name, number);
  } else {
    take_entry(line, name, number);
  }
}

void ArchiveProof::take_checkpoint(std::string_view text, const std::string& name, std::int64_t number) {
  const auto line = json::decode<CheckpointLine>(std::string(text));
  const auto seal = line ? digest_of(line->seal) : std::nullopt;
  const auto signature = line ? from_hex(line->signature) : std::nullopt;
  if (!seal || !signature) return fail_at(name, number, "it is no checkpoint.");
  if (!is_signed(public_key_, signed_text(*line), *signature))
    return fail_at(name, number, "the checkpoint is not signed by this installation.");
  const Checkpoint checkpoint{.sequence = line->checkpoint, .seal = *seal};
  if (!prover_ && (checkpoint.sequence == 0 || begin_ == Begin::anywhere)) {
    prover_.emplace(entry_key_, checkpoint);
    first_ = checkpoint.sequence + 1;
  } else if (prover_ && begin_ == Begin::anywhere && checkpoint.sequence < prover_->proved()) {
    return;
  } else if (!prover_ || checkpoint.sequence != prover_->proved() || !equal_constant_time(*seal, prover_->seal())) {
    return fail_at(name, number,
                   fmt::format("the checkpoint of entry {} does not fit to the entries before it.", line->checkpoint));
  }
  ++checkpoints_;
  last_ = checkpoint;
}

void ArchiveProof::take_slot(std::string_view text, const std::string& name, std::int64_t number) {
  // Of another master key it cannot be proved; whoever has that one proves it by opening it.
  const auto slot = slot_of(text);
  if (!slot || (slot->id == root_.id() && !root_.open(*slot)))
    return fail_at(name, number, "it is not what a master key has sealed.");
  has_slot_ = has_slot_ || slot->id == root_.id();
}

void ArchiveProof::take_entry(std::string_view text, const std::string& name, std::int64_t number) {
  const auto line = json::decode<EntryLine>(std::string(text));
  const auto seal = line ? digest_of(line->seal) : std::nullopt;
  if (!seal || !prover_) return fail_at(name, number, "it is no entry, or stands before the first checkpoint.");
  if (begin_ == Begin::anywhere && line->entry.sequence <= prover_->proved()) return;
  broken_ = prover_->take(line->entry, *seal);
}

}  // namespace cognive::audit
