// Sends one message to one channel, once: webhooks as the Standard Webhooks specification 1.0.0 signs them, e-mail by
// SMTP.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/time.hpp"
#include "base/uuid.hpp"
#include "client/mail.hpp"
#include "client/webhook.hpp"
#include "json/fields.hpp"
#include "keyring/root_key.hpp"
#include "runtime/blocking.hpp"

namespace cognive::alerts {

enum class ChannelKind { webhook, email };

constexpr auto enum_names(ChannelKind) {
  return std::array{json::name(ChannelKind::webhook, "webhook"), json::name(ChannelKind::email, "email")};
}

// Where to.
struct Endpoint {
  Uuid channel_id;
  ChannelKind kind = ChannelKind::webhook;
  std::string target;  // a URL or an address
  std::int64_t secret_version = 1;
  std::optional<Timestamp> secret_rotated_at;
};

// The same thing in both forms.
struct Message {
  std::string id;    // of the thing, the same however often it is sent
  std::string body;  // JSON, of a webhook
  std::string subject;
  std::string text;
  Timestamp created_at;
};

struct SenderOptions {
  keyring::RootKey root;                  // while it is not known, webhooks cannot be signed, and are not sent
  client::MailServer mail_server;         // without a URL no e-mail is sent
  std::vector<Network> private_networks;  // that webhooks may reach
  std::size_t threads = 2;
};

class Sender {
 public:
  // For one attempt, all of it.
  static constexpr std::chrono::milliseconds timeout{10'000};
  // After a rotation the secret before goes on signing for so long.
  static constexpr std::chrono::hours rotation_overlap{24};
  static constexpr std::size_t waiting_max = 64;

  explicit Sender(SenderOptions options);
  Sender(const Sender&) = delete;
  Sender& operator=(const Sender&) = delete;
  // What is under way ends within a second or two.
  ~Sender();

  // From any I/O thread. An error says why it was not accepted: no answer, one that is not 2xx, or too many that wait
  // already; in words for whoever made the channel. What has not begun by the deadline is not sent.
  Async<Result<void>> send(Endpoint endpoint, Message message, Deadline deadline) const;

  // What is under way ends within a second or two, and nothing begins any more.
  void stop() { stop_ = true; }
  // Waits for that. After stop, and before the threads end that send.
  void join() { threads_.join(); }

  // whsec_ and base64. Follows from the root key, so that nothing secret is stored. Throws Unavailable while that is
  // not known.
  [[nodiscard]] std::string secret_of(const Uuid& channel_id, std::int64_t version) const;
  // The value of webhook-signature at a time.
  [[nodiscard]] std::string signature_of(const Endpoint& endpoint, const Message& message, Timestamp time) const;

  [[nodiscard]] bool sends_mail() const { return !options_.mail_server.url.empty(); }
  // Why nothing will ever be posted to this URL; empty: nothing speaks against it.
  [[nodiscard]] std::string url_fault(const std::string& url) const;

 private:
  [[nodiscard]] Result<void> send_now(const Endpoint& endpoint, const Message& message, Deadline deadline) const;
  [[nodiscard]] Result<void> post(const Endpoint& endpoint, const Message& message,
                                  std::chrono::milliseconds patience) const;
  [[nodiscard]] Result<void> mail(const Endpoint& endpoint, const Message& message,
                                  std::chrono::milliseconds patience) const;

  SenderOptions options_;
  std::atomic<bool> stop_{false};
  mutable std::atomic<std::size_t> waiting_{0};
  mutable BlockingThreads threads_;
};

}  // namespace cognive::alerts
