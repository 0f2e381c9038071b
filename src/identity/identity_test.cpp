#include <gtest/gtest.h>

#include "identity/keys.hpp"
#include "identity/sessions.hpp"
#include "identity/tokens.hpp"

namespace cognive::identity {
namespace {

TEST(KeyText, survives_its_own_text_and_nothing_else_parses) {
  const auto key = KeyText::make(Uuid::make());
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

TEST(SecretHasher, depends_on_the_root_key_and_the_secret) {
  const SecretHasher one(keyring::RootKey::of("root key number one, long enough"));
  const SecretHasher two(keyring::RootKey::of("root key number two, long enough"));
  EXPECT_EQ(one.hash("a"), one.hash("a"));
  EXPECT_NE(one.hash("a"), one.hash("b"));
  EXPECT_NE(one.hash("a"), two.hash("a"));
}

TEST(Password, is_hashed_with_argon2id_and_a_fresh_salt) {
  const auto hash = hash_password("correct horse");
  EXPECT_TRUE(hash.starts_with("$argon2id$v=19$m=65536,t=3,p=4$")) << hash;
  EXPECT_NE(hash, hash_password("correct horse"));
  EXPECT_TRUE(is_password("correct horse", hash));
  EXPECT_FALSE(is_password("correct horse ", hash));
  EXPECT_FALSE(is_password("correct horse", ""));
}

constexpr Timestamp noon{1'800'000'000'000'000};

Timestamp later(std::int64_t seconds) {
  return noon.plus(std::chrono::seconds(seconds));
}

TEST(AccessToken, is_valid_for_a_quarter_of_an_hour_and_clocks_may_differ_by_half_a_minute) {
  const AccessTokens tokens(keyring::RootKey::of("a root key that is long enough"));
  const AccessClaims claims{Uuid::make(), Uuid::make()};
  const auto text = tokens.issue(claims, noon);
  for (const std::int64_t seconds : {-30, 0, 899, 900, 929}) {
    const auto found = tokens.verify(text, later(seconds));
    ASSERT_TRUE(found) << seconds;
    EXPECT_EQ(found->user_id, claims.user_id);
    EXPECT_EQ(found->session_id, claims.session_id);
  }
  for (const std::int64_t seconds : {-3600, -31, 930, 3600, 30 * 86'400})
    EXPECT_FALSE(tokens.verify(text, later(seconds))) << seconds;
}

TEST(AccessToken, outlives_the_week_of_its_key) {
  const AccessTokens tokens(keyring::RootKey::of("a root key that is long enough"));
  constexpr std::int64_t week_s = 7 * 86'400;
  const Timestamp end_of_week{(noon.micros / 1'000'000 / week_s + 1) * week_s * 1'000'000 - 1};
  const auto text = tokens.issue({Uuid::make(), Uuid::make()}, end_of_week);
  EXPECT_TRUE(tokens.verify(text, end_of_week.plus(std::chrono::seconds{60})));
  const auto next = tokens.issue({Uuid::make(), Uuid::make()}, end_of_week.plus(std::chrono::seconds{60}));
  EXPECT_NE(text.substr(0, text.find('.')), next.substr(0, next.find('.'))) << "the key did not change";
  EXPECT_TRUE(tokens.verify(next, end_of_week.plus(std::chrono::seconds{40})));
}

TEST(AccessToken, of_another_master_key_or_changed_anywhere_is_none) {
  const AccessTokens tokens(keyring::RootKey::of("a root key that is long enough"));
  const AccessTokens others(keyring::RootKey::of("another root key, long enough, too"));
  const auto text = tokens.issue({Uuid::make(), Uuid::make()}, noon);
  EXPECT_FALSE(others.verify(text, noon));
  for (std::size_t i = 0; i < text.size(); ++i) {
    auto changed = text;
    changed[i] = changed[i] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(tokens.verify(changed, noon)) << i;
    EXPECT_FALSE(tokens.verify(text.substr(0, i), noon)) << i;
  }
  EXPECT_FALSE(tokens.verify(text + "A", noon));
  EXPECT_FALSE(tokens.verify(text + ".", noon));
  EXPECT_FALSE(tokens.verify(std::string(100'000, 'a'), noon));
}

TEST(AccessToken, says_nothing_about_how_it_is_verified) {
  const AccessTokens tokens(keyring::RootKey::of("a root key that is long enough"));
  const auto text = tokens.issue({Uuid::make(), Uuid::make()}, noon);
  const auto claims = text.substr(text.find('.') + 1, text.rfind('.') - text.find('.') - 1);
  // {"alg":"none","typ":"JWT"}, {"alg":"none"}, and RS256, each with the claims and without a signature or with ours.
  for (const std::string header :
       {"eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0", "eyJhbGciOiJub25lIn0", "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9"}) {
    for (const auto& signature : {std::string(), text.substr(text.rfind('.') + 1)})
      EXPECT_FALSE(tokens.verify(header + "." + claims + "." + signature, noon)) << header;
  }
}

TEST(RefreshToken, survives_its_own_text_and_nothing_else_does) {
  const RefreshTokens tokens(keyring::RootKey::of("a root key that is long enough"));
  const RefreshClaims claims{Uuid::make(), 7};
  const auto text = tokens.issue(claims);
  const auto found = tokens.verify(text);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->session_id, claims.session_id);
  EXPECT_EQ(found->generation, 7);
  for (std::size_t i = 0; i < text.size(); ++i) {
    auto changed = text;
    changed[i] = changed[i] == '1' ? '2' : '1';
    EXPECT_FALSE(tokens.verify(changed)) << i;
    EXPECT_FALSE(tokens.verify(text.substr(0, i))) << i;
  }
  EXPECT_FALSE(tokens.verify(text + "0"));
  EXPECT_FALSE(RefreshTokens(keyring::RootKey::of("another root key, long enough, too")).verify(text));
}

HeldRole held(Role role, std::optional<Uuid> team_id = {}, std::optional<std::string> team = {}) {
  return {.role = role, .team_id = team_id, .team = std::move(team)};
}

TEST(ActIn, takes_the_team_that_came_first_unless_another_is_named) {
  const auto a = Uuid::make();
  const auto b = Uuid::make();
  const std::vector both{held(Role::viewer, a, "a"), held(Role::team_lead, b, "b")};
  for (const auto& team : {std::string(), std::string("a"), a.text()}) {
    const auto in_a = act_in(both, team);
    EXPECT_EQ(in_a.team_id, a);
    EXPECT_TRUE(in_a.may("agents:read"));
    EXPECT_FALSE(in_a.may("agents:write")) << "what somebody is in one team is nothing in another";
  }
  for (const auto& team : {std::string("b"), b.text()}) {
    EXPECT_EQ(act_in(both, team).team_id, b);
    EXPECT_TRUE(act_in(both, team).may("keys:write"));
  }
}

TEST(ActIn, an_id_is_no_name_of_another_team) {
  const auto a = Uuid::make();
  const auto b = Uuid::make();
  EXPECT_EQ(act_in({held(Role::viewer, a, b.text()), held(Role::viewer, b, "b")}, b.text()).team_id, b);
}

TEST(ActIn, gives_nothing_to_whoever_has_no_role_or_not_there) {
  const auto a = Uuid::make();
  for (const auto& nobody : {act_in({}, ""), act_in({}, "a"), act_in({held(Role::team_lead, a, "a")}, "b"),
                             act_in({held(Role::admin)}, "a")}) {
    EXPECT_TRUE(nobody.permissions.empty());
    EXPECT_FALSE(nobody.limited_by.empty());
  }
}

TEST(ActIn, lets_an_admin_do_everything_and_an_organisation_wide_viewer_see_everything) {
  const auto admin = act_in({held(Role::admin)}, "");
  EXPECT_FALSE(admin.team_id);
  EXPECT_TRUE(admin.may("users:write"));
  const auto a = Uuid::make();
  const std::vector roles{held(Role::team_lead, a, "a"), held(Role::viewer)};
  const auto viewer = act_in(roles, "");
  EXPECT_FALSE(viewer.team_id);
  EXPECT_TRUE(viewer.may("agents:read"));
  EXPECT_FALSE(viewer.may("agents:write")) << "being a lead somewhere means nothing everywhere";
  EXPECT_TRUE(act_in(roles, "a").may("agents:write"));
}

TEST(Grants, each_role_holds_what_the_one_below_it_does) {
  for (const auto& grant : grants) {
    EXPECT_TRUE(grant.holds(Role::admin));
    if (grant.viewer) EXPECT_TRUE(grant.developer) << grant.permission;
    if (grant.developer) EXPECT_TRUE(grant.team_lead) << grant.permission;
    if (grant.permission.ends_with(":write")) EXPECT_FALSE(grant.viewer) << grant.permission;
  }
}

}  // namespace
}  // namespace cognive::identity
