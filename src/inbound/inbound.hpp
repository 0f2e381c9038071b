// Events that agents publish on RabbitMQ: each message is answered as if it had come by HTTP, so that identity, limits,
// idempotency and policy are the same, and is acknowledged after the commit. What can never succeed goes to the dead
// letters of its queue; what fails for no reason of its own is tried again, three times; while the database is away, or
// its sender is over a limit, it waits.
#pragma once

#include <memory>

#include "amqp/connection.hpp"
#include "celery/intake.hpp"
#include "http/router.hpp"

namespace cognive::inbound {

struct InboundOptions {
  amqp::Url url;
  std::uint16_t prefetch = 200;                         // messages of each queue at a time
  std::size_t body_bytes_max = std::size_t{16} << 20U;  // of a message, packed or not
  std::chrono::milliseconds answer_timeout{30'000};
  // Takes messages with a header `task`, which are for workers; must outlive it.
  celery::Intake& tasks;
};

class Inbound {
 public:
  // `router` and `metrics` must outlive it. Lives on `executor`'s thread, as the router does.
  Inbound(Executor executor, InboundOptions options, const http::Router& router, Metrics& metrics);
  Inbound(const Inbound&) = delete;
  Inbound& operator=(const Inbound&) = delete;
  ~Inbound();

  void start();
  // Takes no more, and finishes what it has until shortly before the deadline; the broker gives the rest to others.
  Async<> stop(Deadline deadline);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace cognive::inbound
