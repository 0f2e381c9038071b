// What is sent, and how it is signed.
#include <gtest/gtest.h>

#include "alerts/message.hpp"
#include "alerts/sender.hpp"

namespace cognive::alerts {
namespace {

const Uuid channel_id = *Uuid::parse("0192f0c1-2345-7678-9abc-def012345678");

Sender sender_with(std::string root) {
  return Sender({.root = keyring::RootKey::of(std::move(root)), .mail_server = {}, .private_networks = {}});
}

TEST(Sender, secrets_differ_by_channel_version_and_root_key) {
  const auto sender = sender_with("one");
  EXPECT_EQ(sender.secret_of(channel_id, 1), sender_with("one").secret_of(channel_id, 1));
  EXPECT_NE(sender.secret_of(channel_id, 1), sender.secret_of(channel_id, 2));
  EXPECT_NE(sender.secret_of(channel_id, 1), sender_with("two").secret_of(channel_id, 1));
  EXPECT_NE(sender.secret_of(channel_id, 1), sender.secret_of(Uuid::make(), 1));
  EXPECT_EQ(sender.secret_of(channel_id, 1).size(), std::string_view("whsec_").size() + 44);
}

TEST(Sender, the_secret_before_signs_for_a_day_after_a_rotation) {
  const auto sender = sender_with("one");
  const Message message{.id = "m", .body = "{}", .subject = {}, .text = {}, .created_at = {}};
  const auto rotated = *Timestamp::parse("2026-11-28T00:00:00Z");
  const Endpoint before{.channel_id = channel_id,
                        .kind = ChannelKind::webhook,
                        .target = {},
                        .secret_version = 1,
                        .secret_rotated_at = {}};
  Endpoint after = before;
  after.secret_version = 2;
  after.secret_rotated_at = rotated;
  const auto soon = rotated.plus(std::chrono::hours{23});
  const auto old_one = sender.signature_of(before, message, soon);
  const auto both = sender.signature_of(after, message, soon);
  EXPECT_TRUE(both.ends_with(" " + old_one)) << both;
  const auto late = rotated.plus(std::chrono::hours{24});
  EXPECT_EQ(sender.signature_of(after, message, late).find(' '), std::string::npos);
}

TEST(Message, tells_people_what_has_crossed_which_limit_and_for_how_long) {
  Alert alert;
  alert.id = channel_id;
  alert.budget_id = channel_id;
  alert.threshold = 80;
  alert.limit = *Decimal::parse("10");
  alert.spent = *Decimal::parse("8.5");
  alert.begins_at = *Timestamp::parse("2026-11-28T00:00:00Z");
  alert.ends_at = *Timestamp::parse("2026-11-29T00:00:00Z");
  AlertedBudget budget;
  budget.name = "nightly";
  budget.scope = budgets::Scope::agent;
  budget.agent = "crawler";
  budget.hard_stop = true;
  const auto message = message_of(Uuid::make(), alert, budget);
  EXPECT_EQ(message.subject, "Budget \"nightly\" of agent crawler: 80 % of 10 USD used up");
  for (const auto* part : {"8.5 USD", "10 USD", "2026-11-29T00:00:00", "is refused"})
    EXPECT_NE(message.text.find(part), std::string::npos) << part << "\n" << message.text;
  EXPECT_TRUE(message.body.starts_with(R"({"type":"budget.threshold_crossed",)")) << message.body;
}

}  // namespace
}  // namespace cognive::alerts
