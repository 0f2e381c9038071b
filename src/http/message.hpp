// Requests and answers as the rest of the product sees them; Beast stays inside this folder.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/async.hpp"

namespace cognive::http {

struct Request {
  std::string method;
  std::string instance = "/";                               // the path as a URI reference, for problem documents
  std::vector<std::string> segments;                        // of the path, split before they were decoded
  std::vector<std::pair<std::string, std::string>> query;   // decoded, in the order sent
  std::map<std::string, std::string, std::less<>> headers;  // names in lower case; repeated ones joined by ", "
  std::string body;                                         // after content decoding
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
};

}  // namespace cognive::http
