#include "http/target.hpp"

#include <algorithm>

#include <boost/url.hpp>

#include "json/cursor.hpp"

namespace cognive::http {
namespace {

// Absolute form: `http://host/path`. The authority is the Host that the client meant; the path is ours.
std::string_view origin_form(std::string_view target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!target.starts_with(scheme)) continue;
    target.remove_prefix(scheme.size());
    const auto path = target.find_first_of("/?");
    return path == std::string_view::npos ? std::string_view("/") : target.substr(path);
  }
  return target;
}

bool is_hex(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

// RFC 3986, section 3.3, without the percent sign.
bool is_path_character(char c) {
  constexpr std::string_view others = "-._~!$&'()*+,;=:@/";
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || others.find(c) != others.npos;
}

}  // namespace

Result<void> read_target(std::string_view target, Request& out) {
  out.instance = instance_of(target);
  if (target == "*" && out.method == "OPTIONS") return {};  // about the server as a whole: no path
  const auto origin = origin_form(target);
  const auto parsed = boost::urls::parse_origin_form({origin.data(), origin.size()});
  if (!parsed) return fail(Code::malformed, "The request target is not a path with an optional query.");
  std::string_view path(parsed->encoded_path().data(), parsed->encoded_path().size());
  path.remove_prefix(1);
  for (;;) {
    const auto end = path.find('/');
    const auto segment = path.substr(0, end);
    const boost::urls::decode_view view({segment.data(), segment.size()});
    std::string decoded(view.begin(), view.end());
    // Bytes that are no text name nothing here; as they were sent they can be shown.
    out.segments.push_back(json::valid_utf8(decoded) ? std::move(decoded) : std::string(segment));
    if (end == std::string_view::npos) break;
    path.remove_prefix(end + 1);
  }
  for (const auto parameter : parsed->params()) {
    std::string name(parameter.key.data(), parameter.key.size());
    std::string value(parameter.value.data(), parameter.value.size());
    if (name.empty() && value.empty()) continue;  // `?` and `&&` say nothing
    if (!json::valid_utf8(name) || !json::valid_utf8(value)) {
      return fail(Code::malformed, "The query is not UTF-8.");
    }
    out.query.emplace_back(std::move(name), std::move(value));
  }
  return {};
}

bool is_visible(std::string_view text) {
  return std::ranges::all_of(text, [](char letter) { return letter > ' ' && letter < 127; });
}

std::string instance_of(std::string_view target) {
  const auto origin = origin_form(target);
  const auto path = origin.substr(0, origin.find('?'));
  std::string out;
  for (std::size_t i = 0; i < path.size(); ++i) {
    const char c = path[i];
    const bool escape = c == '%' && i + 2 < path.size() && is_hex(path[i + 1]) && is_hex(path[i + 2]);
    if (escape || is_path_character(c)) {
      out.push_back(c);
    } else {
      fmt::format_to(std::back_inserter(out), "%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out.empty() ? "/" : out;
}

}  // namespace cognive::http
