// Internet addresses, the networks that they belong to, and which of them the world at large can have.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct sockaddr;

namespace cognive {

// Of both versions: those of version 4 as IPv6 maps them (RFC 4291 section 2.5.5.2), ::ffff:0:0/96.
struct InternetAddress {
  std::array<std::uint8_t, 16> bytes{};

  // 192.0.2.1, 2001:db8::1 or [2001:db8::1]. Nothing when it is neither.
  static std::optional<InternetAddress> parse(std::string_view text);
  // Nothing when the socket is of another family.
  static std::optional<InternetAddress> of(const sockaddr& socket);

  [[nodiscard]] std::string text() const;
  // Of whoever has it: version 4 itself, version 6 its /64, in which one customer chooses freely.
  [[nodiscard]] std::string holder_text() const;
};

struct Network {
  InternetAddress first;
  int prefix_bits = 128;  // of the sixteen bytes

  // 10.0.0.0/8, fd00::/8, or one address. Nothing when it is none of them, or names bits behind its prefix.
  static std::optional<Network> parse(std::string_view text);

  [[nodiscard]] bool contains(const InternetAddress& address) const;
  [[nodiscard]] std::string text() const;
};

// Separated by commas or blanks; nothing when one of them is no network.
std::optional<std::vector<Network>> parse_networks(std::string_view text);

// Whether the address may be anybody's in the internet: not of a host itself, its link, a private network, or any other
// special purpose (the IANA registries of RFC 6890).
bool is_public(const InternetAddress& address);

// Whether an interface of this machine has it now, or might, when that cannot be found out.
bool is_own(const InternetAddress& address);

}  // namespace cognive
