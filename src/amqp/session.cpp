#include "amqp/session.hpp"

#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#include <fmt/format.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <stdexcept>

#include "amqp/wire.hpp"
#include "observe/log.hpp"

namespace cognive::amqp {
namespace {

constexpr amqp_channel_t asking_channel = 1;  // declares and probes
constexpr amqp_channel_t publishing_channel = 2;
constexpr amqp_channel_t first_subscription_channel = 3;

constexpr int frame_bytes_max = 131'072;

timeval timeval_of(std::chrono::milliseconds duration) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(duration);
  return {.tv_sec = static_cast<time_t>(seconds.count()),
          .tv_usec = static_cast<suseconds_t>(std::chrono::microseconds{duration - seconds}.count())};
}

void expect_peer(SSL_CTX* context, const std::string& host) {
  auto* const wanted = SSL_CTX_get0_param(context);
  if (X509_VERIFY_PARAM_set1_ip_asc(wanted, host.c_str()) == 1) return;
  if (X509_VERIFY_PARAM_set1_host(wanted, host.c_str(), host.size()) != 1) throw std::bad_alloc();
}

// What the broker says when it closes a channel or the connection.
std::string reason_of(const amqp_method_t& method) {
  if (method.id == AMQP_CONNECTION_CLOSE_METHOD) {
    const auto& close = *static_cast<const amqp_connection_close_t*>(method.decoded);
    return std::string(view_of(close.reply_text));
  }
  if (method.id == AMQP_CHANNEL_CLOSE_METHOD) {
    const auto& close = *static_cast<const amqp_channel_close_t*>(method.decoded);
    return std::string(view_of(close.reply_text));
  }
  return fmt::format("it answers {:#x}", method.id);
}

std::string reason_of(const amqp_rpc_reply_t& reply) {
  switch (reply.reply_type) {
    case AMQP_RESPONSE_LIBRARY_EXCEPTION:
      return amqp_error_string2(reply.library_error);
    case AMQP_RESPONSE_SERVER_EXCEPTION:
      return reason_of(reply.reply);
    case AMQP_RESPONSE_NONE:
    case AMQP_RESPONSE_NORMAL:
      break;
  }
  return "it does not answer";
}

}  // namespace

// A message whose header and body are still to come.
struct Session::Content {
  Delivery delivery;
  std::string returned_for;  // a reason: it is no delivery but a message of ours that comes back
  std::uint64_t left = 0;
  bool has_header = false;
  bool is_too_large = false;
};

Session::Session(const ConnectionOptions& options, Listener& listener)
    : options_(options), listener_(listener), connection_(amqp_new_connection()) {
  if (connection_ == nullptr) throw std::bad_alloc();
  try {
    connect();
    open_channel(asking_channel);
    declare(options_.topology);
    open_channel(publishing_channel);
    amqp_confirm_select(connection_, publishing_channel);
    expect(amqp_get_rpc_reply(connection_), "confirms of publications");
  } catch (...) {
    amqp_destroy_connection(connection_);
    throw;
  }
}

Session::~Session() {
  amqp_destroy_connection(connection_);
}

int Session::socket() const {
  return amqp_get_sockfd(connection_);
}

void Session::connect() {
  const auto& url = options_.url;
  const auto timeout = timeval_of(options_.connect_timeout);
  amqp_socket_t* socket = nullptr;
  if (url.is_encrypted) {
    socket = amqp_ssl_socket_new(connection_);
    if (socket == nullptr) throw std::runtime_error("no TLS");
    amqp_ssl_socket_set_verify_peer(socket, url.verifies_peer ? 1 : 0);
    // Its own check knows names only. OpenSSL checks addresses, too.
    amqp_ssl_socket_set_verify_hostname(socket, 0);
    auto* const context = static_cast<SSL_CTX*>(amqp_ssl_socket_get_context(socket));
    if (url.verifies_peer) expect_peer(context, url.host);
    amqp_ssl_socket_set_ssl_versions(socket, AMQP_TLSv1_2, AMQP_TLSvLATEST);
    if (!url.authority_file.empty()) {
      if (amqp_ssl_socket_set_cacert(socket, url.authority_file.c_str()) != AMQP_STATUS_OK)
        throw std::runtime_error("the file of ssl_ca_certs cannot be read: " + url.authority_file);
    } else {
      SSL_CTX_set_default_verify_paths(context);
    }
  } else {
    socket = amqp_tcp_socket_new(connection_);
    if (socket == nullptr) throw std::bad_alloc();
  }
  amqp_set_handshake_timeout(connection_, &timeout);
  amqp_set_rpc_timeout(connection_, &timeout);
  const int opened = amqp_socket_open_noblock(socket, url.host.c_str(), url.port, &timeout);
  if (opened != AMQP_STATUS_OK) throw std::runtime_error(amqp_error_string2(opened));
  Pool pool;
  const Table properties{
      {"connection_name", Value(options_.name)},
      {"capabilities",
       Value(Table{{"connection.blocked", true}, {"consumer_cancel_notify", true}, {"publisher_confirms", true}})}};
  const auto table = pool.table(properties);
  const auto reply = amqp_login_with_properties(connection_, url.virtual_host.c_str(), 0, frame_bytes_max,
                                                static_cast<int>(url.heartbeat.count()), &table, AMQP_SASL_METHOD_PLAIN,
                                                url.user.c_str(), url.password.c_str());
  // A broker that does not like the password closes without a word to clients that do not say they understand more.
  if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION &&
      (reply.library_error == AMQP_STATUS_CONNECTION_CLOSED || reply.library_error == AMQP_STATUS_SOCKET_ERROR))
    throw std::runtime_error("it ended the connection during the login: user, password or virtual host may be wrong");
  expect(reply, "the login");
}

void Session::open_channel(amqp_channel_t channel) {
  amqp_channel_open(connection_, channel);
  expect(amqp_get_rpc_reply(connection_), "a channel");
}

void Session::declare(const Topology& topology) {
  for (const auto& exchange : topology.exchanges) declare(exchange);
  for (const auto& queue : topology.queues) declare(queue);
  for (const auto& binding : topology.bindings) {
    amqp_queue_bind(connection_, asking_channel, bytes_of(binding.queue), bytes_of(binding.exchange),
                    bytes_of(binding.routing_key), amqp_empty_table);
    expect(amqp_get_rpc_reply(connection_), fmt::format("queue {} for exchange {}", binding.queue, binding.exchange));
  }
  amqp_maybe_release_buffers(connection_);
}

bool Session::was_found() {
  const auto reply = amqp_get_rpc_reply(connection_);
  if (reply.reply_type == AMQP_RESPONSE_NORMAL) return true;
  if (reply.reply_type != AMQP_RESPONSE_SERVER_EXCEPTION || reply.reply.id != AMQP_CHANNEL_CLOSE_METHOD)
    throw std::runtime_error(reason_of(reply));
  const auto& close = *static_cast<const amqp_channel_close_t*>(reply.reply.decoded);
  if (close.reply_code != AMQP_NOT_FOUND) throw std::runtime_error(reason_of(reply));
  amqp_channel_close_ok_t ok{};
  check(amqp_send_method(connection_, asking_channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok), "a channel");
  open_channel(asking_channel);
  return false;
}

void Session::declare(const Exchange& exchange) {
  const auto declare_it = [&](bool passively) {
    amqp_exchange_declare(connection_, asking_channel, bytes_of(exchange.name), bytes_of(exchange.type),
                          passively ? 1 : 0, exchange.is_durable ? 1 : 0, 0, 0, amqp_empty_table);
  };
  declare_it(true);
  if (was_found()) return;
  declare_it(false);
  expect(amqp_get_rpc_reply(connection_), fmt::format("exchange {}", exchange.name));
}

void Session::declare(const Queue& queue) {
  Pool pool;
  const auto declare_it = [&](bool passively) {
    amqp_queue_declare(connection_, asking_channel, bytes_of(queue.name), passively ? 1 : 0, queue.is_durable ? 1 : 0,
                       0, queue.is_auto_delete ? 1 : 0, pool.table(queue.arguments));
  };
  declare_it(true);
  if (was_found()) return;
  declare_it(false);
  expect(amqp_get_rpc_reply(connection_), fmt::format("queue {}", queue.name));
}

void Session::subscribe() {
  for (std::size_t i = 0; i < options_.subscriptions.size(); ++i) {
    const auto& one = options_.subscriptions[i];
    const auto channel = static_cast<amqp_channel_t>(first_subscription_channel + i);
    open_channel(channel);
    amqp_basic_qos(connection_, channel, 0, one.prefetch, 0);
    expect(amqp_get_rpc_reply(connection_), "a bound on messages");
    amqp_basic_consume(connection_, channel, bytes_of(one.queue), bytes_of("cognive"), 0, 0, 0, amqp_empty_table);
    expect(amqp_get_rpc_reply(connection_), fmt::format("messages of queue {}", one.queue));
  }
}

void Session::unsubscribe() {
  for (std::size_t i = 0; i < options_.subscriptions.size(); ++i) {
    amqp_basic_cancel_t cancel{.consumer_tag = bytes_of("cognive"), .nowait = 1};
    check(amqp_send_method(connection_, static_cast<amqp_channel_t>(first_subscription_channel + i),
                           AMQP_BASIC_CANCEL_METHOD, &cancel),
          "the end of a subscription");
  }
}

std::uint64_t Session::publish(const Message& message) {
  Pool pool;
  const auto properties = pool.properties(message.properties);
  check(amqp_basic_publish(connection_, publishing_channel, bytes_of(message.exchange), bytes_of(message.routing_key),
                           message.is_mandatory ? 1 : 0, 0, &properties, bytes_of(message.body)),
        "a message");
  return ++published_;
}

void Session::acknowledge(std::uint16_t channel, std::uint64_t tag, bool multiple) {
  check(amqp_basic_ack(connection_, channel, tag, multiple ? 1 : 0), "an acknowledgement");
}

void Session::reject(std::uint16_t channel, std::uint64_t tag, bool requeue) {
  check(amqp_basic_reject(connection_, channel, tag, requeue ? 1 : 0), "a rejection");
}

void Session::probe() {
  amqp_exchange_declare_t ask{};
  ask.exchange = bytes_of("amq.topic");
  ask.type = bytes_of("topic");
  ask.passive = 1;
  check(amqp_send_method(connection_, asking_channel, AMQP_EXCHANGE_DECLARE_METHOD, &ask), "a question");
}

void Session::close() {
  amqp_connection_close(connection_, AMQP_REPLY_SUCCESS);
}

void Session::expect(const amqp_rpc_reply_t& reply, std::string_view what) {
  if (reply.reply_type != AMQP_RESPONSE_NORMAL) throw std::runtime_error(fmt::format("{}: {}", what, reason_of(reply)));
}

void Session::check(int status, std::string_view what) {
  if (status != AMQP_STATUS_OK) throw std::runtime_error(fmt::format("{}: {}", what, amqp_error_string2(status)));
}

void Session::receive() {
  for (;;) {
    amqp_frame_t frame;
    const timeval at_once{};
    const int status = amqp_simple_wait_frame_noblock(connection_, &frame, &at_once);
    if (status == AMQP_STATUS_TIMEOUT) return;
    if (status == AMQP_STATUS_HEARTBEAT_TIMEOUT) throw std::runtime_error("it was not heard of for two heartbeats");
    if (status != AMQP_STATUS_OK) throw std::runtime_error(amqp_error_string2(status));
    handle(frame);
    // Everything has been copied.
    amqp_maybe_release_buffers(connection_);
  }
}

void Session::handle(const amqp_frame_t& frame) {
  switch (frame.frame_type) {
    case AMQP_FRAME_METHOD:
      handle_method(frame.channel, frame.payload.method);
      break;
    case AMQP_FRAME_HEADER: {
      const auto found = contents_.find(frame.channel);
      if (found == contents_.end() || frame.payload.properties.class_id != AMQP_BASIC_CLASS)
        throw std::runtime_error("it sends the header of no message");
      auto& content = *found->second;
      content.delivery.properties =
          properties_of(*static_cast<const amqp_basic_properties_t*>(frame.payload.properties.decoded));
      content.has_header = true;
      content.left = frame.payload.properties.body_size;
      content.is_too_large = content.left > options_.body_bytes_max;
      if (!content.is_too_large) content.delivery.body.reserve(content.left);
      if (content.left == 0) finish(frame.channel);
      break;
    }
    case AMQP_FRAME_BODY: {
      const auto found = contents_.find(frame.channel);
      const auto piece = view_of(frame.payload.body_fragment);
      if (found == contents_.end() || !found->second->has_header || piece.size() > found->second->left)
        throw std::runtime_error("it sends the body of no message");
      auto& content = *found->second;
      content.left -= piece.size();
      if (!content.is_too_large) content.delivery.body.append(piece);
      if (content.left == 0) finish(frame.channel);
      break;
    }
    default:
      break;
  }
}

void Session::finish(amqp_channel_t channel) {
  const auto content = std::move(contents_.extract(channel).mapped());
  auto& delivery = content->delivery;
  if (!content->returned_for.empty()) {
    listener_.on_return(delivery.properties.correlation_id, std::move(content->returned_for));
    return;
  }
  const auto index = static_cast<std::size_t>(channel - first_subscription_channel);
  if (content->is_too_large) {
    log(Level::warning, "a message is too large and goes to the dead letters",
        {{"queue", delivery.queue}, {"bytes_max", options_.body_bytes_max}});
    reject(channel, delivery.tag, false);
    return;
  }
  listener_.on_delivery(index, std::move(delivery));
}

void Session::handle_method(amqp_channel_t channel, const amqp_method_t& method) {
  switch (method.id) {
    case AMQP_BASIC_DELIVER_METHOD: {
      const auto& deliver = *static_cast<const amqp_basic_deliver_t*>(method.decoded);
      if (channel < first_subscription_channel || channel >= first_subscription_channel + options_.subscriptions.size())
        throw std::runtime_error("it delivers what nobody has asked for");
      auto content = std::make_unique<Content>();
      content->delivery.queue = options_.subscriptions[channel - first_subscription_channel].queue;
      content->delivery.exchange = view_of(deliver.exchange);
      content->delivery.routing_key = view_of(deliver.routing_key);
      content->delivery.is_redelivered = deliver.redelivered != 0;
      content->delivery.channel = channel;
      content->delivery.tag = deliver.delivery_tag;
      contents_[channel] = std::move(content);
      break;
    }
    case AMQP_BASIC_RETURN_METHOD: {
      const auto& returned = *static_cast<const amqp_basic_return_t*>(method.decoded);
      auto content = std::make_unique<Content>();
      content->returned_for = fmt::format("{} ({})", view_of(returned.reply_text), view_of(returned.routing_key));
      contents_[channel] = std::move(content);
      break;
    }
    case AMQP_BASIC_ACK_METHOD: {
      const auto& ack = *static_cast<const amqp_basic_ack_t*>(method.decoded);
      listener_.on_confirm(ack.delivery_tag, ack.multiple != 0, true);
      break;
    }
    case AMQP_BASIC_NACK_METHOD: {
      const auto& nack = *static_cast<const amqp_basic_nack_t*>(method.decoded);
      listener_.on_confirm(nack.delivery_tag, nack.multiple != 0, false);
      break;
    }
    case AMQP_EXCHANGE_DECLARE_OK_METHOD:
      listener_.on_probe_answered();
      break;
    case AMQP_CONNECTION_BLOCKED_METHOD: {
      const auto& blocked = *static_cast<const amqp_connection_blocked_t*>(method.decoded);
      listener_.on_blocked(std::string(view_of(blocked.reason)));
      break;
    }
    case AMQP_CONNECTION_UNBLOCKED_METHOD:
      listener_.on_blocked(std::nullopt);
      break;
    case AMQP_BASIC_CANCEL_METHOD:
      throw std::runtime_error("a queue is gone");
    case AMQP_CHANNEL_CLOSE_METHOD:
    case AMQP_CONNECTION_CLOSE_METHOD:
      throw std::runtime_error(reason_of(method));
    default:
      break;
  }
}

}  // namespace cognive::amqp
