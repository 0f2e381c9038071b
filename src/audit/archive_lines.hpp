// The lines of an archive of the audit trail, in a file or in the object storage, and their proof.
#pragma once

#include <istream>
#include <optional>
#include <string>
#include <string_view>

#include "audit/verify.hpp"
#include "base/error.hpp"

namespace cognive::audit {

// Of checkpoints and manifests. Whoever has only the public key can verify them, and make none.
SigningKey checkpoint_key(const keyring::RootKey& root);

// Each with its end of line.
std::string entry_line(const StoredEntry& entry, const Digest& seal);
std::string checkpoint_line(const SigningKey& key, const Checkpoint& checkpoint);
// The root key as its master key seals it, so that an archive can be proved with nothing but a master key.
std::string slot_line(const keyring::RootKey& root);

// Makes the root key known by what an archive says of it, unless it is known already. `name`: of the archive.
Result<void> open_with(std::istream& archive, const std::string& name, const keyring::RootKey& root);

// Nothing when it is not the text of a seal.
std::optional<Digest> digest_of(std::string_view hex);

// Proves an archive line by line, in constant memory.
class ArchiveProof {
 public:
  // With which checkpoint it has to begin: that in front of the first entry, or any that is signed. In an archive that
  // begins anywhere, what has been proved may come again.
  enum class Begin { first_entry, anywhere };
  // The root key must be known. `name`: of the archive, for what is wrong with it.
  ArchiveProof(const keyring::RootKey& root, Begin begin);

  // A line without its end. Nothing is taken any more once something is broken.
  void take(std::string_view line, const std::string& name, std::int64_t number);

  // 0 before the first checkpoint.
  [[nodiscard]] std::int64_t proved() const { return prover_ ? prover_->proved() : 0; }
  [[nodiscard]] bool has_begun() const { return prover_.has_value(); }
  [[nodiscard]] const std::optional<Break>& broken() const { return broken_; }
  [[nodiscard]] const std::optional<Checkpoint>& last() const { return last_; }
  [[nodiscard]] std::int64_t first() const { return first_; }  // entry
  [[nodiscard]] std::int64_t checkpoints() const { return checkpoints_; }
  [[nodiscard]] bool has_slot() const { return has_slot_; }  // of this master key
  // Whether the lines so far are a whole archive: nothing stands behind its last checkpoint.
  [[nodiscard]] bool is_whole() const { return proved() == (last_ ? last_->sequence : 0); }

 private:
  void take_checkpoint(std::string_view line, const std::string& name, std::int64_t number);
  void take_slot(std::string_view line, const std::string& name, std::int64_t number);
  void take_entry(std::string_view line, const std::string& name, std::int64_t number);
  void fail_at(const std::string& name, std::int64_t number, std::string_view what);

  keyring::RootKey root_;
  Begin begin_;
  Digest public_key_;
  Digest entry_key_;
  std::optional<Prover> prover_;
  std::optional<Break> broken_;
  std::optional<Checkpoint> last_;
  std::int64_t first_ = 0;
  std::int64_t checkpoints_ = 0;
  bool has_slot_ = false;
};

}  // namespace cognive::audit
