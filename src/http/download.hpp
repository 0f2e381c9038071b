// Files for whoever asks: whole or in part, with what they are called and a checksum.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "http/message.hpp"

namespace cognive::http {

// Bytes, piece by piece; empty: that was all.
using Pieces = std::function<Async<Result<std::string>>()>;

struct Downloadable {
  std::string content_type;
  std::string name;  // as it is to be called where it is saved
  std::string etag;  // with its quotes
  std::uint64_t bytes = 0;
  std::optional<std::string> sha256;  // in hexadecimal digits
  // Gives `count` bytes from `first`. Called at most once.
  std::function<Async<Result<Pieces>>(std::uint64_t first, std::uint64_t count)> open;
};

// The answer to a GET or HEAD: Range, If-Range and If-None-Match are heeded (RFC 9110, sections 13 and 14). Browsers
// save it, and never show it in a page of ours.
Async<Response> download(const Request& request, const Downloadable& file);

}  // namespace cognive::http
