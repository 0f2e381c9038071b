// Text that came compressed, and that is to go compressed: gzip (RFC 1952) and zlib (RFC 1950).
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/error.hpp"

namespace cognive {

enum class Compression { gzip, zlib };

// Stops as soon as the output would exceed `bytes_max`, whatever the input promises: Code::too_large. Truncated or
// damaged input is Code::malformed. Several members in a row are one text (RFC 1952, section 2.2).
Result<std::string> decompress(std::string_view compressed, Compression how, std::size_t bytes_max);

// Compresses what comes piece by piece into one gzip member.
class GzipWriter {
 public:
  // What is fast gives up a tenth of the size and more.
  enum class Level { fast, normal };
  explicit GzipWriter(Level level = Level::normal);
  GzipWriter(const GzipWriter&) = delete;
  GzipWriter& operator=(const GzipWriter&) = delete;
  ~GzipWriter();

  // What can be written out so far, perhaps nothing.
  std::string append(std::string_view text);
  // The rest; once.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cognive
