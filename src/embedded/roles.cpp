#include "embedded/roles.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>

#include "embedded/control_data.hpp"

namespace cognive::embedded {
namespace fs = std::filesystem;

namespace {

struct Found {
  std::string name;
  bool standby;
};

std::vector<Found> nodes_on_disk(const DataDirectory& directory) {
  std::vector<Found> out;
  std::error_code unknown;
  for (auto& name : node_names()) {
    const auto data = directory.postgres() / name;
    if (fs::exists(data, unknown)) out.push_back({.name = std::move(name), .standby = is_standby(data)});
  }
  return out;
}

Result<std::string> find_primary(const DataDirectory& directory, const Binaries& binaries,
                                 const std::vector<Found>& found) {
  if (found.empty()) return "primary";
  const auto candidates = std::ranges::count_if(found, [](const Found& node) { return !node.standby; });
  if (candidates == 0) {
    return fail(Code::conflict, fmt::format("All nodes in {} are replicas. Remove the file standby.signal of the one "
                                            "that should be the primary, or bring the primary's directory back.",
                                            directory.postgres().native()));
  }
  std::string primary;
  std::uint32_t highest = 0;
  for (const auto& node : found) {
    if (node.standby) continue;
    if (candidates == 1) return node.name;
    const auto control = read_control_data(directory.postgres() / node.name, binaries, directory.database_user());
    if (!control) return fail(control.error());
    if (control->timeline <= highest) continue;
    highest = control->timeline;
    primary = node.name;
  }
  return primary;
}

// What a node that is not the primary needs.
Remake remake_of(const DataDirectory& directory, const Binaries& binaries, const Found& node,
                 const std::optional<ControlData>& primary) {
  if (!node.standby) return Remake::keeping_old;
  const auto control = read_control_data(directory.postgres() / node.name, binaries, directory.database_user());
  // Damaged, or made by another version of PostgreSQL than the primary is now.
  if (!control) return Remake::yes;
  // A replica of something else.
  if (primary && control->system_identifier != primary->system_identifier) return Remake::keeping_old;
  // It followed somebody who is not there any more.
  if (primary && control->timeline > primary->timeline) return Remake::keeping_old;
  return Remake::no;
}

}  // namespace

std::vector<std::string> node_names() {
  std::vector<std::string> out{"primary"};
  for (int i = 1; i <= replicas_max; ++i) out.push_back(fmt::format("replica_{}", i));
  return out;
}

Result<std::vector<NodeRole>> read_roles(const DataDirectory& directory, const Binaries& binaries, int replicas) {
  const auto found = nodes_on_disk(directory);
  const auto primary = find_primary(directory, binaries, found);
  if (!primary) return fail(primary.error());
  std::optional<ControlData> control;
  if (replicas > 0 && !found.empty()) {
    auto read = read_control_data(directory.postgres() / *primary, binaries, directory.database_user());
    if (!read) return fail(read.error());
    control = std::move(*read);
  }

  std::vector<NodeRole> out;
  for (auto& name : node_names()) {
    if (name == *primary) {
      out.push_back({.name = std::move(name), .primary = true});
    } else if (replicas > 0) {
      --replicas;
      const auto node = std::ranges::find(found, name, &Found::name);
      const auto remake = node == found.end() ? Remake::yes : remake_of(directory, binaries, *node, control);
      out.push_back({.name = std::move(name), .remake = remake});
    }
  }
  return out;
}

}  // namespace cognive::embedded
