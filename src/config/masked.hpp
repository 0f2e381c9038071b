// What people may see of where our servers are: no password.
#pragma once

#include <string>
#include <string_view>

namespace cognive {

// The URL with its password replaced by ***; what is not a URL comes back as ***.
std::string masked_url(std::string_view url);

// The same, but host:port stays as it is.
std::string masked_endpoint(std::string_view text);

}  // namespace cognive
