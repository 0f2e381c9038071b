#include "identity/gate.hpp"

#include "base/text.hpp"

namespace cognive::identity {

namespace {

// Empty when there is none.
std::string bearer_token(std::string_view authorization) {
  constexpr std::string_view scheme = "bearer ";
  if (!equal_ignoring_case(authorization.substr(0, scheme.size()), scheme)) return {};
  return std::string(trim(authorization.substr(scheme.size())));
}

}  // namespace

Async<Result<Principal>> Gate::admit(const http::Request& request) {
  std::string key(trim(request.header("x-api-key")));
  if (!key.empty()) co_return co_await keys_.authenticate(std::move(key), request.address, request.deadline);
  auto token = bearer_token(request.header("authorization"));
  if (token.empty()) {
    co_return fail(Code::unauthenticated,
                   "Credentials are missing: send an API key in the header X-API-Key, or the access token of a login "
                   "as Authorization: Bearer.");
  }
  if (token.starts_with(KeyText::prefix))
    co_return co_await keys_.authenticate(std::move(token), request.address, request.deadline);
  co_return co_await sessions_.authenticate(std::move(token), trim(request.header("x-team")), request.deadline);
}

}  // namespace cognive::identity
