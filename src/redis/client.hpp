// One connection to a Redis, for all coroutines of one I/O thread: commands are sent as they come and answered in
// order. Connects when it is first needed, and again by itself.
#pragma once

#include <chrono>
#include <memory>

#include "observe/metrics.hpp"
#include "redis/protocol.hpp"
#include "redis/url.hpp"
#include "runtime/async.hpp"

namespace cognive::redis {

struct ClientOptions {
  Url url;
  std::chrono::milliseconds connect_timeout{5'000};  // until it is signed in
  std::chrono::milliseconds reply_timeout{5'000};    // then the connection is given up
  std::size_t waiting_max = 10'000;                  // commands that wait for their replies
};

class Client {
 public:
  // `executor`: of its thread.
  Client(Executor executor, ClientOptions options, Metrics& metrics);
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client();

  // The reply, which may be an error of the command. Throws Unavailable when there is none by the deadline: the command
  // may have been executed. While Redis is away, or answers others slower than that, at once.
  Async<Reply> execute(Command command, Deadline deadline);

  // Which connection it is that commands go over, counted from 1; 0: there was none yet.
  [[nodiscard]] std::uint64_t connection() const;

  // What waits fails.
  Async<> close(Deadline deadline);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace cognive::redis
