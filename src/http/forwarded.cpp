#include "http/forwarded.hpp"

#include <algorithm>

#include "base/text.hpp"

namespace cognive::http {

namespace {

// 192.0.2.1:443 and [2001:db8::1]:443, as some proxies write it.
std::string_view without_port(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return text;
  const bool is_version6 = text.starts_with('[');
  const bool has_port = is_version6 ? text[colon - 1] == ']' : text.find(':') == colon;
  return has_port ? text.substr(0, colon) : text;
}

}  // namespace

std::string client_address(const InternetAddress& peer, std::string_view forwarded_for,
                           std::span<const Network> trusted_proxies) {
  const auto is_trusted = [&](const InternetAddress& address) {
    return std::ranges::any_of(trusted_proxies, [&](const Network& network) { return network.contains(address); });
  };
  auto client = peer;
  while (!forwarded_for.empty() && is_trusted(client)) {
    const auto comma = forwarded_for.rfind(',');
    const auto last = comma == std::string_view::npos ? forwarded_for : forwarded_for.substr(comma + 1);
    const auto address = InternetAddress::parse(without_port(trim(last)));
    if (!address) break;
    client = *address;
    forwarded_for = comma == std::string_view::npos ? std::string_view{} : forwarded_for.substr(0, comma);
  }
  return client.holder_text();
}

}  // namespace cognive::http
