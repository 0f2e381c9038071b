#include "amqp/topology.hpp"

#include <chrono>

namespace cognive::amqp {
namespace {

constexpr std::string_view dead_letter_exchange = "dlx";

std::int64_t milliseconds_of(std::chrono::hours hours) {
  return std::chrono::milliseconds{hours}.count();
}

void add(Topology& out, std::string_view name) {
  const std::string queue(name);
  const auto dead_letters = "dlq." + queue;
  out.exchanges.push_back({.name = queue, .type = "direct"});
  out.queues.push_back({.name = queue,
                        .arguments = {{"x-message-ttl", milliseconds_of(std::chrono::hours{24})},
                                      {"x-dead-letter-exchange", dead_letter_exchange},
                                      {"x-dead-letter-routing-key", dead_letters}}});
  out.bindings.push_back({.queue = queue, .exchange = queue, .routing_key = queue});
  out.queues.push_back(
      {.name = dead_letters, .arguments = {{"x-message-ttl", milliseconds_of(std::chrono::hours{168})}}});
  // A queue that was there before may let its dead letters keep the routing key that they came with.
  for (const auto& key : {dead_letters, queue})
    out.bindings.push_back({.queue = dead_letters, .exchange = std::string(dead_letter_exchange), .routing_key = key});
}

}  // namespace

Topology topology() {
  Topology out;
  out.exchanges.push_back({.name = std::string(dead_letter_exchange), .type = "direct"});
  out.exchanges.push_back({.name = std::string(events_exchange), .type = "topic"});
  for (const auto queue : inbound_queues) add(out, queue);
  add(out, alerts_queue);
  return out;
}

}  // namespace cognive::amqp
