#include "audit/audit.hpp"
#include "base/text.hpp"
#include "identity/identity.hpp"
#include "identity/permissions.hpp"
#include "identity/store.hpp"
#include "pg/transact.hpp"

namespace cognive::identity {
namespace {

constexpr std::chrono::seconds verdict_lifetime{1};
constexpr std::size_t verdicts_max = 10'000;

Error unknown_key() {
  return {Code::unauthenticated, "The API key is not valid: unknown, expired or revoked.", {}};
}

}  // namespace

Async<Result<Principal>> Identity::authenticate(std::string key_text, Deadline deadline) {
  const auto key = KeyText::parse(key_text);
  if (!key) co_return fail(unknown_key());
  const auto now = std::chrono::steady_clock::now();
  const auto known = verdicts_.find(key_text);
  if (known != verdicts_.end() && known->second.until > now) co_return known->second.principal;

  const auto stored = co_await store::key_find(database_.primary(), key->id, deadline);
  const auto hash = hasher_.hash(key->secret);
  Result<Principal> principal = fail(unknown_key());
  if (stored) {
    const std::span stored_hash(reinterpret_cast<const std::uint8_t*>(stored->secret_hash.data()),
                                stored->secret_hash.size());
    const bool genuine = equal_constant_time(stored_hash, hash);
    if (genuine && stored->usable) principal = stored->principal;
  }
  // The time is taken before the question was asked: a revocation that raced with it is still in force a second later.
  if (verdicts_.size() >= verdicts_max) verdicts_.clear();
  verdicts_.insert_or_assign(std::move(key_text), Verdict{principal, now + verdict_lifetime});
  co_return principal;
}

Async<Result<CreatedKey>> Identity::key_create(const Call& call, KeyCreate request) {
  for (const auto& permission : request.permissions) {
    if (permission != "*" && std::ranges::find(permission::all, permission) == permission::all.end()) {
      co_return unprocessable("/permissions", "There is no permission " + shortened(permission, 64) + ".");
    }
  }
  const auto text = KeyText::make();
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<CreatedKey>> {
    auto key = co_await store::key_insert(transaction, text.id, request, hasher_.hash(text.secret));
    if (!key) co_return unprocessable("/team", "There is no such team.");
    audit::Entry entry{
        .action = "api_key_create", .resource_kind = "api_key", .resource_id = key->id.text(), .team_id = {}};
    co_await audit::record(transaction, call, std::move(entry));
    co_return CreatedKey{std::move(*key), text.text()};
  };
  co_return co_await pg::transact(database_, "api_key_create", call, body);
}

Async<std::vector<ApiKey>> Identity::key_list(const Call& call) {
  co_return co_await store::key_list(database_.primary(), call.principal.team_id, call.deadline);
}

Async<Result<void>> Identity::key_revoke(const Call& call, Uuid id) {
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<void>> {
    const auto revoked = co_await store::key_revoke(transaction, id, call.principal.team_id);
    if (!revoked) co_return fail(Code::not_found, "There is no such API key.");
    if (revoked->changed) {
      audit::Entry entry{.action = "api_key_revoke",
                         .resource_kind = "api_key",
                         .resource_id = id.text(),
                         .team_id = revoked->team_id};
      co_await audit::record(transaction, call, std::move(entry));
    }
    co_return Result<void>{};
  };
  co_return co_await pg::transact(database_, "api_key_revoke", call, body);
}

Async<Result<Uuid>> Identity::user_create(const Call& call, std::string email, std::string password, std::string role) {
  const auto id = Uuid::make();
  const auto password_hash = hash_password(password);
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<Uuid>> {
    const bool created = co_await store::user_insert(transaction, id, lower(email), password_hash, role);
    if (!created) co_return fail(Code::conflict, "There is a user with this e-mail address already.");
    audit::Entry entry{.action = "user_create", .resource_kind = "user", .resource_id = id.text(), .team_id = {}};
    co_await audit::record(transaction, call, std::move(entry));
    co_return id;
  };
  co_return co_await pg::transact(database_, "user_create", call, body);
}

Async<bool> Identity::has_users(Deadline deadline) {
  co_return co_await store::has_users(database_.primary(), deadline);
}

}  // namespace cognive::identity
