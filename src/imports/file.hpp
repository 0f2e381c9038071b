// Files that are imported: read whole, since they are checked whole before anything is sent.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace cognive::imports {

inline constexpr std::size_t file_bytes_max = std::size_t{1} << 30;

// A file or pipe of at most `file_bytes_max` bytes. Errors name it: not_found, forbidden, too_large, internal (the
// disk).
Result<std::string> read_file(const std::string& path);

// For texts that are at hand already.
std::unexpected<Error> file_too_large(std::string_view name);

}  // namespace cognive::imports
