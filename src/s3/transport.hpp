// One signed request to S3 over libcurl, and its answer.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "runtime/async.hpp"
#include "s3/endpoint.hpp"
#include "s3/signature.hpp"

namespace cognive::s3 {

struct Answer {
  int status = 0;
  std::string body;
  Fields headers;  // names in lower case

  // Empty when there is none.
  [[nodiscard]] std::string_view header(std::string_view lower_case_name) const;
};

// Keeps connections; for any number of threads, which block.
class Transport {
 public:
  // `authority_file`: PEM of the only authorities that certificates may come from; empty: those of the system.
  Transport(Endpoint endpoint, Credentials credentials, std::string authority_file);
  ~Transport();

  // `path` of the request is "/bucket/key", whatever the addressing. `body`: of PUT and POST. Errors: unavailable (no
  // complete answer), unauthenticated (the certificate is not trusted), too_large (an answer above `answer_bytes_max`).
  // `stall`: a connection over which nothing has come or gone for so long is given up.
  Result<Answer> send(Request request, std::string_view body, std::size_t answer_bytes_max, Deadline deadline,
                      std::chrono::seconds stall);

  // A URL with which anybody may do what the request says until its time has passed.
  [[nodiscard]] std::string presigned(Request request, std::chrono::seconds lifetime) const;

  [[nodiscard]] const Endpoint& endpoint() const;

  // What is on its way fails within a second, and so does all that comes later.
  void stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cognive::s3
