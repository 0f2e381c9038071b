// What travels with one request through every layer: who asks, under which id, until when, and how fresh the answer
// must be.
#pragma once

#include <optional>
#include <string>

#include "base/position.hpp"
#include "base/principal.hpp"
#include "runtime/async.hpp"

namespace cognive {

namespace pg {
class Together;
}

// What became of one call, for whoever began it.
struct Written {
  Position position;                 // of the database after the latest commit; none when nothing was committed
  std::optional<Uuid> account = {};  // whose credentials were tried
};

struct Call {
  Principal principal;
  std::string request_id;
  Deadline deadline;
  std::optional<Position> not_before = {};  // reads must see at least this much
  // How old what is read may be, as the caller says (Cache-Control: max-age, no-cache); nothing: as it is best.
  std::optional<std::chrono::seconds> age_max = {};
  Written* written = nullptr;  // where that is noted; null when nobody asks
  std::string address = {};    // that the request comes from; empty: none
  // The state (If-Match) that a change is meant for; empty: whichever there is.
  std::string if_match = {};
  // What is to be committed together with whatever this call changes; null: nothing.
  pg::Together* together = nullptr;
  // Of what this call makes, when its caller names none: a repeat with the same Idempotency-Key has the same one.
  std::optional<Uuid> made_id = {};

  // The id of the resource that the call makes: the caller's own, or a new one.
  [[nodiscard]] Uuid id_or_new(const std::optional<Uuid>& own) const {
    return own ? *own : made_id ? *made_id : Uuid::make();
  }

  void note(Position position) const {
    if (written != nullptr) written->position = std::max(written->position, position);
  }
  void note_account(const Uuid& id) const {
    if (written != nullptr) written->account = id;
  }
};

}  // namespace cognive
