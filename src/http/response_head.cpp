#include "http/response_head.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/beast/http/status.hpp>
#include <ctime>

namespace cognive::http {
namespace {

namespace bhttp = boost::beast::http;

std::string_view reason(int status) {
  const auto text = bhttp::obsolete_reason(static_cast<bhttp::status>(status));
  return {text.data(), text.size()};
}

// RFC 9110, section 5.6.7. One per second and thread is enough.
const std::string& http_date() {
  thread_local std::time_t formatted = 0;
  thread_local std::string text;
  const std::time_t now = std::time(nullptr);
  if (now != formatted) {
    std::tm utc{};
    gmtime_r(&now, &utc);
    std::array<char, 40> buffer{};
    const auto size = std::strftime(buffer.data(), buffer.size(), "%a, %d %b %Y %H:%M:%S GMT", &utc);
    text.assign(buffer.data(), size);
    formatted = now;
  }
  return text;
}

constexpr std::pair<std::string_view, std::string_view> safe_defaults[] = {
    {"Cache-Control", "no-store"},
    {"Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"},
    {"Referrer-Policy", "no-referrer"},
};

}  // namespace

std::string response_head(const Response& response, const Exchange& exchange) {
  std::string head;
  head.reserve(512);
  fmt::format_to(std::back_inserter(head), "HTTP/1.1 {} {}\r\nServer: cognive\r\nDate: {}\r\n", response.status,
                 reason(response.status), http_date());
  if (!response.content_type.empty()) {
    fmt::format_to(std::back_inserter(head), "Content-Type: {}\r\nX-Content-Type-Options: nosniff\r\n",
                   response.content_type);
  }
  // An answer is for who asked, and no page: nothing keeps, frames or runs it. Routes that differ say so.
  for (const auto& [name, value] : safe_defaults) {
    if (std::ranges::find(response.headers, name, &std::pair<std::string, std::string>::first) ==
        response.headers.end()) {
      fmt::format_to(std::back_inserter(head), "{}: {}\r\n", name, value);
    }
  }
  if (response.stream && !response.stream_length) {
    if (!exchange.http_1_0) head += "Transfer-Encoding: chunked\r\n";  // there the end of the connection is the end
  } else if (response.status != 204 && response.status != 304) {
    fmt::format_to(std::back_inserter(head), "Content-Length: {}\r\n",
                   response.stream ? *response.stream_length : response.body.size());
  }
  if (exchange.encrypted) head += "Strict-Transport-Security: max-age=31536000\r\n";
  fmt::format_to(std::back_inserter(head), "X-Request-Id: {}\r\n", exchange.id);
  for (const auto& [name, value] : response.headers)
    fmt::format_to(std::back_inserter(head), "{}: {}\r\n", name, value);
  if (!exchange.keep_alive) {
    head += "Connection: close\r\n";
  } else if (exchange.http_1_0) {
    head += "Connection: keep-alive\r\n";  // which is not the default there
  }
  head += "\r\n";
  return head;
}

}  // namespace cognive::http
