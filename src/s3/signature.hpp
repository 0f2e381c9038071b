// Signatures of requests to S3, and to what speaks like it: AWS Signature Version 4. Ours, since libcurl's own (7.88)
// does not sort the query, and signs some keys of objects wrongly.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/time.hpp"

namespace cognive::s3 {

// Of whoever may use a bucket. Never in a log, an error or a URL.
struct Credentials {
  std::string access_key;
  std::string secret_key;
  std::string region = "us-east-1";
};

// Names and values as they are meant, not encoded.
using Fields = std::vector<std::pair<std::string, std::string>>;

struct Request {
  std::string method = "GET";
  std::string host;        // with the port, unless it is the one of the scheme
  std::string path = "/";  // "/bucket/a key"; not encoded, and nothing in it is resolved: "." is a name like any other
  Fields query;            // in any order; a name without a value has an empty one
  Fields headers;          // beside `host`; all are signed
};

// Of the body of a request that has none.
inline constexpr std::string_view empty_payload = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
// In place of a digest where the body is not known when the request is signed: over TLS only.
inline constexpr std::string_view unsigned_payload = "UNSIGNED-PAYLOAD";

// RFC 3986, section 2.3: everything but unreserved characters is encoded, byte by byte; `/` stays where it separates.
enum class Slash { separates, is_encoded };
std::string percent_encoded(std::string_view text, Slash slash);

// The path and query as they are sent: those of the URL have to be exactly these.
std::string target_of(const Request& request);

// The headers to be sent beside those of the request and `Host`. `payload`: SHA-256 of the body in lower-case
// hexadecimal digits, or `unsigned_payload`.
Fields signed_headers(const Credentials& credentials, const Request& request, std::string_view payload, Timestamp now);

// The target of a URL with which anybody may do what the request says until its time has passed: at most seven days.
std::string presigned_target(const Credentials& credentials, Request request, std::chrono::seconds lifetime,
                             Timestamp now);

}  // namespace cognive::s3
