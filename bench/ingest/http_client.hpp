// A load generator's side of HTTP/1.1: many keep-alive connections of one thread over epoll, one request at a time on
// each, as little work per request as possible, because the generator shares its processors with what it measures.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cognive::bench {

using Clock = std::chrono::steady_clock;

struct Address {
  std::string host;  // an IPv4 address
  std::uint16_t port = 0;
};

struct Answer {
  int status = 0;
  std::string_view body;
  Clock::time_point begin;  // when the request was sent or, at a fixed rate, should have been
  Clock::time_point end;
};

// What is sent, and what becomes of the answers.
class Traffic {
 public:
  virtual ~Traffic() = default;
  // Appends one whole request for the connection; false when the connection has nothing more to send.
  virtual bool next(std::size_t connection, std::string& out) = 0;
  virtual void answered(std::size_t connection, const Answer& answer) = 0;
};

struct Pace {
  std::size_t connections = 1;
  // Nothing: closed loop, each connection sends its next request when it has its answer. Otherwise requests a second,
  // equally spaced, each on whichever connection is free; when none is, it waits, and its latency counts from the time
  // at which it was due.
  std::optional<double> rate = std::nullopt;
};

// Until `traffic` has nothing more to send and all answers are there. Throws std::runtime_error when a connection is
// lost, when no answer comes for a minute, and when a signal asked us to end.
void drive(const Address& address, const Pace& pace, Traffic& traffic);

}  // namespace cognive::bench
