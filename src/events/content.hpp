// What is kept of an event's content: the agent's policy decides, before anything is stored or logged.
//
//   none      nothing (the default)
//   metadata  the kind of value, its bytes, and how many items it has
//   hashed    the same, and a keyed hash: equal content can be recognised, not read
//   redacted  the content, with what identifies people or unlocks doors masked (privacy/redactor.hpp)
//   full      the content as it came
//
// Errors are kept by all of them, since nobody can run a system without; unless the policy is `full` they are redacted.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "agents/policy.hpp"
#include "base/crypto.hpp"
#include "events/events.hpp"

namespace cognive::events {

struct Kept {
  std::optional<std::string> error;
  std::optional<std::string> content;  // a JSON object with a member for each part that the caller sent
};

// Longer parts are kept as `metadata` says, whatever the policy: rows must stay rows.
inline constexpr std::size_t content_bytes_max = 256 << 10;

// `key`: for the hashes.
Kept kept_of(const Event& event, agents::Store store, const Digest& key);

}  // namespace cognive::events
