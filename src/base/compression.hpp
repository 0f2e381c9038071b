// Bodies that came compressed: gzip (RFC 1952) and zlib (RFC 1950).
#pragma once

#include <string>
#include <string_view>

#include "base/error.hpp"

namespace cognive {

enum class Compression { gzip, zlib };

// Stops as soon as the output would exceed `bytes_max`, whatever the input promises: Code::too_large. Truncated or
// damaged input is Code::malformed. Several members in a row are one text (RFC 1952, section 2.2).
Result<std::string> decompress(std::string_view compressed, Compression how, std::size_t bytes_max);

}  // namespace cognive
