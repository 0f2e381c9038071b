// What travels with one request through every layer: who asks, under which id, until when, and how fresh the answer
// must be.
#pragma once

#include <optional>
#include <string>

#include "base/position.hpp"
#include "base/principal.hpp"
#include "runtime/async.hpp"

namespace cognive {

// What became of the database on behalf of one call.
struct Written {
  Position position;  // after the latest commit; none when nothing was committed
};

struct Call {
  Principal principal;
  std::string request_id;
  Deadline deadline;
  std::optional<Position> not_before = {};  // reads must see at least this much
  Written* written = nullptr;               // where commits are noted; null when nobody asks

  void note(Position position) const {
    if (written != nullptr) written->position = std::max(written->position, position);
  }
};

}  // namespace cognive
