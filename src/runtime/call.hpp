// What travels with one request through every layer: who asks, under which id, and until when.
#pragma once

#include <string>

#include "base/principal.hpp"
#include "runtime/async.hpp"

namespace cognive {

struct Call {
  Principal principal;
  std::string request_id;
  Deadline deadline;
};

}  // namespace cognive
