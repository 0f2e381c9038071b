// HTTP/1.1 over one libcurl handle, for commands that talk to a Cognive server from a thread that may block.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace cognive::client {

// Borrows everything until `HttpClient::send` returns.
struct HttpRequest {
  std::string_view method;        // GET, PUT, POST, …
  std::string_view url;           // absolute, http or https
  std::string_view body;          // sent unless the method is GET
  std::string_view content_type;  // of the body
};

struct HttpResponse {
  int status = 0;
  std::string body;
  std::optional<std::chrono::seconds> retry_after;  // from Retry-After, given in seconds or as a date
};

// Owns one connection, which is kept alive between requests, and is used by one thread at a time. Redirects are answers
// like any other: a key must not travel to an address that the caller did not name.
class HttpClient {
 public:
  // An answer above this is refused, not cut.
  static constexpr std::size_t response_bytes_max = std::size_t{16} << 20;

  // `api_key` is sent as X-API-Key with every request; empty sends none. `authority_file` has, in PEM, the only
  // certificates by which servers are trusted; empty: those of the system.
  explicit HttpClient(std::string api_key, std::string authority_file = {});
  HttpClient(HttpClient&&) noexcept;
  HttpClient& operator=(HttpClient&&) noexcept;
  ~HttpClient();

  // Whatever status the server answers is a response. Errors:
  //   unavailable      no complete answer within `deadline`; whether the server acted on the request is unknown
  //   unauthenticated  the server's certificate is not trusted, or the key has characters that no header can carry
  //   too_large        the answer is above `response_bytes_max`
  //   malformed        `url` is not an absolute http or https URL
  // No message contains the key, or the user, password or query of the URL.
  Result<HttpResponse> send(const HttpRequest& request, std::chrono::milliseconds deadline);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cognive::client
