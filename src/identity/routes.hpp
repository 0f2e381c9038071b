// Routes of identity: signing in, users, members of teams, API keys.
#pragma once

#include "identity/keys.hpp"
#include "identity/sessions.hpp"
#include "identity/users.hpp"

namespace cognive::http {
class Router;
}

namespace cognive::identity {

void add_routes(http::Router& router, Keys& keys);
void add_routes(http::Router& router, Users& users);
void add_routes(http::Router& router, Sessions& sessions);

}  // namespace cognive::identity
