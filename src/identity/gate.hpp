// Guards the routes: finds out who is calling from the headers of a request.
#pragma once

#include "http/router.hpp"
#include "identity/identity.hpp"

namespace cognive::identity {

class KeyGate final : public http::Gate {
 public:
  explicit KeyGate(Identity& identity) : identity_(identity) {}

  Async<Result<Principal>> admit(const http::Request& request) override;

 private:
  Identity& identity_;
};

}  // namespace cognive::identity
