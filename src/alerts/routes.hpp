// The routes of alerts and of the channels that they are sent to.
#pragma once

#include "alerts/alerts.hpp"
#include "alerts/channels.hpp"

namespace cognive::http {
class Router;
}

namespace cognive::alerts {

void add_routes(http::Router& router, Alerts& alerts);
void add_routes(http::Router& router, Channels& channels);

}  // namespace cognive::alerts
