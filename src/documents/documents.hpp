// What developers read of the API: its OpenAPI description, and the pages that show it and try it (Swagger UI, ReDoc).
// The pages travel inside the binary and ask no other host for anything.
#pragma once

#include <string>

#include "config/settings.hpp"
#include "http/router.hpp"

namespace cognive::documents {

// The description of all routes of the router.
std::string openapi(const http::Router& router, const Settings& settings);

// /docs, /redoc and /openapi.json. Both must outlive the router's last request; describes routes that are added later,
// too, as long as that is before the first request.
void add_routes(http::Router& router, const Settings& settings);

}  // namespace cognive::documents
