// Errors as values: what was wrong, where, and what to do about it.
//
// What a caller's input can cause travels as Result<T>; a lost dependency or a bug throws (Unavailable,
// std::logic_error). `detail` is written for the caller and never contains secrets, SQL or host names.
#pragma once

#include <cstdint>
#include <expected>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cognive {

// What went wrong, by who must react. http/problem.cpp holds the only mapping to HTTP status codes.
enum class Code {
  malformed,            // the input cannot be parsed at all
  unauthenticated,      // no credentials, or none that we know
  forbidden,            // known, but not allowed
  not_found,            // does not exist, or belongs to a team the caller may not know about
  method_not_allowed,   // the resource exists, the verb does not
  not_acceptable,       // the client takes no answer of the kind that there is
  conflict,             // contradicts what is stored
  precondition_failed,  // what the client wants changed is something else by now
  too_large,            // over a size limit
  headers_too_large,    // request line or header fields over their limit
  uri_too_long,         // the request target over its limit
  not_satisfiable,      // a part that the resource does not have
  unsupported_media,    // content type or encoding we do not read
  unprocessable,        // parses, but breaks rules; `fields` lists every fault
  too_many,             // over a rate limit or budget
  unavailable,          // a dependency is away: outcome unknown, repeat with the same ids
  timed_out,            // the client took too long to send its request
  internal,             // a bug of ours
};

// One fault of one field. `pointer` is a JSON pointer (RFC 6901) into the body, `?name` for a query parameter,
// `{name}` for one in the path,
// or the name of a header.
struct FieldError {
  std::string pointer;
  std::string message;
  std::string rejected;  // the rejected value as JSON text, shortened; empty when there was none

  bool operator==(const FieldError&) const = default;
};

struct Error {
  Code code;
  std::string detail;
  std::vector<FieldError> fields;
  std::int64_t retry_after_s = 1;  // with too_many and unavailable: when to try again
};

template <typename T>
using Result = std::expected<T, Error>;

// A dependency is lost or did not answer in time: the outcome is unknown, repeat with the same ids. Its text is for the
// log.
class Unavailable : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

[[nodiscard]] inline std::unexpected<Error> fail(Code code, std::string detail) {
  return std::unexpected(Error{code, std::move(detail), {}});
}

[[nodiscard]] inline std::unexpected<Error> fail(Error error) {
  return std::unexpected(std::move(error));
}

// A body that parses but breaks rules. `fields` must not be empty.
[[nodiscard]] inline std::unexpected<Error> unprocessable(std::vector<FieldError> fields) {
  std::string detail = fields.size() == 1
                           ? fields.front().message
                           : std::to_string(fields.size()) + " fields of the request are not acceptable.";
  return std::unexpected(Error{Code::unprocessable, std::move(detail), std::move(fields)});
}

[[nodiscard]] inline std::unexpected<Error> unprocessable(std::string pointer, std::string message,
                                                          std::string rejected = {}) {
  return unprocessable(std::vector{FieldError{std::move(pointer), std::move(message), std::move(rejected)}});
}

}  // namespace cognive
