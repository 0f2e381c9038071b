// Files that travel inside the binary. Names are paths in the repository, for instance "data/prices.json".
#pragma once

#include <span>
#include <string_view>

namespace cognive {

struct Resource {
  std::string_view name;
  std::string_view content;

  Resource(std::string_view resource_name, std::pair<const char*, const char*> range)
      : name(resource_name), content(range.first, range.second) {}
};

// All embedded files, sorted by folder as CMake listed them. Lives as long as the process.
std::span<const Resource> resources();

// The content of one file. Throws std::logic_error when the binary was built without it.
std::string_view resource(std::string_view name);

}  // namespace cognive
