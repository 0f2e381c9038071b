// Requests and answers as the rest of the product sees them; Beast stays inside this folder.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "runtime/async.hpp"

namespace cognive::http {

// A body that is read while it comes, so that it need not fit into memory.
class BodyStream {
 public:
  BodyStream() = default;
  BodyStream(const BodyStream&) = delete;
  BodyStream& operator=(const BodyStream&) = delete;
  virtual ~BodyStream() = default;
  // What has come, at least one byte; empty: it is complete. Code::timed_out when nothing comes, Code::malformed when
  // the connection broke or the framing is wrong.
  virtual Async<Result<std::string>> read() = 0;
  // As the client has announced it.
  [[nodiscard]] virtual std::optional<std::uint64_t> length() const = 0;
};

struct Request {
  std::string method;
  std::string instance = "/";                               // the path as a URI reference, for problem documents
  std::vector<std::string> segments;                        // of the path, split before they were decoded
  std::vector<std::pair<std::string, std::string>> query;   // decoded, in the order sent
  std::map<std::string, std::string, std::less<>> headers;  // names in lower case; repeated ones joined by ", "
  std::string body;                                         // after content decoding
  BodyStream* stream = nullptr;                             // in its place, of operations that stream it
  std::string id;                                           // X-Request-Id, ours or the caller's
  std::string address;                                      // that it comes from: of version 6 its /64
  Deadline deadline;                                        // for the answer

  // Empty when there is none.
  [[nodiscard]] std::string_view header(std::string_view lower_case_name) const {
    const auto found = headers.find(lower_case_name);
    return found == headers.end() ? std::string_view{} : std::string_view(found->second);
  }
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
  // In place of the body: called until it gives nothing. After an error the connection is closed, which tells the
  // client that it has not got all.
  std::function<Async<Result<std::string>>()> stream = {};
  std::optional<std::uint64_t> stream_length = std::nullopt;  // of all that it will give, when that is known
};

}  // namespace cognive::http
