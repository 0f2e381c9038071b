// Whether something listens at a host and port.
#pragma once

#include <string>

#include "base/error.hpp"
#include "runtime/async.hpp"

namespace cognive::health {

struct Endpoint {
  std::string host;
  std::string port;
};

// Host and port of a URL or of host:port; `default_port` when it names none.
Endpoint endpoint_of(std::string_view url, std::string_view default_port);

// Connects and closes again. The error's detail says what failed.
Async<Result<void>> reach(Executor executor, Endpoint endpoint, Deadline deadline);

}  // namespace cognive::health
