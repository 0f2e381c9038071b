#include "base/networks.hpp"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <memory>

#include "base/text.hpp"

namespace cognive {
namespace {

constexpr std::size_t version4_offset = 12;
constexpr int version4_prefix_bits = 96;

std::vector<Network> networks_of(std::initializer_list<std::string_view> texts) {
  std::vector<Network> out;
  for (const auto text : texts) out.push_back(Network::parse(text).value());
  return out;
}

bool is_in(const std::vector<Network>& networks, const InternetAddress& address) {
  return std::ranges::any_of(networks, [&](const Network& network) { return network.contains(address); });
}

// Of their last four bytes.
InternetAddress mapped(const InternetAddress& address) {
  InternetAddress out = InternetAddress::parse("0.0.0.0").value();
  std::copy(address.bytes.begin() + version4_offset, address.bytes.end(), out.bytes.begin() + version4_offset);
  return out;
}

}  // namespace

std::optional<InternetAddress> InternetAddress::parse(std::string_view text) {
  if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
  const std::string copy(text);
  if (copy.find('\0') != std::string::npos) return std::nullopt;
  InternetAddress out;
  if (inet_pton(AF_INET6, copy.c_str(), out.bytes.data()) == 1) return out;
  out.bytes = {};
  out.bytes[10] = out.bytes[11] = 0xFF;
  if (inet_pton(AF_INET, copy.c_str(), out.bytes.data() + version4_offset) == 1) return out;
  return std::nullopt;
}

std::optional<InternetAddress> InternetAddress::of(const sockaddr& socket) {
  InternetAddress out;
  if (socket.sa_family == AF_INET6) {
    sockaddr_in6 from{};
    std::memcpy(&from, &socket, sizeof from);
    std::memcpy(out.bytes.data(), &from.sin6_addr, out.bytes.size());
    return out;
  }
  if (socket.sa_family == AF_INET) {
    sockaddr_in from{};
    std::memcpy(&from, &socket, sizeof from);
    out.bytes[10] = out.bytes[11] = 0xFF;
    std::memcpy(out.bytes.data() + version4_offset, &from.sin_addr, sizeof from.sin_addr);
    return out;
  }
  return std::nullopt;
}

std::string InternetAddress::text() const {
  static const Network version4{.first = parse("0.0.0.0").value(), .prefix_bits = version4_prefix_bits};
  std::array<char, INET6_ADDRSTRLEN> out{};
  if (version4.contains(*this)) {
    inet_ntop(AF_INET, bytes.data() + version4_offset, out.data(), out.size());
  } else {
    inet_ntop(AF_INET6, bytes.data(), out.data(), out.size());
  }
  return out.data();
}

std::string InternetAddress::holder_text() const {
  const auto shown = text();
  if (shown.find('.') != std::string::npos) return shown;
  constexpr std::size_t holder_bytes = 8;
  Network holder{.first = *this, .prefix_bits = 64};
  std::fill(holder.first.bytes.begin() + holder_bytes, holder.first.bytes.end(), std::uint8_t{0});
  return holder.text();
}

std::optional<Network> Network::parse(std::string_view text) {
  const auto slash = text.find('/');
  const auto address = InternetAddress::parse(text.substr(0, slash));
  if (!address) return std::nullopt;
  Network out{.first = *address, .prefix_bits = 128};
  if (slash == std::string_view::npos) return out;
  const auto digits = text.substr(slash + 1);
  int bits = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
  if (error != std::errc{} || end != digits.data() + digits.size() || bits < 0) return std::nullopt;
  if (text.find(':') == std::string_view::npos) bits += version4_prefix_bits;
  if (bits > 128) return std::nullopt;
  out.prefix_bits = bits;
  for (int bit = bits; bit < 128; ++bit) {
    const auto byte = out.first.bytes[static_cast<std::size_t>(bit / 8)];
    if ((byte >> (7 - bit % 8) & 1) != 0) return std::nullopt;
  }
  return out;
}

bool Network::contains(const InternetAddress& address) const {
  const auto whole = static_cast<std::size_t>(prefix_bits / 8);
  if (!std::equal(first.bytes.begin(), first.bytes.begin() + static_cast<std::ptrdiff_t>(whole), address.bytes.begin()))
    return false;
  if (prefix_bits % 8 == 0) return true;
  const int shift = 8 - prefix_bits % 8;
  return first.bytes[whole] >> shift == address.bytes[whole] >> shift;
}

std::string Network::text() const {
  const auto address = first.text();
  const int bits = address.find(':') == std::string::npos ? prefix_bits - version4_prefix_bits : prefix_bits;
  return fmt::format("{}/{}", address, bits);
}

std::optional<std::vector<Network>> parse_networks(std::string_view text) {
  std::vector<Network> out;
  while (!text.empty()) {
    const auto end = text.find_first_of(", \t\n");
    const auto item = trim(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    if (item.empty()) continue;
    const auto network = Network::parse(item);
    if (!network) return std::nullopt;
    out.push_back(*network);
  }
  return out;
}

bool is_public(const InternetAddress& address) {
  static const auto version4 = networks_of({"0.0.0.0/0"}).front();
  // IPv4/IPv6 translation (RFC 6052): reaches what the address of version 4 in it reaches.
  static const auto translated = networks_of({"64:ff9b::/96"}).front();
  static const auto unicast = networks_of({"2000::/3"}).front();
  static const auto special =
      networks_of({"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
                   "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
                   "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
                   // What machines in Azure reach their host by.
                   "168.63.129.16",
                   // Tunnels in which another address hides, benchmarks, documentation.
                   "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"});
  if (translated.contains(address)) return is_public(mapped(address));
  if (!version4.contains(address) && !unicast.contains(address)) return false;
  return !is_in(special, address);
}

bool is_own(const InternetAddress& address) {
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return true;  // who cannot look refuses
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> kept(all, &freeifaddrs);
  for (const auto* one = all; one != nullptr; one = one->ifa_next) {
    const auto own = one->ifa_addr == nullptr ? std::nullopt : InternetAddress::of(*one->ifa_addr);
    if (own && own->bytes == address.bytes) return true;
  }
  return false;
}

}  // namespace cognive
