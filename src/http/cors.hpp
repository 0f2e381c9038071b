// Cross-origin requests from browsers (the Fetch standard, section 3.2): off unless origins are named. Credentials are
// header fields that a page sets itself, so cookies are never allowed.
#pragma once

#include <string>
#include <vector>

#include "http/message.hpp"

namespace cognive::http {

class Cors {
 public:
  // Exact origins such as https://console.example.com; empty: no page of another origin reads an answer.
  explicit Cors(std::vector<std::string> origins) : origins_(std::move(origins)) {}

  // Adds to the answer what lets the browser of an allowed origin read it; to that of OPTIONS what it may send.
  void allow(const Request& request, Response& response) const;

 private:
  std::vector<std::string> origins_;
};

}  // namespace cognive::http
