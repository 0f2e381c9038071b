#include "http/gzip.hpp"

#include <zlib.h>

#include <array>

namespace cognive::http {

Result<std::string> gunzip(std::string_view compressed, std::size_t bytes_max) {
  z_stream stream{};
  constexpr int gzip_only = 15 + 16;  // the largest window, and a gzip header (zlib.h, inflateInit2)
  if (inflateInit2(&stream, gzip_only) != Z_OK) return fail(Code::internal, "The decompressor could not start.");
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
                  fmt::format("The body is larger than {} bytes when decompressed; HTTP_BODY_BYTES_MAX allows no more.",
                              bytes_max));
    }
    out.append(block.data(), produced);
    if (status == Z_STREAM_END) {
      if (stream.avail_in == 0) return out;
      inflateReset(&stream);
    } else if (status == Z_BUF_ERROR || (status == Z_OK && stream.avail_in == 0 && produced == 0)) {
      return fail(Code::malformed, "The gzip body is truncated.");
    } else if (status != Z_OK) {
      return fail(Code::malformed, "The body is not valid gzip.");
    }
  }
}

}  // namespace cognive::http
