#include "base/resources.hpp"

#include <stdexcept>
#include <string>

namespace cognive {

std::string_view resource(std::string_view name) {
  for (const auto& entry : resources()) {
    if (entry.name == name) return entry.content;
  }
  throw std::logic_error("the binary does not contain " + std::string(name));
}

}  // namespace cognive
