// The root key: every other key of an installation follows from it. It is made once, at random, and stored encrypted
// under each master key that is in use, so that a master key can be replaced and nothing else has to change.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/crypto.hpp"

namespace cognive::keyring {

// The root key as it is stored: encrypted under one master key.
struct Slot {
  std::string id;      // of the master key, see master_key_id
  std::string sealed;  // bytes
};

// Tells one master key from another, and nothing about it: 16 hexadecimal digits.
std::string master_key_id(std::string_view master_key);

// A handle: copies share what is known. Safe on every thread.
class RootKey {
 public:
  // Without a master key: it is never known.
  RootKey() : RootKey(std::string{}) {}
  // Not known until one of its slots is opened.
  explicit RootKey(std::string master_key);
  // Known from the start. For what has no installation: tests, and benchmarks.
  static RootKey of(std::string bytes);

  [[nodiscard]] bool has_master_key() const;
  // Of that master key; empty when there is none.
  [[nodiscard]] const std::string& id() const;
  [[nodiscard]] bool is_known() const;

  // A new root key under the master key, for an installation that has none. Known when it has been stored and opened.
  [[nodiscard]] Slot first_slot() const;
  // Of an installation from before there were root keys: its master key becomes its root key.
  [[nodiscard]] Slot first_slot_as_before() const;
  // Known from now on, to all copies, if the slot is of this master key. False also when another root key is known.
  bool open(const Slot& slot) const;
  // Whether a slot of that master key has this root key in it.
  [[nodiscard]] bool opens_the_same(std::string_view master_key, const Slot& slot) const;
  // Under this master key or a new one. Throws Unavailable while it is not known.
  [[nodiscard]] Slot sealed() const;
  [[nodiscard]] Slot sealed_under(std::string_view master_key) const;

  // A key for one purpose. Throws Unavailable while it is not known.
  [[nodiscard]] Digest derive(std::string_view purpose) const;
  // What followed from the master key itself, before there were root keys.
  [[nodiscard]] Digest derive_as_before(std::string_view purpose) const;

 private:
  struct State;

  std::shared_ptr<State> state_;
};

// A key for one purpose, reckoned when it is first asked for. A handle, like the root key.
class DerivedKey {
 public:
  DerivedKey(RootKey root, std::string purpose);

  // Throws Unavailable while the root key is not known.
  [[nodiscard]] const Digest& get() const;

 private:
  struct State;

  std::shared_ptr<State> state_;
};

}  // namespace cognive::keyring
