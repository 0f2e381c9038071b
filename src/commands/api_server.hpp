// The API of one process: I/O threads, each with its own connections, services and listener, and what runs beside them.
#pragma once

#include <memory>

#include "base/error.hpp"
#include "config/settings.hpp"
#include "observe/metrics.hpp"

namespace cognive::commands {

class ApiServer {
 public:
  // `settings` must have a master key.
  explicit ApiServer(Settings settings);
  ApiServer(const ApiServer&) = delete;
  ApiServer& operator=(const ApiServer&) = delete;
  ~ApiServer();

  // Listens; answers from then on. The port in use.
  Result<std::uint16_t> start();

  // Stops accepting, finishes what is in flight, flushes the group commits; at most as long as the settings allow.
  void stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The OpenAPI description of this binary.
std::string openapi_document(const Settings& settings);

}  // namespace cognive::commands
