// Where an S3-compatible store is.
#pragma once

#include <string>
#include <string_view>

#include "base/error.hpp"

namespace cognive::s3 {

// Where the name of a bucket stands: in the path, which every store knows, or in front of the host, which AWS wants.
enum class Addressing { path, host };

struct Endpoint {
  bool is_encrypted = false;
  std::string host;  // with the port, unless it is the one of the scheme; IPv6 in brackets
  Addressing addressing = Addressing::path;

  // http://127.0.0.1:9000
  [[nodiscard]] std::string text() const;
};

// `text`: host:port as MinIO's own clients have it, or a URL, whose scheme then counts rather than `is_encrypted`.
// `addressing`: auto (host at amazonaws.com, else path), path or host. The error's detail goes behind the name of the
// setting, and repeats nothing of the text.
Result<Endpoint> parse_endpoint(std::string_view text, bool is_encrypted, std::string_view addressing);

}  // namespace cognive::s3
