#include "base/compression.hpp"

#include <fmt/format.h>
#include <zlib.h>

#include <array>
#include <stdexcept>

namespace cognive {

Result<std::string> decompress(std::string_view compressed, Compression how, std::size_t bytes_max) {
  z_stream stream{};
  constexpr int zlib_only = 15;  // the largest window (zlib.h, inflateInit2)
  constexpr int gzip_only = zlib_only + 16;
  const bool is_gzip = how == Compression::gzip;
  if (inflateInit2(&stream, is_gzip ? gzip_only : zlib_only) != Z_OK)
    return fail(Code::internal, "The decompressor could not start.");
  struct End {
    z_stream& stream;
    ~End() { inflateEnd(&stream); }
  } const end{stream};

  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(compressed.data()));
  stream.avail_in = static_cast<uInt>(compressed.size());
  std::string out;
  std::array<char, 64 * 1024> block;
  for (;;) {
    stream.next_out = reinterpret_cast<Bytef*>(block.data());
    stream.avail_out = block.size();
    const int status = inflate(&stream, Z_NO_FLUSH);
    const std::size_t produced = block.size() - stream.avail_out;
    if (out.size() + produced > bytes_max) {
      return fail(Code::too_large,
                  fmt::format("The body is larger than {} bytes when decompressed, which is the limit.", bytes_max));
    }
    out.append(block.data(), produced);
    if (status == Z_STREAM_END) {
      if (stream.avail_in == 0) return out;
      inflateReset(&stream);
    } else if (status == Z_BUF_ERROR || (status == Z_OK && stream.avail_in == 0 && produced == 0)) {
      return fail(Code::malformed, "The compressed body is truncated.");
    } else if (status != Z_OK) {
      return fail(Code::malformed, is_gzip ? "The body is not valid gzip." : "The body is not valid zlib.");
    }
  }
}

struct GzipWriter::State {
  z_stream stream{};

  explicit State(Level level) {
    constexpr int gzip_only = 15 + 16;  // the largest window (zlib.h, deflateInit2)
    constexpr int memory_level = 8;
    // Beside ingest, time counts for more than the last tenth of the size.
    constexpr int normal = 3;
    if (deflateInit2(&stream, level == Level::fast ? Z_BEST_SPEED : normal, Z_DEFLATED, gzip_only, memory_level,
                     Z_DEFAULT_STRATEGY) != Z_OK)
      throw std::runtime_error("the compressor could not start");
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { deflateEnd(&stream); }

  std::string run(std::string_view text, int flush) {
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    stream.avail_in = static_cast<uInt>(text.size());
    std::string out;
    std::array<char, 64 * 1024> block;
    do {
      stream.next_out = reinterpret_cast<Bytef*>(block.data());
      stream.avail_out = block.size();
      deflate(&stream, flush);
      out.append(block.data(), block.size() - stream.avail_out);
    } while (stream.avail_out == 0);
    return out;
  }
};

GzipWriter::GzipWriter(Level level) : state_(std::make_unique<State>(level)) {}

GzipWriter::~GzipWriter() = default;

std::string GzipWriter::append(std::string_view text) {
  return state_->run(text, Z_NO_FLUSH);
}

std::string GzipWriter::finish() {
  return state_->run({}, Z_FINISH);
}

}  // namespace cognive
