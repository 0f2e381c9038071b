#include "keyring/root_key.hpp"

#include <atomic>
#include <mutex>

#include "base/error.hpp"

namespace cognive::keyring {
namespace {

constexpr std::string_view not_known = "the root key is not known yet: the database could not be asked for it";

Digest hmac(std::string_view key, std::string_view text) {
  return hmac_sha256({reinterpret_cast<const std::uint8_t*>(key.data()), key.size()}, text);
}

// What encrypts the root key; master keys are texts of any length.
Digest encryption_key(std::string_view master_key) {
  return hmac(master_key, "cognive/root-key/1");
}

Slot slot_of(std::string_view master_key, std::string_view root) {
  auto id = master_key_id(master_key);
  auto sealed = encrypt(encryption_key(master_key), root, id);
  return {.id = std::move(id), .sealed = std::move(sealed)};
}

}  // namespace

std::string master_key_id(std::string_view master_key) {
  constexpr std::size_t bytes = 8;
  const auto whole = hmac(master_key, "cognive/master-key/id");
  return to_hex(std::span(whole).first(bytes));
}

struct RootKey::State {
  std::string master_key;
  std::string id;
  std::once_flag once;
  std::string bytes;                  // written once, before is_known
  std::atomic<bool> is_known{false};  // afterwards

  // Whatever is known already stays.
  void set(std::string root) {
    std::call_once(once, [&] {
      bytes = std::move(root);
      is_known.store(true, std::memory_order_release);
    });
  }
};

RootKey::RootKey(std::string master_key) : state_(std::make_shared<State>()) {
  if (!master_key.empty()) state_->id = master_key_id(master_key);
  state_->master_key = std::move(master_key);
}

RootKey RootKey::of(std::string bytes) {
  RootKey out;
  out.state_->set(std::move(bytes));
  return out;
}

bool RootKey::has_master_key() const {
  return !state_->master_key.empty();
}

const std::string& RootKey::id() const {
  return state_->id;
}

bool RootKey::is_known() const {
  return state_->is_known.load(std::memory_order_acquire);
}

Slot RootKey::first_slot() const {
  Digest bytes;
  random_bytes(bytes);
  return slot_of(state_->master_key, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

Slot RootKey::first_slot_as_before() const {
  return slot_of(state_->master_key, state_->master_key);
}

bool RootKey::open(const Slot& slot) const {
  if (!has_master_key() || slot.id != id()) return false;
  auto bytes = decrypt(encryption_key(state_->master_key), slot.sealed, slot.id);
  if (!bytes) return false;
  state_->set(std::move(*bytes));
  return opens_the_same(state_->master_key, slot);
}

bool RootKey::opens_the_same(std::string_view master_key, const Slot& slot) const {
  const auto bytes = decrypt(encryption_key(master_key), slot.sealed, slot.id);
  return bytes && is_known() && equal_constant_time(sha256(*bytes), sha256(state_->bytes));
}

Slot RootKey::sealed_under(std::string_view master_key) const {
  if (!is_known()) throw Unavailable(std::string(not_known));
  return slot_of(master_key, state_->bytes);
}

Slot RootKey::sealed() const {
  return sealed_under(state_->master_key);
}

Digest RootKey::derive(std::string_view purpose) const {
  if (is_known()) return hmac(state_->bytes, purpose);
  throw Unavailable(std::string(has_master_key() ? not_known : "COGNIVE_MASTER_KEY is not set where this was tried"));
}

Digest RootKey::derive_as_before(std::string_view purpose) const {
  return hmac(state_->master_key, purpose);
}

struct DerivedKey::State {
  RootKey root;
  std::string purpose;
  std::once_flag once;
  Digest key{};
};

DerivedKey::DerivedKey(RootKey root, std::string purpose) : state_(std::make_shared<State>()) {
  state_->root = std::move(root);
  state_->purpose = std::move(purpose);
}

const Digest& DerivedKey::get() const {
  // Throws here and not below: whoever waits for a call_once that threw may wait for ever (thread sanitizer).
  if (!state_->root.is_known()) (void)state_->root.derive(state_->purpose);
  std::call_once(state_->once, [&] { state_->key = state_->root.derive(state_->purpose); });
  return state_->key;
}

}  // namespace cognive::keyring
