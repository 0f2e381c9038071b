#include "client/http.hpp"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <new>

#include "base/text.hpp"

namespace cognive::client {
namespace {

struct FreeEasy {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
struct FreeUrl {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
struct FreeString {
  void operator()(char* text) const { curl_free(text); }
};

// Once per process, before the first handle; there is no matching cleanup because other folders use libcurl too.
CURL* make_handle() {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  CURL* handle = ready == CURLE_OK ? curl_easy_init() : nullptr;
  if (handle == nullptr) throw std::bad_alloc();
  return handle;
}

class Headers {
 public:
  void add(const std::string& line) {
    curl_slist* longer = curl_slist_append(list_.get(), line.c_str());
    if (longer == nullptr) throw std::bad_alloc();
    // The first element stays the head, so ownership moves only once.
    if (!list_) list_.reset(longer);
  }
  [[nodiscard]] curl_slist* get() const { return list_.get(); }

 private:
  std::unique_ptr<curl_slist, FreeList> list_;
};

struct Address {
  std::string shown;  // without user, password, query and fragment
  bool loopback = false;
};

std::string part(CURLU* url, CURLUPart which) {
  char* text = nullptr;
  if (curl_url_get(url, which, &text, 0) != CURLUE_OK) return {};
  const std::unique_ptr<char, FreeString> owned(text);
  return owned.get();
}

Result<Address> parse_address(const std::string& text) {
  const std::unique_ptr<CURLU, FreeUrl> url(curl_url());
  if (!url) throw std::bad_alloc();
  // The text itself is not repeated: where it cannot be parsed, a password in it cannot be found either.
  if (curl_url_set(url.get(), CURLUPART_URL, text.c_str(), CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK) {
    return fail(
        Code::malformed,
        "The server's address is not a URL; it must look like http://127.0.0.1:8000 or https://cognive.example.");
  }
  if (const std::string scheme = part(url.get(), CURLUPART_SCHEME); scheme != "http" && scheme != "https") {
    return fail(Code::malformed, "The server's address must start with http:// or https://.");
  }
  for (const auto secret :
       {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_OPTIONS, CURLUPART_QUERY, CURLUPART_FRAGMENT}) {
    curl_url_set(url.get(), secret, nullptr, 0);
  }
  const std::string host = part(url.get(), CURLUPART_HOST);
  return Address{.shown = part(url.get(), CURLUPART_URL),
                 .loopback = host == "localhost" || host == "[::1]" || host.starts_with("127.")};
}

bool fits_in_header(std::string_view key) {
  return std::ranges::all_of(key, [](char c) { return c > ' ' && c < '\x7F'; });
}

std::string seconds_text(std::chrono::milliseconds time) {
  return fmt::format("{:.3g} s", std::chrono::duration<double>(time).count());
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

std::string reason(CURLcode code, std::string_view details, std::chrono::milliseconds deadline) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
      return "its name cannot be resolved";
    case CURLE_COULDNT_RESOLVE_PROXY:
      return "the name of the proxy cannot be resolved";
    case CURLE_COULDNT_CONNECT:
      return "nothing accepts connections there";
    case CURLE_OPERATION_TIMEDOUT:
      return "it took longer than " + seconds_text(deadline) + ", or connecting longer than " +
             seconds_text(HttpClient::connect_timeout);
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
      return "the connection broke before the answer was complete";
    default:
      return details.empty() ? curl_easy_strerror(code) : std::string(trim(details));
  }
}

std::unexpected<Error> failure(CURLcode code, std::string_view details, const Address& address,
                               std::chrono::milliseconds deadline) {
  switch (code) {
    // These do not pass by waiting.
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
      return fail(Code::unauthenticated, fmt::format("The certificate of {} is not trusted: {}.", address.shown,
                                                     reason(code, details, deadline)));
    default:
      return fail(Code::unavailable,
                  fmt::format("No answer from {}: {}.", address.shown, reason(code, details, deadline)));
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
  std::unique_ptr<CURL, FreeEasy> handle{make_handle()};
  std::string api_key;
};

HttpClient::HttpClient(std::string api_key) : impl_(std::make_unique<Impl>()) {
  impl_->api_key = std::move(api_key);
}
HttpClient::HttpClient(HttpClient&&) noexcept = default;
HttpClient& HttpClient::operator=(HttpClient&&) noexcept = default;
HttpClient::~HttpClient() = default;

Result<HttpResponse> HttpClient::send(const HttpRequest& request, std::chrono::milliseconds deadline) {
  const std::string url(request.url);
  const auto address = parse_address(url);
  if (!address) return std::unexpected(address.error());
  if (!fits_in_header(impl_->api_key)) {
    return fail(Code::unauthenticated,
                "The API key contains a space, a line break or another character that no key has.");
  }

  CURL* handle = impl_->handle.get();
  std::array<char, CURL_ERROR_SIZE> details{};
  Body body;
  Headers headers;
  headers.add("Accept: application/json, application/problem+json");
  headers.add("Expect:");  // otherwise bodies over 1 MiB wait for a 100 that few servers send
  if (!impl_->api_key.empty()) headers.add("X-API-Key: " + impl_->api_key);

  curl_easy_reset(handle);  // options only: connections and resolved names stay
  curl_easy_setopt(handle, CURLOPT_URL, url.c_str());
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(handle, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(handle, CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_1_1});
  curl_easy_setopt(handle, CURLOPT_USERAGENT, "cognive");
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_TCP_NODELAY, 1L);
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT, static_cast<long>(connect_timeout.count()));
  // Zero would mean for ever.
  curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, std::max(1L, static_cast<long>(deadline.count())));
  // A proxy for the outside world does not reach this machine's own loopback.
  if (address->loopback) curl_easy_setopt(handle, CURLOPT_PROXY, "");
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
