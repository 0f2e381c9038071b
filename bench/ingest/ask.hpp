// Single questions to the server under test, beside a load.
#pragma once

#include <string>
#include <string_view>

#include "ingest/load.hpp"

namespace cognive::bench {

// The body of a 2xx answer. Throws std::runtime_error for any other.
std::string ask(const Target& target, std::string_view method, const std::string& path, const std::string& body = {});

// The text of a member of a JSON object; empty when it has none of that name.
std::string text_of(std::string_view json, std::string_view member);

}  // namespace cognive::bench
