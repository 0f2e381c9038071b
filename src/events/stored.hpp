// What a commit of events tells the rest of the product, through the outbox: one message per commit, not per event.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "events/events.hpp"
#include "feed/feed.hpp"

namespace cognive::events {

inline constexpr std::string_view stored_topic = "events.stored";

constexpr feed::Kind kind_of(EventType type) {
  switch (type) {
    case EventType::llm_call:
      return feed::Kind::call;
    case EventType::tool_invocation:
      return feed::Kind::tool;
    case EventType::step:
      break;
  }
  return feed::Kind::step;
}

// How many new events of each type a commit has.
struct Stored {
  std::array<std::size_t, 3> counts{};

  void add(EventType type, std::size_t count) { counts[static_cast<std::size_t>(type)] += count; }
  [[nodiscard]] std::size_t total() const { return counts[0] + counts[1] + counts[2]; }
  // {"llm_call":3,"tool_invocation":0,"step":1}
  [[nodiscard]] std::string message() const;
};

}  // namespace cognive::events
