// The groups of operations, in the order in which a reader meets them.
#pragma once

#include <span>

#include "http/router.hpp"

namespace cognive::documents {

std::span<const http::Router::Tag> tags();

}  // namespace cognive::documents
