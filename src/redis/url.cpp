#include "redis/url.hpp"

#include <fmt/format.h>

#include <boost/url/parse.hpp>
#include <charconv>

namespace cognive::redis {
namespace {

std::unexpected<Error> wrong(std::string what) {
  return fail(Code::unprocessable, std::move(what));
}

std::optional<std::int64_t> number(std::string_view text) {
  std::int64_t out = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), out);
  if (text.empty() || read.ec != std::errc{} || read.ptr != text.data() + text.size() || out < 0) return std::nullopt;
  return out;
}

}  // namespace

std::string Url::text() const {
  switch (transport) {
    case Transport::tcp:
      return fmt::format("redis://{}:{}/{}", host, port, database);
    case Transport::tls:
      return fmt::format("rediss://{}:{}/{}", host, port, database);
    case Transport::unix_socket:
      return fmt::format("unix://{}?db={}", path, database);
  }
  return {};
}

Result<Url> parse_url(std::string_view text) {
  const auto parsed = boost::urls::parse_uri({text.data(), text.size()});
  if (!parsed) return wrong("is no URL");
  const auto& url = *parsed;
  Url out;
  const std::string scheme(url.scheme());
  if (scheme == "redis") {
    out.transport = Url::Transport::tcp;
  } else if (scheme == "rediss") {
    out.transport = Url::Transport::tls;
  } else if (scheme == "unix" || scheme == "redis+socket") {
    out.transport = Url::Transport::unix_socket;
  } else {
    return wrong("must start with redis://, rediss:// or unix://");
  }
  out.user = url.user();
  out.password = url.password();
  std::string database;
  if (out.transport == Url::Transport::unix_socket) {
    out.path = url.path();
    if (out.path.empty()) return wrong("must name the path of a socket: unix:///run/redis.sock");
  } else {
    if (!url.encoded_host().empty()) out.host = url.host_address();
    if (url.has_port() && !url.port().empty()) out.port = std::string(url.port());
    database = url.path();
    if (database.starts_with('/')) database.erase(0, 1);
  }
  for (const auto& parameter : url.params()) {
    const std::string name(parameter.key);
    const std::string value(parameter.value);
    if (name == "db") database = value;
    if (name == "password") out.password = value;
    if (name == "username") out.user = value;
    if (name == "ssl_ca_certs") out.authority_file = value;
    if (name == "ssl_cert_reqs") out.verifies_peer = value != "none";
  }
  if (!database.empty()) {
    const auto index = number(database);
    if (!index) return wrong("must end with the number of a database, for instance /0");
    out.database = *index;
  }
  return out;
}

}  // namespace cognive::redis
