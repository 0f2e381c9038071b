#include "config/masked.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/text.hpp"

namespace cognive {
namespace {

// Of a parameter of a URL. A name with an escape may be any.
bool may_name_secret(std::string_view name) {
  const auto said = lower(name);
  return said.contains('%') || std::ranges::any_of(std::array<std::string_view, 4>{"pass", "secret", "token", "key"},
                                                   [&](std::string_view word) { return said.contains(word); });
}

}  // namespace

std::string masked_url(std::string_view url) {
  if (url.empty()) return {};
  const auto scheme = url.find("://");
  if (scheme == std::string_view::npos) return "***";
  const auto authority = scheme + 3;
  const auto path = url.find_first_of("/?#", authority);
  std::string out(url.substr(0, authority));
  std::string_view rest = url.substr(authority);
  // The last @ before the path: passwords may contain one unescaped.
  const auto at = url.substr(0, path).rfind('@');
  if (at != std::string_view::npos && at >= authority) {
    const auto user_info = url.substr(authority, at - authority);
    const auto colon = user_info.find(':');
    out += user_info.substr(0, colon);
    if (colon != std::string_view::npos) out += ":***";
    rest = url.substr(at);
  }
  const auto query = rest.find('?');
  // Another @ in the path: several URLs in one, or a password with a slash in it.
  if (rest.substr(0, query).find('@', 1) != std::string_view::npos)
    return std::string(url.substr(0, authority)) + "***";
  out += rest.substr(0, query);
  if (query != std::string_view::npos) {
    // libpq also takes passwords as parameters: password, sslpassword.
    std::string_view parameters = rest.substr(query + 1);
    char separator = '?';
    while (!parameters.empty()) {
      const auto end = parameters.find('&');
      const auto parameter = parameters.substr(0, end);
      out += separator;
      const auto name = parameter.substr(0, parameter.find('='));
      if (may_name_secret(name)) {
        fmt::format_to(std::back_inserter(out), "{}=***", name);
      } else {
        out += parameter;
      }
      separator = '&';
      parameters = end == std::string_view::npos ? std::string_view{} : parameters.substr(end + 1);
    }
  }
  return out;
}

std::string masked_endpoint(std::string_view text) {
  const bool is_host_and_port = text.find_first_of("@/?") == std::string_view::npos;
  return is_host_and_port ? std::string(text) : masked_url(text);
}

}  // namespace cognive
