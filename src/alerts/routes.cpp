#include "alerts/routes.hpp"

#include "http/router.hpp"
#include "identity/permissions.hpp"

namespace cognive::alerts {
namespace {

namespace permission = identity::permission;

constexpr std::string_view tag = "Alerts";

struct AlertPath {
  Uuid id;
  static constexpr auto fields() { return json::fields(json::field("id", &AlertPath::id, "The alert's id.")); }
};

struct ChannelPath {
  Uuid id;
  static constexpr auto fields() { return json::fields(json::field("id", &ChannelPath::id, "The channel's id.")); }
};

struct DeliveryPath {
  Uuid id;
  static constexpr auto fields() { return json::fields(json::field("id", &DeliveryPath::id, "The delivery's id.")); }
};

Async<Result<http::Reply<AlertChannelSecret>>> create(Channels& channels, const Call& call, AlertChannelCreate body) {
  auto answer = co_await channels.create(call, std::move(body));
  if (!answer) co_return std::unexpected(answer.error());
  co_return http::Reply<AlertChannelSecret>{.body = std::move(answer->channel), .status = answer->created ? 201 : 200};
}

}  // namespace

void add_routes(http::Router& router, Alerts& alerts) {
  router.add(
      {.method = "GET",
       .path = "/api/v1/alerts",
       .id = "alert_list",
       .tag = tag,
       .summary = "List alerts",
       .description = "One for each threshold that a budget has crossed in a window.",
       .permission = permission::budgets_read},
      [&alerts](const Call& call, AlertQuery query, http::NoInput) { return alerts.list(call, std::move(query)); });
  router.add({.method = "POST",
              .path = "/api/v1/alerts/{id}/acknowledge",
              .id = "alert_acknowledge",
              .tag = tag,
              .summary = "Say that somebody has seen to an alert",
              .description = "A repeat changes nothing.",
              .permission = permission::budgets_write},
             [&alerts](const Call& call, AlertPath path, http::NoInput) { return alerts.acknowledge(call, path.id); });
  router.add({.method = "GET",
              .path = "/api/v1/alert-deliveries",
              .id = "alert_delivery_list",
              .tag = tag,
              .summary = "What became of alerts on the channels that they were sent to",
              .description = "Each alert goes to each channel that is meant; attempts, the latest error and the next "
                             "try. The newest first.",
              .permission = permission::budgets_read},
             [&alerts](const Call& call, DeliveryQuery query, http::NoInput) {
               return alerts.deliveries(call, std::move(query));
             });
  router.add(
      {.method = "POST",
       .path = "/api/v1/alert-deliveries/{id}/redeliver",
       .id = "alert_delivery_redeliver",
       .tag = tag,
       .summary = "Send an alert once more to a channel",
       .description = "With the same id, whether it had failed or been delivered. One that waits is tried anyway.",
       .permission = permission::budgets_write},
      [&alerts](const Call& call, DeliveryPath path, http::NoInput) { return alerts.redeliver(call, path.id); });
}

void add_routes(http::Router& router, Channels& channels) {
  router.add({.method = "POST",
              .path = "/api/v1/alert-channels",
              .id = "alert_channel_create",
              .tag = tag,
              .summary = "Say where alerts go",
              .description = "The answer has the secret that signs a webhook's requests. With an id of the caller's "
                             "own it can be repeated.",
              .permission = permission::budgets_write,
              .status = 201,
              .also = {200, 409}},
             [&channels](const Call& call, http::NoInput, AlertChannelCreate body) {
               return create(channels, call, std::move(body));
             });
  router.add(
      {.method = "GET",
       .path = "/api/v1/alert-channels",
       .id = "alert_channel_list",
       .tag = tag,
       .summary = "List channels",
       .description = "Webhooks and addresses that alerts of budgets go to. Who may not change them sees only the "
                      "origin of a URL.",
       .permission = permission::budgets_read},
      [&channels](const Call& call, AlertChannelList query, http::NoInput) { return channels.list(call, query); });
  router.add({.method = "GET",
              .path = "/api/v1/alert-channels/{id}",
              .id = "alert_channel_get",
              .tag = tag,
              .summary = "Get one channel",
              .description = "Who may not change it sees only the origin of its URL, since the rest may be a secret.",
              .permission = permission::budgets_read},
             [&channels](const Call& call, ChannelPath path, http::NoInput) { return channels.get(call, path.id); });
  router.add({.method = "PATCH",
              .path = "/api/v1/alert-channels/{id}",
              .id = "alert_channel_update",
              .tag = tag,
              .summary = "Change a channel",
              .description = "Also for what waits for it.",
              .permission = permission::budgets_write,
              .heeds_if_match = true},
             [&channels](const Call& call, ChannelPath path, AlertChannelChange body) {
               return channels.update(call, path.id, std::move(body));
             });
  router.add({.method = "DELETE",
              .path = "/api/v1/alert-channels/{id}",
              .id = "alert_channel_delete",
              .tag = tag,
              .summary = "Delete a channel",
              .description = "What waits for it fails.",
              .permission = permission::budgets_write,
              .heeds_if_match = true},
             [&channels](const Call& call, ChannelPath path, http::NoInput) { return channels.remove(call, path.id); });
  router.add({.method = "POST",
              .path = "/api/v1/alert-channels/{id}/test",
              .id = "alert_channel_test",
              .tag = tag,
              .summary = "Try a channel with a message that is no alert",
              .description = "Sent at once and only once; the answer tells what became of it.",
              .permission = permission::budgets_write},
             [&channels](const Call& call, ChannelPath path, http::NoInput) { return channels.test(call, path.id); });
  router.add(
      {.method = "POST",
       .path = "/api/v1/alert-channels/{id}/rotate-secret",
       .id = "alert_channel_rotate_secret",
       .tag = tag,
       .summary = "Give a webhook another secret",
       .description = "For a day requests are signed with the one before, too.",
       .permission = permission::budgets_write},
      [&channels](const Call& call, ChannelPath path, http::NoInput) { return channels.rotate_secret(call, path.id); });
}

}  // namespace cognive::alerts
