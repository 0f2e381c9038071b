#include "keyring/root_key.hpp"

#include <gtest/gtest.h>

#include "base/error.hpp"
#include "keyring/purposes.hpp"

namespace cognive::keyring {
namespace {

const std::string first = "the first master key, long enough";
const std::string second = "the second master key, long enough";

TEST(Encryption, opens_with_its_key_and_context_only) {
  const auto key = sha256("key");
  const auto sealed = encrypt(key, "text", "context");
  EXPECT_EQ(decrypt(key, sealed, "context"), "text");
  EXPECT_EQ(decrypt(key, encrypt(key, "", ""), ""), "");
  EXPECT_NE(encrypt(key, "text", "context"), sealed);
  EXPECT_FALSE(decrypt(sha256("other"), sealed, "context"));
  EXPECT_FALSE(decrypt(key, sealed, "other"));
  for (std::size_t i = 0; i < sealed.size(); ++i) {
    auto changed = sealed;
    changed[i] ^= 1;
    EXPECT_FALSE(decrypt(key, changed, "context")) << i;
    EXPECT_FALSE(decrypt(key, sealed.substr(0, i), "context")) << i;
  }
}

TEST(RootKey, is_known_when_its_slot_is_opened) {
  const RootKey root(first);
  EXPECT_THROW((void)root.derive(purpose::content), Unavailable);
  const DerivedKey early(root, std::string(purpose::content));
  EXPECT_THROW((void)early.get(), Unavailable);
  const auto slot = root.first_slot();
  EXPECT_FALSE(root.is_known());
  ASSERT_TRUE(root.open(slot));
  EXPECT_EQ(early.get(), root.derive(purpose::content));
  EXPECT_NE(root.derive(purpose::content), root.derive(purpose::audit_chain));
  EXPECT_EQ(slot.sealed.find(first), std::string::npos);
}

TEST(RootKey, is_the_same_under_another_master_key) {
  RootKey root(first);
  ASSERT_TRUE(root.open(root.first_slot()));
  const auto slot = root.sealed_under(second);
  EXPECT_FALSE(root.open(slot));
  RootKey other(second);
  ASSERT_TRUE(other.open(slot));
  EXPECT_EQ(other.derive(purpose::content), root.derive(purpose::content));
  EXPECT_FALSE(RootKey(first).open(slot));
  EXPECT_TRUE(root.opens_the_same(second, slot));
  EXPECT_FALSE(root.opens_the_same(first, slot));
}

TEST(RootKey, stays_what_it_is_once_it_is_known) {
  const RootKey root(first);
  ASSERT_TRUE(root.open(root.first_slot()));
  const auto known = root.derive(purpose::content);
  EXPECT_FALSE(root.open(root.first_slot()));
  EXPECT_EQ(root.derive(purpose::content), known);
}

TEST(RootKey, does_not_open_what_somebody_else_has_sealed) {
  const RootKey root(first);
  auto forged = RootKey(second).first_slot();
  forged.id = root.id();
  EXPECT_FALSE(root.open(forged));
  EXPECT_FALSE(root.is_known());
}

TEST(RootKey, keeps_what_followed_from_the_master_key_itself) {
  const RootKey root(first);
  ASSERT_TRUE(root.open(root.first_slot_as_before()));
  EXPECT_EQ(root.derive(purpose::content), root.derive_as_before(purpose::content));
}

}  // namespace
}  // namespace cognive::keyring
