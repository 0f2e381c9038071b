#include "identity/gate.hpp"

#include "base/text.hpp"

namespace cognive::identity {

Async<Result<Principal>> KeyGate::admit(const http::Request& request) {
  std::string key(trim(request.header("x-api-key")));
  if (key.empty()) {
    co_return fail(Code::unauthenticated, "Credentials are missing: send an API key in the header X-API-Key.");
  }
  co_return co_await identity_.authenticate(std::move(key), request.deadline);
}

}  // namespace cognive::identity
