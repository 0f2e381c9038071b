// Where a request comes from when proxies stand in between.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/networks.hpp"

namespace cognive::http {

// `forwarded_for` is X-Forwarded-For, to which every proxy appends where it was asked from. What stands there counts
// only as far as proxies that are trusted have written it: read from the right, the first address that is none of
// theirs; everything to the left of it anybody may have written. Of version 6 the network that its holder chooses
// freely in.
std::string client_address(const InternetAddress& peer, std::string_view forwarded_for,
                           std::span<const Network> trusted_proxies);

}  // namespace cognive::http
