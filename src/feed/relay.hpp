// Publishes the rows of the feed on the topic exchange `cognive.events`, and alerts also on `budget.alerts`. For the
// leader; two at once do no harm but to the order. Whoever listens may get a message twice, under the same message_id.
#pragma once

#include "amqp/connection.hpp"
#include "pg/cluster.hpp"

namespace cognive::feed {

class Relay {
 public:
  // All must outlive it. `connection`: null when there is no RabbitMQ; then the feed is off.
  Relay(pg::Cluster& database, amqp::Connection* connection, Metrics& metrics);

  // Publishes some of what waits; whether there may be more. Throws Unavailable while either of the two is away.
  // `term`: which time of leading it is; a new one turns the feed on or off.
  Async<bool> pass(std::int64_t term, Deadline deadline);

 private:
  struct Row;
  Async<> turn(Deadline deadline);
  // Rows that are so old that nobody waits for them any more.
  Async<> drop_old(Deadline deadline);
  Async<std::vector<amqp::Message>> messages_of(pg::Transaction& transaction, const Row& row);
  Async<> publish(std::vector<amqp::Message> messages, Deadline deadline);

  pg::Cluster& database_;
  amqp::Connection* connection_;
  Metrics& metrics_;
  std::int64_t term_ = -1;
  std::chrono::steady_clock::time_point dropped_at_;
};

}  // namespace cognive::feed
