#include "identity/identity.hpp"

#include <gtest/gtest.h>

namespace cognive::identity {
namespace {

TEST(KeyText, survives_its_own_text_and_nothing_else_parses) {
  const auto key = KeyText::make();
  const auto parsed = KeyText::parse(key.text());
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->id, key.id);
  EXPECT_EQ(parsed->secret, key.secret);
  const auto text = key.text();
  for (const auto& wrong : {std::string(), text.substr(1), text + "x", text.substr(0, text.size() - 1), "x" + text,
                            std::string("cgv__"), std::string(text.size(), '_')}) {
    EXPECT_FALSE(KeyText::parse(wrong)) << wrong;
  }
}

TEST(SecretHasher, depends_on_the_master_key_and_the_secret) {
  const SecretHasher one("master key number one, long enough");
  const SecretHasher two("master key number two, long enough");
  EXPECT_EQ(one.hash("a"), one.hash("a"));
  EXPECT_NE(one.hash("a"), one.hash("b"));
  EXPECT_NE(one.hash("a"), two.hash("a"));
}

TEST(Password, is_hashed_with_argon2id_and_a_fresh_salt) {
  const auto hash = hash_password("correct horse");
  EXPECT_TRUE(hash.starts_with("$argon2id$v=19$m=65536,t=3,p=4$")) << hash;
  EXPECT_NE(hash, hash_password("correct horse"));
}

}  // namespace
}  // namespace cognive::identity
