// One connection to a RabbitMQ, kept by a thread of its own: librabbitmq blocks. Connects again by itself, and makes
// what the topology wants before each use. Publishing ends when the broker has confirmed; messages of queues are handed
// to their subscribers, and acknowledged when those say so.
//
// Publish and consume over different connections: a broker that runs short of memory stops reading from whoever
// publishes, and acknowledgements would wait as well.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "amqp/message.hpp"
#include "amqp/url.hpp"
#include "observe/metrics.hpp"
#include "runtime/async.hpp"

namespace cognive::amqp {

struct Subscription {
  std::string queue;
  std::uint16_t prefetch = 100;  // unacknowledged messages at a time, ≥ 1: the bound of what waits here
  // Called on the connection's executor, must not throw.
  std::function<void(Delivery)> handle;
};

struct ConnectionOptions {
  Url url;
  std::string name;  // that the broker shows to people
  std::chrono::milliseconds connect_timeout{5'000};
  std::size_t waiting_max = 10'000;                     // messages that wait to be sent or confirmed
  std::size_t body_bytes_max = std::size_t{16} << 20U;  // of a message from a queue; a larger one is a dead letter
  Topology topology;
  std::vector<Subscription> subscriptions;
};

// A message that had to reach a queue has reached none.
class NoQueue : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Connection {
 public:
  // `executor`: whose thread calls everything. `metrics` must outlive it.
  Connection(Executor executor, ConnectionOptions options, Metrics& metrics);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection();

  void start();

  // Ends when the broker has all of them: persistent ones on its disk. Throws Unavailable when it is not known to have
  // them by the deadline: it may have some. At once while it is away, or blocks whoever publishes. Throws NoQueue when
  // one was mandatory and in vain.
  Async<> publish(std::vector<Message> messages, Deadline deadline);
  // Without waiting, for what may be lost. False when it is: the broker is away, or too much waits.
  bool publish_if_possible(Message message);

  // Done with the message. Nothing happens when its connection is not there any more: it will be delivered again.
  void acknowledge(const Delivery& delivery);
  // To the dead letters of its queue, when it has any, or back into the queue.
  enum class Then { dead_letter, requeue };
  void reject(const Delivery& delivery, Then then);

  // Whether it can still be acknowledged. Otherwise the broker delivers it again, perhaps to somebody else.
  [[nodiscard]] bool is_current(const Delivery& delivery) const;

  // No more messages from queues; those that are under way can still be acknowledged.
  void unsubscribe();

  // Waits until acknowledgements are sent, and closes.
  Async<> stop(Deadline deadline);

  // Empty when the broker has answered within the last two heartbeats. Otherwise why not. Waits for a connection that
  // is being made until the deadline.
  Async<std::string> check(Deadline deadline);
  [[nodiscard]] bool is_connected() const;
  // Connected, and not blocked.
  [[nodiscard]] bool takes_messages() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace cognive::amqp
