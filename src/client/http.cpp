#include "client/http.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "client/curl.hpp"

namespace cognive::client {
namespace {

bool fits_in_header(std::string_view key) {
  return std::ranges::all_of(key, [](char c) { return c > ' ' && c < '\x7F'; });
}

struct Body {
  std::string text;
  bool too_large = false;
};

std::size_t receive(char* data, std::size_t one, std::size_t count, void* target) {
  auto& body = *static_cast<Body*>(target);
  if (body.text.size() + one * count > HttpClient::response_bytes_max) {
    body.too_large = true;
    return 0;
  }
  body.text.append(data, one * count);
  return one * count;
}

std::unexpected<Error> failure(CURLcode code, std::string_view details, const UrlParts& address,
                               std::chrono::milliseconds deadline) {
  switch (code) {
    // These do not pass by waiting.
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
      return fail(Code::unauthenticated, fmt::format("The certificate of {} is not trusted: {}.", address.shown,
                                                     reason_of(code, details, deadline)));
    default:
      return fail(Code::unavailable,
                  fmt::format("No answer from {}: {}.", address.shown, reason_of(code, details, deadline)));
  }
}

std::optional<std::chrono::seconds> retry_after(CURL* handle) {
  curl_header* header = nullptr;
  if (curl_easy_header(handle, "Retry-After", 0, CURLH_HEADER, -1, &header) != CURLHE_OK) return std::nullopt;
  curl_off_t seconds = 0;  // a date has been turned into seconds from now
  if (curl_easy_getinfo(handle, CURLINFO_RETRY_AFTER, &seconds) != CURLE_OK) return std::nullopt;
  return std::chrono::seconds(seconds);
}

}  // namespace

struct HttpClient::Impl {
  EasyHandle handle = make_handle();
  std::string api_key;
  std::string authority_file;
};

HttpClient::HttpClient(std::string api_key, std::string authority_file) : impl_(std::make_unique<Impl>()) {
  impl_->api_key = std::move(api_key);
  impl_->authority_file = std::move(authority_file);
}
HttpClient::HttpClient(HttpClient&&) noexcept = default;
HttpClient& HttpClient::operator=(HttpClient&&) noexcept = default;
HttpClient::~HttpClient() = default;

Result<HttpResponse> HttpClient::send(const HttpRequest& request, std::chrono::milliseconds deadline) {
  const std::string url(request.url);
  const auto address = parse_url(url);
  if (!address) {
    return fail(
        Code::malformed,
        "The server's address is not a URL; it must look like http://127.0.0.1:8000 or https://cognive.example.");
  }
  if (address->scheme != "http" && address->scheme != "https")
    return fail(Code::malformed, "The server's address must start with http:// or https://.");
  if (!fits_in_header(impl_->api_key)) {
    return fail(Code::unauthenticated,
                "The API key contains a space, a line break or another character that no key has.");
  }

  CURL* handle = impl_->handle.get();
  std::array<char, CURL_ERROR_SIZE> details{};
  Body body;
  Lines headers;
  headers.add("Accept: application/json, application/problem+json");
  headers.add("Expect:");  // otherwise bodies over 1 MiB wait for a 100 that few servers send
  if (!impl_->api_key.empty()) headers.add("X-API-Key: " + impl_->api_key);

  curl_easy_reset(handle);  // options only: connections and resolved names stay
  curl_easy_setopt(handle, CURLOPT_URL, url.c_str());
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 0L);
  if (!impl_->authority_file.empty()) curl_easy_setopt(handle, CURLOPT_CAINFO, impl_->authority_file.c_str());
  curl_easy_setopt(handle, CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_1_1});
  curl_easy_setopt(handle, CURLOPT_USERAGENT, "cognive");
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_TCP_NODELAY, 1L);
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT, static_cast<long>(connect_timeout.count()));
  // Zero would mean for ever.
  curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, std::max(1L, static_cast<long>(deadline.count())));
  // A proxy for the outside world does not reach this machine's own loopback.
  if (address->is_loopback()) curl_easy_setopt(handle, CURLOPT_PROXY, "");
  curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, details.data());
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, &receive);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, &body);
  const std::string method(request.method);
  if (method != "GET") {
    if (!request.content_type.empty()) headers.add("Content-Type: " + std::string(request.content_type));
    curl_easy_setopt(handle, CURLOPT_POSTFIELDS, request.body.empty() ? "" : request.body.data());
    curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, method.c_str());
  }
  curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers.get());

  const CURLcode code = curl_easy_perform(handle);
  // The buffers above end with this call; the handle must not keep pointers to them.
  long status = 0;
  curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
  const auto after = retry_after(handle);
  curl_easy_reset(handle);

  if (body.too_large) {
    return fail(Code::too_large,
                fmt::format("The answer of {} is larger than {} MiB.", address->shown, response_bytes_max >> 20));
  }
  if (code != CURLE_OK) return failure(code, details.data(), *address, deadline);
  return HttpResponse{.status = static_cast<int>(status), .body = std::move(body.text), .retry_after = after};
}

}  // namespace cognive::client
