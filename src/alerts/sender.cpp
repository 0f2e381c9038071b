#include "alerts/sender.hpp"

#include <fmt/format.h>

#include <memory>

#include "base/crypto.hpp"
#include "keyring/purposes.hpp"

namespace cognive::alerts {
namespace {

Digest key_of(const keyring::RootKey& root, const Uuid& channel_id, std::int64_t version) {
  return root.derive(fmt::format("{}/{}/{}", keyring::purpose::webhook_secrets, channel_id.text(), version));
}

std::int64_t seconds_of(Timestamp time) {
  return time.micros / 1'000'000;
}

}  // namespace

Sender::Sender(SenderOptions options) : options_(std::move(options)), threads_(options_.threads) {}

Sender::~Sender() {
  stop_ = true;
}

Async<Result<void>> Sender::send(Endpoint endpoint, Message message, Deadline deadline) const {
  if (stop_) co_return fail(Code::unavailable, "This process is stopping.");
  if (waiting_.fetch_add(1) >= waiting_max) {
    waiting_.fetch_sub(1);
    co_return fail(Code::unavailable, "Too many messages wait to be sent.");
  }
  // By value: whoever waits for it may be gone before it begins.
  const auto sent = std::make_shared<Result<void>>();
  co_await threads_.run([this, endpoint = std::move(endpoint), message = std::move(message), deadline, sent] {
    const auto leave = [](std::atomic<std::size_t>* waiting) { waiting->fetch_sub(1); };
    const std::unique_ptr<std::atomic<std::size_t>, decltype(leave)> place(&waiting_, leave);
    *sent = send_now(endpoint, message, deadline);
  });
  co_return *sent;
}

Result<void> Sender::send_now(const Endpoint& endpoint, const Message& message, Deadline deadline) const {
  const auto patience = std::min(timeout, deadline.remaining());
  if (patience.count() == 0) return fail(Code::unavailable, "Others had to be sent first, for too long.");
  return endpoint.kind == ChannelKind::webhook ? post(endpoint, message, patience) : mail(endpoint, message, patience);
}

std::string Sender::secret_of(const Uuid& channel_id, std::int64_t version) const {
  return "whsec_" + to_base64(key_of(options_.root, channel_id, version));
}

std::string Sender::signature_of(const Endpoint& endpoint, const Message& message, Timestamp time) const {
  const auto content = fmt::format("{}.{}.{}", message.id, seconds_of(time), message.body);
  const auto sign = [&](std::int64_t version) {
    return "v1," + to_base64(hmac_sha256(key_of(options_.root, endpoint.channel_id, version), content));
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

Result<void> Sender::post(const Endpoint& endpoint, const Message& message, std::chrono::milliseconds patience) const {
  if (!options_.root.is_known())
    return fail(Code::unavailable, "It could not be signed: the root key is not known where this was tried.");
  const auto now = Timestamp::now();
  const auto status = client::post_webhook({.url = endpoint.target,
                                            .headers = {{"webhook-id", message.id},
                                                        {"webhook-timestamp", std::to_string(seconds_of(now))},
                                                        {"webhook-signature", signature_of(endpoint, message, now)}},
                                            .body = message.body},
                                           options_.private_networks, patience, stop_);
  if (!status) return std::unexpected(status.error());
  if (*status >= 200 && *status < 300) return {};
  const bool redirects = *status >= 300 && *status < 400;
  return fail(Code::unavailable,
              fmt::format("The answer had status {}{}.", *status, redirects ? "; redirects are not followed" : ""));
}

Result<void> Sender::mail(const Endpoint& endpoint, const Message& message, std::chrono::milliseconds patience) const {
  if (!sends_mail()) return fail(Code::unavailable, "SMTP_URL is not set where this was tried.");
  return client::send_mail(options_.mail_server,
                           {.to = endpoint.target,
                            .subject = message.subject,
                            .text = message.text,
                            .message_id = message.id,
                            .date = message.created_at},
                           patience, stop_);
}

}  // namespace cognive::alerts
