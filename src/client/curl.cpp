#include "client/curl.hpp"

#include <fmt/format.h>

#include <new>

#include "base/text.hpp"

namespace cognive::client {
namespace {

struct FreeUrl {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
struct FreeString {
  void operator()(char* text) const { curl_free(text); }
};

std::string part(CURLU* url, CURLUPart which) {
  char* text = nullptr;
  if (curl_url_get(url, which, &text, 0) != CURLUE_OK) return {};
  const std::unique_ptr<char, FreeString> owned(text);
  return owned.get();
}

std::string seconds_text(std::chrono::milliseconds time) {
  return fmt::format("{:.3g} s", std::chrono::duration<double>(time).count());
}

int is_stopped(void* stop, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<const std::atomic<bool>*>(stop)->load() ? 1 : 0;
}

}  // namespace

// Once per process, before the first handle; there is no matching cleanup because other folders use libcurl too.
EasyHandle make_handle() {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  EasyHandle handle(ready == CURLE_OK ? curl_easy_init() : nullptr);
  if (!handle) throw std::bad_alloc();
  return handle;
}

void Lines::add(const std::string& line) {
  curl_slist* longer = curl_slist_append(list_.get(), line.c_str());
  if (longer == nullptr) throw std::bad_alloc();
  // The first element stays the head, so ownership moves only once.
  if (!list_) list_.reset(longer);
}

bool UrlParts::is_loopback() const {
  return host == "localhost" || host == "[::1]" || host.starts_with("127.");
}

Result<UrlParts> parse_url(const std::string& text) {
  const std::unique_ptr<CURLU, FreeUrl> url(curl_url());
  if (!url) throw std::bad_alloc();
  if (curl_url_set(url.get(), CURLUPART_URL, text.c_str(), CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
    return fail(Code::malformed, "It is not an absolute URL.");
  UrlParts out{.scheme = part(url.get(), CURLUPART_SCHEME),
               .host = part(url.get(), CURLUPART_HOST),
               .user = part(url.get(), CURLUPART_USER),
               .shown = {}};
  for (const auto secret :
       {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_OPTIONS, CURLUPART_QUERY, CURLUPART_FRAGMENT}) {
    curl_url_set(url.get(), secret, nullptr, 0);
  }
  out.shown = part(url.get(), CURLUPART_URL);
  curl_url_set(url.get(), CURLUPART_PATH, nullptr, 0);
  out.origin = part(url.get(), CURLUPART_URL);
  return out;
}

void stop_with(CURL* handle, const std::atomic<bool>& stop) {
  curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, &is_stopped);
  curl_easy_setopt(handle, CURLOPT_XFERINFODATA, const_cast<std::atomic<bool>*>(&stop));
}

std::string reason_of(CURLcode code, std::string_view details, std::chrono::milliseconds deadline) {
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
      return "its name cannot be resolved";
    case CURLE_COULDNT_RESOLVE_PROXY:
      return "the name of the proxy cannot be resolved";
    case CURLE_COULDNT_CONNECT:
      return "nothing accepts connections there";
    case CURLE_OPERATION_TIMEDOUT:
      return "it took longer than " + seconds_text(deadline) + ", or connecting longer than " +
             seconds_text(connect_timeout);
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
      return "the connection broke before the answer was complete";
    case CURLE_ABORTED_BY_CALLBACK:
      return "this process is stopping";
    default:
      return details.empty() ? curl_easy_strerror(code) : std::string(trim(details));
  }
}

}  // namespace cognive::client
