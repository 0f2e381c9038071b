#include "identity/gate.hpp"

#include "base/text.hpp"

namespace cognive::identity {

namespace {

// Clients that know bearer tokens only may send their key as one. Empty when there is none.
std::string bearer_token(std::string_view authorization) {
  constexpr std::string_view scheme = "bearer ";
  if (!equal_ignoring_case(authorization.substr(0, scheme.size()), scheme)) return {};
  return std::string(trim(authorization.substr(scheme.size())));
}

}  // namespace

Async<Result<Principal>> KeyGate::admit(const http::Request& request) {
  std::string key(trim(request.header("x-api-key")));
  if (key.empty()) key = bearer_token(request.header("authorization"));
  if (key.empty()) {
    co_return fail(Code::unauthenticated, "Credentials are missing: send an API key in the header X-API-Key.");
  }
  co_return co_await identity_.authenticate(std::move(key), request.deadline);
}

}  // namespace cognive::identity
