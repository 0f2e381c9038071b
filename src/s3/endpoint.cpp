#include "s3/endpoint.hpp"

#include "base/text.hpp"
#include "client/curl.hpp"

namespace cognive::s3 {

std::string Endpoint::text() const {
  return (is_encrypted ? "https://" : "http://") + host;
}

Result<Endpoint> parse_endpoint(std::string_view text, bool is_encrypted, std::string_view addressing) {
  const auto trimmed = trim(text);
  const bool has_scheme = trimmed.find("://") != std::string_view::npos;
  const auto whole = has_scheme ? std::string(trimmed) : (is_encrypted ? "https://" : "http://") + std::string(trimmed);
  auto url = client::parse_url(whole);
  if (!url) return fail(Code::unprocessable, "must be host:port or a URL");
  if (url->scheme != "http" && url->scheme != "https")
    return fail(Code::unprocessable, "must start with http:// or https://, or be host:port");
  if (!url->user.empty() || url->shown.size() < url->origin.size() || whole.find('@') != std::string::npos)
    return fail(Code::unprocessable, "must not hold credentials: STORAGE_ACCESS_KEY and STORAGE_SECRET_KEY do");
  auto origin = url->origin;
  if (origin.ends_with('/')) origin.pop_back();
  auto shown = url->shown;
  if (shown.ends_with('/')) shown.pop_back();
  if (shown != origin || whole.find_first_of("?#") != std::string::npos)
    return fail(Code::unprocessable, "must have neither path nor query: buckets stand directly below it");
  Endpoint out;
  out.is_encrypted = url->scheme == "https";
  out.host = origin.substr(origin.find("://") + 3);
  for (const auto* usual : {out.is_encrypted ? ":443" : ":80"}) {
    if (out.host.ends_with(usual)) out.host.resize(out.host.size() - std::string_view(usual).size());
  }
  const bool is_amazon = url->host.ends_with(".amazonaws.com") || url->host.ends_with(".amazonaws.com.cn");
  if (addressing == "host" || (addressing == "auto" && is_amazon)) out.addressing = Addressing::host;
  return out;
}

}  // namespace cognive::s3
