// HTTP requests to addresses that users of the product have named: they may be anybody's, so nothing of this machine or
// its networks is reached by them, and nothing is followed.
#pragma once

#include <atomic>
#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "base/networks.hpp"

namespace cognive::client {

struct WebhookRequest {
  std::string url;
  std::vector<std::pair<std::string, std::string>> headers;  // beside Content-Type: application/json
  std::string body;
};

// What is wrong with such a URL before anything is sent; empty: nothing. `allowed`: networks that may be reached though
// they are private.
std::string webhook_fault(const std::string& url, const std::vector<Network>& allowed);

// Scheme, host and port: what may be shown of a URL whose path and query may be secret. Empty when it is none.
std::string webhook_origin(const std::string& url);

// Posts once, over a connection of its own, to an address that is public or allowed; checked for each address that the
// name has at the moment of connecting, so that no answer of a name server comes in between. Proxies of the environment
// are not used: what they reach cannot be checked. Whatever status the server answers is a result, also a redirect.
// Errors:
//   forbidden    the name has only addresses that may not be reached
//   unavailable  no answer within `timeout`, or `stop` was set
//   malformed    no URL to send to
// Messages have its scheme, host and port alone.
Result<int> post_webhook(const WebhookRequest& request, const std::vector<Network>& allowed,
                         std::chrono::milliseconds timeout, const std::atomic<bool>& stop);

}  // namespace cognive::client
