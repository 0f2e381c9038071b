// One connection to a broker from its handshake to its end, on one thread: what librabbitmq is asked, and what its
// frames mean. Whatever fails throws std::runtime_error with a reason for people; then the session is over.
#pragma once

#include <amqp.h>

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "amqp/connection.hpp"

namespace cognive::amqp {

// Is told of what the broker says.
class Listener {
 public:
  Listener() = default;
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  virtual ~Listener() = default;

  // Of the subscription with this index.
  virtual void on_delivery(std::size_t subscription, Delivery delivery) = 0;
  // Publications up to and with this number (from 1), or only that one, are safe with the broker, or it has refused
  // them.
  virtual void on_confirm(std::uint64_t number, bool multiple, bool is_safe) = 0;
  // No queue has got the mandatory message with this correlation_id.
  virtual void on_return(std::string correlation_id, std::string reason) = 0;
  // Why the broker reads no more publications; nothing: it does again.
  virtual void on_blocked(std::optional<std::string> reason) = 0;
  virtual void on_probe_answered() = 0;
};

class Session {
 public:
  // Both must outlive it. Connects, signs in, and makes what the topology wants.
  Session(const ConnectionOptions& options, Listener& listener);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session();

  // To be polled for reading, when receive() has had all that there was.
  [[nodiscard]] int socket() const;
  // Handles every frame that is there, and sends heartbeats when they are due. To be called once a second at least.
  void receive();

  void subscribe();
  void unsubscribe();
  // The number of the publication.
  std::uint64_t publish(const Message& message);
  void acknowledge(std::uint16_t channel, std::uint64_t tag, bool multiple);
  void reject(std::uint16_t channel, std::uint64_t tag, bool requeue);
  // Asks for something small.
  void probe();
  // Says good-bye.
  void close();

 private:
  struct Content;

  void connect();
  void open_channel(amqp_channel_t channel);
  void declare(const Topology& topology);
  void declare(const Exchange& exchange);
  void declare(const Queue& queue);
  // Whether it is there; otherwise the channel is opened anew.
  bool was_found();
  void expect(const amqp_rpc_reply_t& reply, std::string_view what);
  void check(int status, std::string_view what);
  void handle(const amqp_frame_t& frame);
  void handle_method(amqp_channel_t channel, const amqp_method_t& method);
  void finish(amqp_channel_t channel);

  const ConnectionOptions& options_;
  Listener& listener_;
  amqp_connection_state_t connection_;
  std::uint64_t published_ = 0;
  std::map<amqp_channel_t, std::unique_ptr<Content>> contents_;  // that are arriving, one per channel at most
};

}  // namespace cognive::amqp
