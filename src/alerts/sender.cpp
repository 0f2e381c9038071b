#include "alerts/sender.hpp"

#include <fmt/format.h>

#include "base/crypto.hpp"

namespace cognive::alerts {
namespace {

Digest key_of(const std::string& master_key, const Uuid& channel_id, std::int64_t version) {
  const std::vector<std::uint8_t> master(master_key.begin(), master_key.end());
  return hmac_sha256(master, fmt::format("cognive/webhook/1/{}/{}", channel_id.text(), version));
}

std::int64_t seconds_of(Timestamp time) {
  return time.micros / 1'000'000;
}

}  // namespace

Sender::Sender(SenderOptions options) : options_(std::move(options)), threads_(options_.threads) {}

Sender::~Sender() {
  stop_ = true;
}

Async<Result<void>> Sender::send(Endpoint endpoint, Message message) const {
  Result<void> sent;
  co_await threads_.run(
      [&] { sent = endpoint.kind == ChannelKind::webhook ? post(endpoint, message) : mail(endpoint, message); });
  co_return sent;
}

std::string Sender::secret_of(const Uuid& channel_id, std::int64_t version) const {
  return "whsec_" + to_base64(key_of(options_.master_key, channel_id, version));
}

std::string Sender::signature_of(const Endpoint& endpoint, const Message& message, Timestamp time) const {
  const auto content = fmt::format("{}.{}.{}", message.id, seconds_of(time), message.body);
  const auto sign = [&](std::int64_t version) {
    return "v1," + to_base64(hmac_sha256(key_of(options_.master_key, endpoint.channel_id, version), content));
  };
  auto out = sign(endpoint.secret_version);
  const bool overlaps =
      endpoint.secret_rotated_at && time.micros < endpoint.secret_rotated_at->plus(rotation_overlap).micros;
  if (overlaps && endpoint.secret_version > 1) out += " " + sign(endpoint.secret_version - 1);
  return out;
}

std::string Sender::url_fault(const std::string& url) const {
  return client::webhook_fault(url, options_.private_networks);
}

Result<void> Sender::post(const Endpoint& endpoint, const Message& message) const {
  if (options_.master_key.empty())
    return fail(Code::unavailable, "COGNIVE_MASTER_KEY is not set where this was tried: it could not be signed.");
  const auto now = Timestamp::now();
  const auto status = client::post_webhook({.url = endpoint.target,
                                            .headers = {{"webhook-id", message.id},
                                                        {"webhook-timestamp", std::to_string(seconds_of(now))},
                                                        {"webhook-signature", signature_of(endpoint, message, now)}},
                                            .body = message.body},
                                           options_.private_networks, timeout, stop_);
  if (!status) return std::unexpected(status.error());
  if (*status >= 200 && *status < 300) return {};
  const bool redirects = *status >= 300 && *status < 400;
  return fail(Code::unavailable,
              fmt::format("The answer had status {}{}.", *status, redirects ? "; redirects are not followed" : ""));
}

Result<void> Sender::mail(const Endpoint& endpoint, const Message& message) const {
  if (!sends_mail()) return fail(Code::unavailable, "SMTP_URL is not set where this was tried.");
  return client::send_mail(options_.mail_server,
                           {.to = endpoint.target,
                            .subject = message.subject,
                            .text = message.text,
                            .message_id = message.id,
                            .date = message.created_at},
                           timeout, stop_);
}

}  // namespace cognive::alerts
