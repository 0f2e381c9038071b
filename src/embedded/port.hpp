// TCP ports of 127.0.0.1.
#pragma once

#include <cstdint>

#include "base/error.hpp"

namespace cognive::embedded {

// Whether a server could listen on 127.0.0.1:`port` now. Somebody else may be faster.
bool port_is_free(std::uint16_t port);

// A free port between 20000 and 29999: below the range from which the kernel takes ports for outgoing connections, so
// that a server that must come back on its port does not find it taken by some client.
Result<std::uint16_t> free_port();

}  // namespace cognive::embedded
