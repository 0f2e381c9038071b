// What the router keeps of one route; for the files of this folder.
#pragma once

#include "http/router.hpp"

namespace cognive::http {

struct Router::Route {
  Operation operation;
  Description description;
  RawHandler handler;
  std::vector<std::string> segments;
  std::map<int, Counter> requests_by_status;  // grows under one thread: a router belongs to one I/O thread
  Histogram duration;
};

}  // namespace cognive::http
