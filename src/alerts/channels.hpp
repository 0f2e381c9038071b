// Channels: where alerts are sent. A channel of a team gets the alerts of the team's budgets, one of the organisation
// those of all.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "alerts/sender.hpp"
#include "alerts/targets.hpp"
#include "audit/audit.hpp"
#include "json/bind.hpp"
#include "json/page.hpp"
#include "pg/cluster.hpp"
#include "runtime/call.hpp"

namespace cognive::alerts {

struct AlertChannel {
  Uuid id;
  std::string name;
  std::optional<Uuid> team_id;
  ChannelKind kind = ChannelKind::webhook;
  std::optional<std::string> url;
  std::optional<std::string> address;
  bool enabled = true;
  std::optional<Timestamp> secret_rotated_at;
  Timestamp created_at;
  Timestamp updated_at;
  std::int64_t secret_version = 1;  // of ours, not shown

  static constexpr std::string_view schema_name = "AlertChannel";
  template <typename T>
  static constexpr auto fields_of() {
    return json::fields(
        json::field("id", &T::id, ""), json::field("name", &T::name, "For people."),
        json::field("team_id", &T::team_id, "Whose alerts it gets; null: all of the organisation."),
        json::field("kind", &T::kind, ""),
        json::field("url", &T::url,
                    "Of a webhook; no more than its origin for callers without budgets:write. Empty: it was changed in "
                    "the database and has to be set anew."),
        json::field("address", &T::address, "Of e-mail."),
        json::field("enabled", &T::enabled, "Nothing is sent to a disabled channel."),
        json::field("secret_rotated_at", &T::secret_rotated_at, "For a day from then the secret before signs too."),
        json::field("created_at", &T::created_at, ""), json::field("updated_at", &T::updated_at, ""));
  }
  static constexpr auto fields() { return fields_of<AlertChannel>(); }

  [[nodiscard]] const std::string& target() const { return kind == ChannelKind::webhook ? *url : *address; }
  [[nodiscard]] Endpoint endpoint() const;
};

// As its maker, and who rotates the secret, sees it.
struct AlertChannelSecret : AlertChannel {
  std::optional<std::string> secret;

  static constexpr std::string_view schema_name = "AlertChannelSecret";
  static constexpr auto fields() {
    return std::tuple_cat(fields_of<AlertChannelSecret>(),
                          json::fields(json::field("secret", &AlertChannelSecret::secret,
                                                   "Of a webhook: verifies the signature of its requests. Keep it, it "
                                                   "is not shown again.")));
  }
};

struct AlertChannelCreate {
  std::optional<Uuid> id;
  std::string name;
  std::optional<std::string> team;
  ChannelKind kind = ChannelKind::webhook;
  std::optional<std::string> url;
  std::optional<std::string> address;
  bool enabled = true;

  void check(json::Faults& faults) const;

  static constexpr std::string_view schema_name = "AlertChannelCreate";
  static constexpr auto fields() {
    return json::fields(
        json::field("id", &AlertChannelCreate::id,
                    "The caller's own id, so that it can be repeated; ours when absent."),
        json::field("name", &AlertChannelCreate::name, "For people.", {.max_length = 128, .optional = true}),
        json::field("team", &AlertChannelCreate::team,
                    "Gets the alerts of this team; absent: the caller's own, or all of the organisation.",
                    {.min_length = 1, .max_length = 128}),
        json::field("kind", &AlertChannelCreate::kind, ""),
        json::field("url", &AlertChannelCreate::url, "With kind webhook: what requests are posted to.",
                    {.min_length = 1, .max_length = 2048, .example = "\"https://hooks.example.com/cognive\""}),
        json::field("address", &AlertChannelCreate::address, "With kind email.", {.min_length = 3, .max_length = 254}),
        json::field("enabled", &AlertChannelCreate::enabled, "", {.optional = true}));
  }
};

// What may change; of what kind a channel is, and whose, never does.
struct AlertChannelChange {
  std::optional<std::string> name;
  std::optional<std::string> url;
  std::optional<std::string> address;
  std::optional<bool> enabled;

  static constexpr std::string_view schema_name = "AlertChannelChange";
  static constexpr auto fields() {
    return json::fields(
        json::field("name", &AlertChannelChange::name, "", {.max_length = 128}),
        json::field("url", &AlertChannelChange::url, "Of a webhook.",
                    {.min_length = 1, .max_length = 2048, .example = "\"https://hooks.example.com/cognive\""}),
        json::field("address", &AlertChannelChange::address, "Of e-mail.", {.min_length = 3, .max_length = 254}),
        json::field("enabled", &AlertChannelChange::enabled, ""));
  }
};

struct AlertChannelList {
  std::int64_t limit = 50;
  std::optional<json::PagePosition> cursor;

  static constexpr auto fields() {
    return json::fields(json::field("limit", &AlertChannelList::limit, "Items per page.", json::page_limit_rules),
                        json::field("cursor", &AlertChannelList::cursor, "next_cursor of the page before."));
  }
};

// What became of a message that was sent to try a channel.
struct ChannelTest {
  bool delivered = false;
  std::optional<std::string> error;
  std::int64_t duration_ms = 0;

  static constexpr std::string_view schema_name = "AlertChannelTest";
  static constexpr auto fields() {
    return json::fields(json::field("delivered", &ChannelTest::delivered, "Whether the other side accepted it."),
                        json::field("error", &ChannelTest::error, "What went wrong; null: nothing."),
                        json::field("duration_ms", &ChannelTest::duration_ms, "What it took."));
  }
};

struct ChannelCreateAnswer {
  AlertChannelSecret channel;
  bool created = false;
};

class Channels {
 public:
  // `database` and `sender` must outlive it.
  Channels(pg::Cluster& database, audit::Trail trail, const Sender& sender, const keyring::RootKey& root)
      : database_(database), trail_(trail), sender_(sender), targets_(root) {}

  // A repeat with the same id and content returns the channel. Code::conflict when the id is another channel's, or
  // there are too many; Code::forbidden when the caller's key belongs to one agent.
  Async<Result<ChannelCreateAnswer>> create(const Call& call, AlertChannelCreate request);
  Async<Result<AlertChannel>> update(const Call& call, Uuid id, AlertChannelChange change);
  // What waits for it has failed then.
  Async<Result<AlertChannel>> remove(const Call& call, Uuid id);
  Async<Result<AlertChannel>> get(const Call& call, Uuid id);
  Async<Result<json::Page<AlertChannel>>> list(const Call& call, AlertChannelList query);
  // For a day the secret before signs too, so that both sides need not change at once. Code::unprocessable when it is
  // no webhook.
  Async<Result<AlertChannelSecret>> rotate_secret(const Call& call, Uuid id);
  // Sends a message that is no alert, now and once, also to a disabled channel.
  Async<Result<ChannelTest>> test(const Call& call, Uuid id);

 private:
  [[nodiscard]] AlertChannelSecret with_secret(AlertChannel channel) const;
  // What is wrong with where it would send to.
  [[nodiscard]] std::optional<Error> target_error(ChannelKind kind, const std::optional<std::string>& url,
                                                  const std::optional<std::string>& address) const;

  pg::Cluster& database_;
  audit::Trail trail_;
  const Sender& sender_;
  Targets targets_;
};

}  // namespace cognive::alerts
