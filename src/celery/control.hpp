// What monitors ask of a worker over Celery's remote control (`celery inspect …`, Flower), and what it answers.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "amqp/message.hpp"
#include "base/error.hpp"
#include "base/time.hpp"

namespace cognive::celery {

struct ActiveTask {
  std::string id;
  std::string name;
  std::string args;
  std::string kwargs;
  Timestamp begun_at;
};

// What a worker knows of itself.
struct Inspection {
  std::string node;
  std::vector<std::string> names;   // of its tasks
  std::vector<std::string> queues;  // that it takes them from
  std::map<std::string, ActiveTask> active;
  std::map<std::string, std::int64_t> processed;  // by name
  std::set<std::string> revoked;                  // ids
  std::int64_t concurrency = 0;
  std::int64_t prefetch = 0;
  std::int64_t clock = 0;
  std::chrono::steady_clock::time_point started_at;
  std::string broker_host;
  std::int64_t broker_port = 0;
  std::string broker_user;
  std::string virtual_host;
  bool sends_events = false;
};

struct ControlRequest {
  std::string method;
  std::vector<std::string> ids;  // that it is about
  bool is_for_others = false;    // it names its destinations, and this is none of them
  std::string ticket;
  std::string reply_exchange;
  std::string reply_key;
  bool wants_reply = false;
};

Result<ControlRequest> read_control(std::string body, std::string_view node);

// Of what all workers of Celery listen to: fanout, not durable.
inline constexpr std::string_view control_exchange = "celery.pidbox";
amqp::Exchange control_exchange_declaration();

// For every worker.
amqp::Message revocation(std::string_view id);

// JSON. Methods that change something have done so before.
std::string answer(const ControlRequest& request, const Inspection& worker);

}  // namespace cognive::celery
