#include "identity/keys.hpp"

#include "base/text.hpp"
#include "identity/key_store.hpp"
#include "identity/permissions.hpp"
#include "json/writer.hpp"
#include "pg/transact.hpp"

namespace cognive::identity {
namespace {

constexpr std::chrono::seconds verdict_lifetime{1};
constexpr std::size_t verdicts_max = 10'000;

Error unknown_key() {
  return {Code::unauthenticated, "The API key is not valid: unknown, expired or revoked.", {}};
}

Error no_such_key() {
  return {Code::not_found, "There is no such API key.", {}};
}

// Keys that agents carry around manage nothing.
Error agents_key() {
  return {Code::forbidden, "This key belongs to one agent and manages no keys.", {}};
}

bool is_of(const std::string& stored_hash, const Digest& hash) {
  const std::span stored(reinterpret_cast<const std::uint8_t*>(stored_hash.data()), stored_hash.size());
  return equal_constant_time(stored, hash);
}

// The first of them that the principal does not hold, and so cannot hand on.
std::optional<std::string> not_held(const Principal& principal, const std::vector<std::string>& permissions) {
  for (const auto& one : permissions) {
    if (one == permission::everything && std::ranges::find(principal.permissions, one) == principal.permissions.end())
      return one;
    if (!principal.may(one)) return one;
  }
  return std::nullopt;
}

Error cannot_hand_on(const std::string& permission) {
  return {Code::forbidden, "You do not hold the permission " + permission + " and cannot give it to a key.", {}};
}

audit::Entry entry(std::string_view action, const ApiKey& key, std::string details = "{}") {
  return {.action = action,
          .resource_kind = "api_key",
          .resource_id = key.id.text(),
          .team_id = key.team_id,
          .details = std::move(details)};
}

// What a key may do from now on.
std::string described(const ApiKey& key) {
  json::Writer out;
  out.begin_object();
  out.field("name", key.name);
  out.key("permissions");
  out.begin_array();
  for (const auto& permission : key.permissions) out.string(permission);
  out.end_array();
  if (key.agent_id) out.field("agent_id", key.agent_id->text());
  if (key.expires_at) out.field("expires_at", key.expires_at->text());
  out.end_object();
  return std::move(out).text();
}

ApiKeySecret with_secret(ApiKey key, const KeyText& text) {
  ApiKeySecret out;
  static_cast<ApiKey&>(out) = std::move(key);
  out.key = text.text();
  return out;
}

}  // namespace

void KeyLimits::was_valid(const Proof& proof) {
  const std::scoped_lock lock(mutex_);
  if (valid_.size() >= kept_max) valid_.clear();
  valid_.insert(proof);
}

void KeyLimits::is_valid_no_more(const Proof& proof) {
  const std::scoped_lock lock(mutex_);
  valid_.erase(proof);
}

bool KeyLimits::was_valid_lately(const Proof& proof) const {
  const std::scoped_lock lock(mutex_);
  return valid_.contains(proof);
}

Async<Result<Principal>> Keys::authenticate(std::string key_text, std::string_view address, Deadline deadline) {
  const auto key = KeyText::parse(key_text);
  if (!key) co_return fail(unknown_key());
  const auto now = std::chrono::steady_clock::now();
  const auto known = verdicts_.find(key_text);
  if (known != verdicts_.end() && known->second.until > now) co_return known->second.principal;
  const auto hash = hasher_.hash(key->secret);
  const KeyLimits::Proof proof{key->id, hash};
  std::optional<Attempt> attempt;
  if (!limits_.was_valid_lately(proof)) attempt.emplace(limits_.failures, std::string(address));
  if (attempt && !attempt->allowed())
    co_return fail(Code::too_many, "Too many API keys from this address were not valid; try again in a second.");

  const auto stored = co_await store::key_find(database_.primary(), key->id, deadline);
  Result<Principal> principal = fail(unknown_key());
  if (stored) {
    const bool genuine = is_of(stored->secret_hash, hash) ||
                         (stored->previous_secret_hash && is_of(*stored->previous_secret_hash, hash));
    if (genuine && stored->usable) {
      principal = stored->principal;
      limits_.was_valid(proof);
      uses_.insert_or_assign(key->id, Timestamp::now());
    }
  }
  if (!principal) {
    limits_.is_valid_no_more(proof);
    if (attempt) attempt->was_wrong();
  }
  // The time is taken before the question was asked: a revocation that raced with it is still in force a second later.
  // Valid ones are remembered longest: wrong ones can be made without end.
  if (verdicts_.size() >= verdicts_max) {
    std::erase_if(verdicts_, [](const auto& verdict) { return !verdict.second.principal.has_value(); });
    if (verdicts_.size() >= verdicts_max / 2) verdicts_.clear();
  }
  verdicts_.insert_or_assign(std::move(key_text), Verdict{principal, now + verdict_lifetime});
  co_return principal;
}

Async<Result<ApiKeySecret>> Keys::create(const Call& call, ApiKeyCreate request) {
  if (call.principal.agent_id) co_return fail(agents_key());
  for (const auto& one : request.permissions) {
    if (one != permission::everything && !is_permission(one))
      co_return unprocessable("/permissions", "There is no permission " + shortened(one, 64) + ".");
  }
  if (const auto missing = not_held(call.principal, request.permissions)) co_return fail(cannot_hand_on(*missing));
  if (request.expires_at && *request.expires_at <= Timestamp::now())
    co_return unprocessable("/expires_at", "It lies in the past.");
  const auto text = KeyText::make(Uuid::make());
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<ApiKeySecret>> {
    ApiKey key{.id = text.id,
               .name = request.name,
               .team_id = call.principal.team_id,
               .agent_id = request.agent_id,
               .permissions = request.permissions,
               .expires_at = request.expires_at};
    if (call.principal.kind == Principal::Kind::api_key) {
      const auto own = co_await store::key_lock(transaction, call.principal.id, std::nullopt);
      if (own && own->expires_at && (!request.expires_at || own->expires_at->micros < request.expires_at->micros))
        co_return unprocessable(
            "/expires_at", "It must not be later than the end of this key itself, " + own->expires_at->text() + ".");
    }
    std::optional<store::KeyScope> scope;
    if (request.team) {
      scope = co_await store::team_scope(transaction, *request.team, call.principal);
      if (!scope) co_return unprocessable("/team", "There is no such team.");
      key.team_id = scope->team_id;
      key.team = scope->team;
    }
    if (request.agent_id) {
      const auto of_agent = co_await store::agent_scope(transaction, *request.agent_id, call.principal);
      if (!of_agent) co_return unprocessable("/agent_id", "There is no such agent.");
      if (scope && scope->team_id != of_agent->team_id)
        co_return unprocessable("/agent_id", "The agent is of another team.");
      key.team_id = of_agent->team_id;
      key.team = of_agent->team;
    }
    co_await store::key_insert(transaction, key, hasher_.hash(text.secret));
    trail_.record(transaction, call, entry("api_key_create", key, described(key)));
    co_return with_secret(*co_await store::key_lock(transaction, key.id, std::nullopt), text);
  };
  co_return co_await pg::transact(database_, "api_key_create", call, body);
}

Async<Result<ApiKeySecret>> Keys::rotate(const Call& call, Uuid id, ApiKeyRotate request) {
  if (call.principal.agent_id) co_return fail(agents_key());
  const auto text = KeyText::make(id);
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<ApiKeySecret>> {
    auto key = co_await store::key_lock(transaction, id, call.principal.team_id);
    if (!key) co_return fail(no_such_key());
    // Whoever gets the secret can do what the key can.
    if (const auto missing = not_held(call.principal, key->permissions)) co_return fail(cannot_hand_on(*missing));
    if (!co_await store::key_is_usable(transaction, id))
      co_return fail(Code::conflict, "The key is revoked or has expired: create a new one.");
    co_await store::key_rotate(transaction, id, hasher_.hash(text.secret), request.overlap_s);
    key = co_await store::key_lock(transaction, id, call.principal.team_id);
    trail_.record(transaction, call,
                  entry("api_key_rotate", *key, fmt::format(R"({{"overlap_s":{}}})", request.overlap_s)));
    co_return with_secret(std::move(*key), text);
  };
  co_return co_await pg::transact(database_, "api_key_rotate", call, body);
}

Async<Result<ApiKey>> Keys::revoke(const Call& call, Uuid id) {
  if (call.principal.agent_id) co_return fail(agents_key());
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<ApiKey>> {
    auto key = co_await store::key_lock(transaction, id, call.principal.team_id);
    if (!key) co_return fail(no_such_key());
    if (!key->revoked_at) {
      co_await store::key_revoke(transaction, id);
      key = co_await store::key_lock(transaction, id, call.principal.team_id);
      trail_.record(transaction, call, entry("api_key_revoke", *key));
    }
    co_return std::move(*key);
  };
  co_return co_await pg::transact(database_, "api_key_revoke", call, body);
}

Async<Result<ApiKey>> Keys::get(const Call& call, Uuid id) {
  if (call.principal.agent_id) co_return fail(agents_key());
  auto key = co_await store::key_get(database_.read_preferred(call), id, call.principal.team_id, call.deadline);
  if (!key) co_return fail(no_such_key());
  co_return std::move(*key);
}

Async<Result<json::Page<ApiKey>>> Keys::list(const Call& call, ApiKeyList query) {
  if (call.principal.agent_id) co_return fail(agents_key());
  auto rows = co_await store::key_list(database_.read_preferred(call), query, call.principal.team_id, call.deadline);
  co_return json::page_of(std::move(rows), query.limit,
                          [](const ApiKey& key) { return json::PagePosition{key.created_at, key.id}; });
}

Async<> Keys::store_uses(Deadline deadline) {
  if (uses_.empty()) co_return;
  co_await store::store_uses(database_.primary(), std::exchange(uses_, {}), deadline);
}

}  // namespace cognive::identity
