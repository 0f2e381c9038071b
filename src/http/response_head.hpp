// The first lines of an answer.
#pragma once

#include <string>

#include "http/message.hpp"

namespace cognive::http {

// What an answer has to know of its request.
struct Exchange {
  std::string id;
  std::string instance = "/";
  bool keep_alive = false;
  bool http_1_0 = false;
  bool encrypted = false;
  bool head = false;  // HEAD: everything but the body
};

// The whole head, so that one write sends it and the body.
std::string response_head(const Response& response, const Exchange& exchange);

}  // namespace cognive::http
