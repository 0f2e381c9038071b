// The buckets that Cognive uses, and how long what is in them is kept.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace cognive::objects {

enum class Kind { audit, replay, reports, artifacts };

struct Expected {
  Kind kind;
  std::string_view name;
  std::int64_t days;  // 0: for ever
};

inline constexpr std::array<Expected, 4> expected{{{Kind::audit, "audit-logs-archive", 90},
                                                   {Kind::replay, "execution-replay-data", 30},
                                                   {Kind::reports, "report-exports", 365},
                                                   {Kind::artifacts, "agent-artifacts", 180}}};

}  // namespace cognive::objects
