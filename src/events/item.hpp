// An event on its way through one commit, and what becomes of it.
#pragma once

#include <optional>
#include <string>

#include "agents/policy.hpp"
#include "events/events.hpp"
#include "events/store.hpp"
#include "runtime/call.hpp"

namespace cognive::events {

// What became of one event.
struct Fate {
  enum class Kind { accepted, duplicate, rejected };
  Kind kind = Kind::accepted;
  Code code = Code::unprocessable;  // of a rejection, for callers that sent one event only
  FieldError error;
  std::optional<agents::Violation> violation;  // of an event that is stored all the same
  std::optional<std::string> terminate;        // its run has to stop, and why
};

struct Item {
  const Event* event = nullptr;
  const Call* sender = nullptr;
  Fate* fate = nullptr;
  std::size_t arrival = 0;       // position among the items of its commit: the first of two contents under one id wins
  std::int64_t stored_hash = 0;  // of the content that is stored under its key, once that is known
  store::Row row;
  std::optional<agents::Violation> violation;

  [[nodiscard]] store::Key key() const { return {event->run_id, event->base().id}; }
};

void reject(Item& item, Code code, std::string pointer, std::string message);

// Finds out whether the item belongs to the run, and rejects it when not: nobody knows such a run (null), its sender
// may not see it, or it says to be of another agent. Whether it does.
bool belongs(Item& item, std::shared_ptr<const runs::KnownRun> run);

}  // namespace cognive::events
