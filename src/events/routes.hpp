// The event routes: one event of a kind, or a batch of all kinds.
#pragma once

#include "events/ingest.hpp"

namespace cognive::http {
class Router;
}

namespace cognive::events {

void add_routes(http::Router& router, Ingest& ingest);

}  // namespace cognive::events
