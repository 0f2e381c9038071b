// Errors as RFC 9457 problem documents; the one place that maps what went wrong to a status code.
#pragma once

#include "base/error.hpp"
#include "http/message.hpp"

namespace cognive::http {

int status_of(Code code);
Code code_of(int status);

// `instance` is the path of the request as a URI reference.
Response problem(const Error& error, std::string_view instance, std::string_view request_id);
Response problem(const Error& error, const Request& request);
// With the members of a JSON object of the caller's added to the document (RFC 9457, section 3.2).
Response problem(const Error& error, const Request& request, std::string_view extension);

// The JSON Schema of a problem document, for the API description.
std::string_view problem_schema();

}  // namespace cognive::http
