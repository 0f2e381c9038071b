#include "amqp/url.hpp"

#include <fmt/format.h>

#include <boost/url/parse.hpp>
#include <charconv>
#include <optional>

namespace cognive::amqp {
namespace {

std::unexpected<Error> wrong(std::string what) {
  return fail(Code::unprocessable, std::move(what));
}

std::optional<std::int64_t> number(std::string_view text) {
  std::int64_t out = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), out);
  if (text.empty() || read.ec != std::errc{} || read.ptr != text.data() + text.size()) return std::nullopt;
  return out;
}

}  // namespace

std::string Url::text() const {
  return fmt::format("{}://{}:{}/{}", is_encrypted ? "amqps" : "amqp", host, port, virtual_host);
}

Result<Url> parse_url(std::string_view text) {
  const auto parsed = boost::urls::parse_uri({text.data(), text.size()});
  if (!parsed) return wrong("is no URL");
  const auto& url = *parsed;
  // Of several brokers, or with a password that was not escaped: what looks like a host or a path then holds the
  // password.
  for (const std::string_view part : {std::string_view(url.encoded_host()), std::string_view(url.encoded_path())}) {
    if (part.find_first_of("@;,") != std::string_view::npos || part.find("://") != std::string_view::npos)
      return wrong("must be the URL of one broker; write / in a password as %2F and @ as %40");
  }
  Url out;
  const std::string scheme(url.scheme());
  if (scheme == "amqps") {
    out.is_encrypted = true;
    out.port = 5671;
  } else if (scheme != "amqp" && scheme != "pyamqp") {
    return wrong("must start with amqp:// or amqps://");
  }
  if (!url.encoded_host().empty()) out.host = url.host_address();
  if (url.has_port() && !url.port().empty()) {
    const auto port = number({url.port().data(), url.port().size()});
    if (!port || *port < 1 || *port > 65'535) return wrong("must name a port from 1 to 65535");
    out.port = static_cast<std::uint16_t>(*port);
  }
  // What stands where the port should be, and is none, is taken for a path.
  if (const std::string_view path = url.encoded_path(); !path.empty() && !path.starts_with('/'))
    return wrong("must name a port from 1 to 65535");
  if (url.has_userinfo()) {
    out.user = url.user();
    out.password = url.password();
  }
  std::string virtual_host(url.path());
  if (virtual_host.starts_with('/')) virtual_host.erase(0, 1);
  if (!virtual_host.empty()) out.virtual_host = std::move(virtual_host);
  for (const auto& parameter : url.params()) {
    const std::string name(parameter.key);
    const std::string value(parameter.value);
    if (name == "heartbeat") {
      const auto seconds = number(value);
      if (!seconds || *seconds < 1 || *seconds > 600) return wrong("must have a heartbeat of 1 to 600 seconds");
      out.heartbeat = std::chrono::seconds{*seconds};
    }
    if (name == "ssl_ca_certs" || name == "cacertfile") out.authority_file = value;
    if (name == "ssl_cert_reqs") out.verifies_peer = value != "none";
    if (name == "verify") out.verifies_peer = value != "verify_none";
  }
  return out;
}

}  // namespace cognive::amqp
