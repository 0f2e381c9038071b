// Which node of an installation is the primary: what is on disk decides, because any replica may have been promoted
// since the last start, by whatever means.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "embedded/binaries.hpp"
#include "embedded/data_directory.hpp"

namespace cognive::embedded {

inline constexpr int replicas_max = 8;

// What must happen to a node's data before it can follow the primary.
enum class Remake {
  no,
  yes,         // made anew by a base backup; the old data are nothing but an older copy
  keeping_old  // the same, but the old data may hold what nobody else has
};

struct NodeRole {
  std::string name;
  bool primary = false;
  Remake remake = Remake::no;
};

// "primary", then "replica_1" and so on, as far as they can exist. Names stay with data directories: after a failover
// the node called primary is a replica.
std::vector<std::string> node_names();

// The primary and `replicas` others, in the order of their names. Of several nodes that are not replicas the one on the
// highest timeline is the primary: the others were left behind by its promotion. No server may be running. Fails when
// there are nodes, but all of them are replicas: to make an empty primary beside them would end in losing the data.
Result<std::vector<NodeRole>> read_roles(const DataDirectory& directory, const Binaries& binaries, int replicas);

}  // namespace cognive::embedded
