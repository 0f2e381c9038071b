// Guards the routes: finds out who is calling from the headers of a request.
#pragma once

#include "http/router.hpp"
#include "identity/keys.hpp"
#include "identity/sessions.hpp"

namespace cognive::identity {

// An API key in X-API-Key, or a bearer token: the access token of a person, or a key for clients that know nothing
// else.
class Gate final : public http::Gate {
 public:
  // Both must outlive it.
  Gate(Keys& keys, Sessions& sessions) : keys_(keys), sessions_(sessions) {}

  Async<Result<Principal>> admit(const http::Request& request) override;

 private:
  Keys& keys_;
  Sessions& sessions_;
};

}  // namespace cognive::identity
