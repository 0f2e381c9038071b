// What a data directory says about itself: whose copy it is, on which timeline, and whether it is a replica's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/error.hpp"
#include "embedded/binaries.hpp"
#include "embedded/process.hpp"

namespace cognive::embedded {

struct ControlData {
  std::string system_identifier;  // the same for a primary and all its copies
  std::uint32_t timeline;         // one more after each promotion
  int max_connections;            // a replica with less than the primary's last known setting does not start
};

// Asks pg_controldata, and the timeline histories beside it: right after a promotion, only they know the new timeline.
Result<ControlData> read_control_data(const std::filesystem::path& data, const Binaries& binaries,
                                      const Identity& user);

// Whether the server on this data directory is a replica, or will be one when it starts. PostgreSQL removes the file
// when it is promoted.
bool is_standby(const std::filesystem::path& data);

}  // namespace cognive::embedded
