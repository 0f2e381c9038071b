#pragma once

#include "http/router.hpp"
#include "stream/stream.hpp"

namespace cognive::stream {

// `gate`: who listens is asked again who they are, all the time.
void add_routes(http::Router& router, Hub& hub, http::Gate& gate);

}  // namespace cognive::stream
