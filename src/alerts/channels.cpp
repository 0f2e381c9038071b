#include "alerts/channels.hpp"

#include "alerts/message.hpp"
#include "alerts/store.hpp"
#include "audit/audit.hpp"
#include "base/text.hpp"
#include "identity/permissions.hpp"
#include "json/entity_tag.hpp"
#include "pg/transact.hpp"
#include "teams/teams.hpp"

namespace cognive::alerts {
namespace {

constexpr std::int64_t alike_max = 20;  // of a team: each alert goes to all of them

Error not_found() {
  return {Code::not_found, "There is no such channel.", {}};
}

Error agents_key() {
  return {Code::forbidden, "This key belongs to one agent and cannot say where alerts go.", {}};
}

// Addresses of webhooks carry secrets of the other side, in their path or query, and those of e-mail name people: what
// the trail says can never be taken back.
audit::Entry entry(std::string_view action, AlertChannel channel) {
  if (channel.url) channel.url = client::webhook_origin(*channel.url);
  if (auto& address = channel.address) address = "***" + address->substr(std::min(address->find('@'), address->size()));
  return {.action = action,
          .resource_kind = "alert_channel",
          .resource_id = channel.id.text(),
          .team_id = channel.team_id,
          .details = json::encode(channel)};
}

// Whoever only looks needs not know the other side's secret.
AlertChannel shown_to(const Principal& principal, AlertChannel channel) {
  if (channel.url && !principal.may(identity::permission::budgets_write))
    channel.url = client::webhook_origin(*channel.url);
  return channel;
}

// Whether a repeat means the same channel: all that was said of it, but for what has been changed since.
bool same(const AlertChannel& stored, const AlertChannel& asked) {
  const bool has_changed = stored.updated_at != stored.created_at;
  return stored.team_id == asked.team_id && stored.kind == asked.kind &&
         (has_changed || (stored.name == asked.name && stored.target() == asked.target()));
}

}  // namespace

Endpoint AlertChannel::endpoint() const {
  return {.channel_id = id,
          .kind = kind,
          .target = target(),
          .secret_version = secret_version,
          .secret_rotated_at = secret_rotated_at};
}

void AlertChannelCreate::check(json::Faults& faults) const {
  if (faults.has_at("kind")) return;
  const auto check_target = [&](std::string_view field, ChannelKind goes_with, bool is_said) {
    if (faults.has_at(field)) return;
    if (kind == goes_with && !is_said)
      faults.add_at(field, fmt::format("A channel of kind {} needs it.", json::enum_text(goes_with)));
    if (kind != goes_with && is_said)
      faults.add_at(field, fmt::format("It goes with kind {} only.", json::enum_text(goes_with)));
  };
  check_target("url", ChannelKind::webhook, url.has_value());
  check_target("address", ChannelKind::email, address.has_value());
}

std::optional<Error> Channels::target_error(ChannelKind kind, const std::optional<std::string>& url,
                                            const std::optional<std::string>& address) const {
  if (kind == ChannelKind::webhook && url) {
    if (auto fault = sender_.url_fault(*url); !fault.empty())
      return unprocessable("/url", std::move(fault), json::quoted(shortened(*url, 64))).error();
  }
  if (kind == ChannelKind::email && address) {
    if (!sender_.sends_mail())
      return unprocessable("/kind", "This installation sends no e-mail: SMTP_URL is not set.", "\"email\"").error();
    if (!looks_like_mail_address(*address))
      return unprocessable("/address", "It must be one e-mail address.", json::quoted(shortened(*address, 64))).error();
  }
  return std::nullopt;
}

AlertChannelSecret Channels::with_secret(AlertChannel channel) const {
  AlertChannelSecret out;
  static_cast<AlertChannel&>(out) = std::move(channel);
  if (out.kind == ChannelKind::webhook) out.secret = sender_.secret_of(out.id, out.secret_version);
  return out;
}

Async<Result<ChannelCreateAnswer>> Channels::create(const Call& call, AlertChannelCreate request) {
  if (call.principal.agent_id) co_return fail(agents_key());
  AlertChannel channel;
  channel.id = call.id_or_new(request.id);
  channel.name = std::move(request.name);
  channel.kind = request.kind;
  channel.url = std::move(request.url);
  channel.address = std::move(request.address);
  channel.enabled = request.enabled;
  channel.team_id = call.principal.team_id;
  if (request.team) {
    channel.team_id = co_await teams::find_by_name(database_, *request.team, call);
    if (!channel.team_id)
      co_return unprocessable("/team", "There is no such team.", json::quoted(shortened(*request.team, 64)));
  }
  if (auto error = target_error(channel.kind, channel.url, channel.address)) co_return fail(std::move(*error));
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<ChannelCreateAnswer>> {
    const bool created = co_await store::insert(transaction, channel, targets_);
    auto now = co_await store::lock(transaction, channel.id, call.principal, targets_);
    if (!now || (!created && !same(*now, channel)))
      co_return fail(Code::conflict, "There is a channel with this id already, and it is another one.");
    if (created && co_await store::count_alike(transaction, channel) > alike_max)
      co_return fail(Code::conflict, fmt::format("There are {} channels of it already: delete one.", alike_max));
    if (created) {
      auto made = entry("alert_channel_create", *now);
      trail_.record(transaction, call, std::move(made));
    }
    // Whoever repeats a create may have missed the answer; a secret that has been replaced, or whose channel leads
    // elsewhere by now, is not told again.
    const bool is_untouched = now->updated_at == now->created_at;
    auto shown = with_secret(std::move(*now));
    if (!is_untouched) shown.secret.reset();
    co_return ChannelCreateAnswer{.channel = std::move(shown), .created = created};
  };
  co_return co_await pg::transact(database_, "alert_channel_create", call, body);
}

Async<Result<AlertChannel>> Channels::update(const Call& call, Uuid id, AlertChannelChange change) {
  if (call.principal.agent_id) co_return fail(agents_key());
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<AlertChannel>> {
    auto channel = co_await store::lock(transaction, id, call.principal, targets_);
    if (!channel) co_return fail(not_found());
    if (auto same = json::check_match(call.if_match, shown_to(call.principal, *channel)); !same)
      co_return std::unexpected(std::move(same.error()));
    const bool is_webhook = channel->kind == ChannelKind::webhook;
    if (change.url && !is_webhook) co_return unprocessable("/url", "It goes with kind webhook only.");
    if (change.address && is_webhook) co_return unprocessable("/address", "It goes with kind email only.");
    if (auto error = target_error(channel->kind, change.url, change.address)) co_return fail(std::move(*error));
    if (change.name) channel->name = *change.name;
    if (change.url) channel->url = *change.url;
    if (change.address) channel->address = *change.address;
    if (change.enabled) channel->enabled = *change.enabled;
    channel->updated_at = co_await store::update(transaction, *channel, targets_);
    auto changed = entry("alert_channel_update", *channel);
    trail_.record(transaction, call, std::move(changed));
    co_return std::move(*channel);
  };
  co_return co_await pg::transact(database_, "alert_channel_update", call, body);
}

Async<Result<AlertChannel>> Channels::remove(const Call& call, Uuid id) {
  if (call.principal.agent_id) co_return fail(agents_key());
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<AlertChannel>> {
    auto channel = co_await store::lock(transaction, id, call.principal, targets_);
    if (!channel) co_return fail(not_found());
    if (auto same = json::check_match(call.if_match, shown_to(call.principal, *channel)); !same)
      co_return std::unexpected(std::move(same.error()));
    co_await store::remove(transaction, id);
    auto removed = entry("alert_channel_delete", *channel);
    trail_.record(transaction, call, std::move(removed));
    co_return std::move(*channel);
  };
  co_return co_await pg::transact(database_, "alert_channel_delete", call, body);
}

Async<Result<AlertChannel>> Channels::get(const Call& call, Uuid id) {
  if (call.principal.agent_id) co_return fail(agents_key());
  auto channel = co_await store::get(database_.read_preferred(call), id, call.principal, targets_, call.deadline);
  if (!channel) co_return fail(not_found());
  co_return shown_to(call.principal, std::move(*channel));
}

Async<Result<json::Page<AlertChannel>>> Channels::list(const Call& call, AlertChannelList query) {
  if (call.principal.agent_id) co_return fail(agents_key());
  auto rows = co_await store::list(database_.read_preferred(call), query, call.principal, targets_, call.deadline);
  for (auto& channel : rows) channel = shown_to(call.principal, std::move(channel));
  co_return json::page_of(std::move(rows), query.limit, [](const AlertChannel& channel) {
    return json::PagePosition{channel.created_at, channel.id};
  });
}

Async<Result<AlertChannelSecret>> Channels::rotate_secret(const Call& call, Uuid id) {
  if (call.principal.agent_id) co_return fail(agents_key());
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<AlertChannelSecret>> {
    const auto channel = co_await store::lock(transaction, id, call.principal, targets_);
    if (!channel) co_return fail(not_found());
    if (channel->kind != ChannelKind::webhook) co_return unprocessable("", "Only webhooks have a secret.");
    auto rotated = co_await store::rotate_secret(transaction, id, targets_);
    auto changed = entry("alert_channel_rotate_secret", rotated);
    trail_.record(transaction, call, std::move(changed));
    co_return with_secret(std::move(rotated));
  };
  co_return co_await pg::transact(database_, "alert_channel_rotate_secret", call, body);
}

Async<Result<ChannelTest>> Channels::test(const Call& call, Uuid id) {
  const auto channel = co_await get(call, id);
  if (!channel) co_return std::unexpected(channel.error());
  const auto begun = std::chrono::steady_clock::now();
  const auto sent = co_await sender_.send(channel->endpoint(), test_message(*channel), call.deadline);
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begun);
  co_return ChannelTest{.delivered = sent.has_value(),
                        .error = sent ? std::nullopt : std::optional(sent.error().detail),
                        .duration_ms = took.count()};
}

}  // namespace cognive::alerts
