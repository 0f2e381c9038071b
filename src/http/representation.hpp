// How an answer is represented: what the client accepts, whether it has it already, and whether it takes it compressed.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "http/message.hpp"

namespace cognive::http {

// Whether the client takes an answer of this media type, by Accept (RFC 9110, section 12.5.1). Who says nothing, or
// nothing that can be read, takes everything.
bool accepts(const Request& request, std::string_view media_type);

bool accepts_gzip(const Request& request);

// Of an answer to GET, HEAD or PATCH that shows the resource at its path: its ETag; 304 when the client has it already.
void add_entity_tag(const Request& request, Response& response);

// With gzip, what is worth it and accepted so.
void compress(const Request& request, Response& response);

}  // namespace cognive::http
