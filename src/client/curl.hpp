// What the files of this folder share of libcurl.
#pragma once

#include <curl/curl.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace cognive::client {

inline constexpr std::chrono::seconds connect_timeout{5};

struct FreeEasy {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
using EasyHandle = std::unique_ptr<CURL, FreeEasy>;

// Throws std::bad_alloc.
EasyHandle make_handle();

// Lines, as libcurl wants them: of headers, of recipients.
class Lines {
 public:
  void add(const std::string& line);
  [[nodiscard]] curl_slist* get() const { return list_.get(); }

 private:
  struct FreeList {
    void operator()(curl_slist* list) const { curl_slist_free_all(list); }
  };
  std::unique_ptr<curl_slist, FreeList> list_;
};

// A URL taken apart.
struct UrlParts {
  std::string scheme;  // in lower case, as is the host
  std::string host;    // numbers as dotted quads, IPv6 in brackets
  std::string user;
  std::string origin;  // scheme, host and port alone
  std::string shown;   // without user, password, query and fragment

  [[nodiscard]] bool is_loopback() const;
};

// Code::malformed when it is no absolute URL. The text itself is not repeated: where it cannot be parsed, a password in
// it cannot be found either.
Result<UrlParts> parse_url(const std::string& text);

// Gives up when `stop` is set, within a second.
void stop_with(CURL* handle, const std::atomic<bool>& stop);

// In words that go behind "No answer from …: ".
std::string reason_of(CURLcode code, std::string_view details, std::chrono::milliseconds deadline);

}  // namespace cognive::client
