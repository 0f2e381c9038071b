#include "identity/sessions.hpp"

#include "base/text.hpp"
#include "identity/session_store.hpp"
#include "json/writer.hpp"
#include "pg/transact.hpp"

namespace cognive::identity {
namespace {

constexpr std::chrono::seconds verdict_lifetime{1};
constexpr std::size_t verdicts_max = 10'000;

Error wrong_login() {
  return {Code::unauthenticated, "E-mail address or password are not right.", {}};
}

Error no_session() {
  return {Code::unauthenticated, "The session is over or the token is not valid: sign in again.", {}};
}

Error only_people() {
  return {Code::forbidden, "Only people who have signed in have sessions; this is an API key.", {}};
}

Error too_often(const RateLimiter::Verdict& verdict) {
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(verdict.retry_after).count();
  return {Code::too_many, fmt::format("Tried too often; try again in {} s.", seconds), {}, seconds};
}

Error no_such_session() {
  return {Code::not_found, "You have no such session.", {}};
}

// The caller, once known, for what is recorded.
Call as_user(const Call& call, const Uuid& user_id) {
  auto out = call;
  out.principal = {.kind = Principal::Kind::user, .id = user_id};
  return out;
}

audit::Entry entry(std::string_view action, const Uuid& session_id, std::string_view reason = {}) {
  json::Writer details;
  details.begin_object();
  if (!reason.empty()) details.field("reason", reason);
  details.end_object();
  return {.action = action,
          .resource_kind = "session",
          .resource_id = session_id.text(),
          .team_id = {},
          .details = std::move(details).text()};
}

}  // namespace

void PasswordChange::check(json::Faults& faults) const {
  if (faults.empty() && current_password == new_password)
    faults.add_at("new_password", "It is the one that you have already.");
}

SessionTokens Sessions::tokens_of(const AccessClaims& claims, std::int64_t generation, Timestamp expires_at) const {
  return {.access_token = access_tokens_.issue(claims, Timestamp::now()),
          .expires_in = std::chrono::seconds(access_token_lifetime).count(),
          .refresh_token = refresh_tokens_.issue({claims.session_id, generation}),
          .refresh_expires_at = expires_at};
}

Async<Result<SessionTokens>> Sessions::login(const Call& call, LoginRequest request) {
  const auto email = lower(request.email);
  Attempt of_address(limits_.by_address, call.address);
  if (!of_address.allowed()) co_return fail(too_often(of_address.verdict()));
  Attempt from_here(limits_.by_account_and_address, call.address + " " + email);
  if (!from_here.allowed()) co_return fail(too_often(from_here.verdict()));
  const auto account = co_await store::account_by_email(database_.primary(), email, call.address, call.deadline);
  if (account) call.note_account(account->user_id);
  std::optional<Attempt> of_stranger;
  if (!account || !account->knows_address) of_stranger.emplace(limits_.by_account, email);
  if (of_stranger && !of_stranger->allowed()) co_return fail(too_often(of_stranger->verdict()));
  const auto right =
      co_await passwords_.verify(std::move(request.password), account ? account->password_hash : std::string(),
                                 of_stranger ? Passwords::Asker::stranger : Passwords::Asker::known);
  if (!right) co_return std::unexpected(right.error());
  if (!*right) {
    of_address.was_wrong();
    from_here.was_wrong();
    if (of_stranger) of_stranger->was_wrong();
    co_return fail(wrong_login());
  }
  if (!account->active)
    co_return fail(Code::forbidden, "This account is suspended; ask somebody who manages the organisation.");

  const AccessClaims claims{account->user_id, Uuid::make()};
  const auto caller = as_user(call, account->user_id);
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<SessionTokens>> {
    if (!co_await store::account_lock(transaction, *account)) co_return fail(wrong_login());  // changed meanwhile
    const auto expires_at =
        co_await store::session_begin(transaction, claims.session_id, account->user_id, call.address);
    trail_.record(transaction, caller, entry("session_begin", claims.session_id));
    co_return tokens_of(claims, 1, expires_at);
  };
  co_return co_await pg::transact(database_, "session_begin", call, body);
}

Async<Result<SessionTokens>> Sessions::refresh(const Call& call, RefreshRequest request) {
  const auto claims = refresh_tokens_.verify(request.refresh_token);
  if (!claims) co_return fail(no_session());
  // Nothing: the session has been ended, which has to be committed.
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<std::optional<SessionTokens>>> {
    const auto session = co_await store::session_lock(transaction, claims->session_id);
    if (!session) co_return fail(no_session());
    call.note_account(session->user_id);
    if (!session->running) co_return fail(no_session());
    if (claims->generation != session->generation) {
      co_await store::session_end(transaction, claims->session_id, session->user_id, SessionEnd::reuse);
      trail_.record(transaction, as_user(call, session->user_id), entry("session_end", claims->session_id, "reuse"));
      co_return std::optional<SessionTokens>{};
    }
    const auto expires_at = co_await store::session_refresh(transaction, claims->session_id);
    co_return tokens_of({session->user_id, claims->session_id}, session->generation + 1, expires_at);
  };
  auto tokens = co_await pg::transact(database_, "session_refresh", call, body);
  if (!tokens) co_return std::unexpected(tokens.error());
  if (!*tokens) co_return fail(no_session());
  co_return std::move(**tokens);
}

Async<Result<Session>> Sessions::end(const Call& call, Uuid id) {
  if (!call.principal.session_id) co_return fail(no_such_session());
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<Session>> {
    auto ended = co_await store::session_end(transaction, id, call.principal.id, SessionEnd::logout);
    if (!ended) co_return fail(no_such_session());
    ended->current = id == call.principal.session_id;
    trail_.record(transaction, call, entry("session_end", id, "logout"));
    co_return std::move(*ended);
  };
  co_return co_await pg::transact(database_, "session_end", call, body);
}

Async<Result<Session>> Sessions::logout(const Call& call) {
  if (!call.principal.session_id) co_return fail(only_people());
  co_return co_await end(call, *call.principal.session_id);
}

Async<Result<SessionTokens>> Sessions::change_password(const Call& call, PasswordChange request) {
  if (!call.principal.session_id) co_return fail(only_people());
  // A stolen session must not find out the password, and must not keep its owner from changing it elsewhere.
  Attempt attempt(limits_.by_account_and_address, "session " + call.principal.session_id->text());
  if (!attempt.allowed()) co_return fail(too_often(attempt.verdict()));
  auto account = co_await store::account_by_id(database_.primary(), call.principal.id, call.address, call.deadline);
  if (!account) co_return fail(no_session());
  const auto right =
      co_await passwords_.verify(std::move(request.current_password), account->password_hash, Passwords::Asker::known);
  if (!right) co_return std::unexpected(right.error());
  if (!*right) {
    attempt.was_wrong();
    co_return unprocessable("/current_password", "It is not your password.");
  }
  const auto password_hash = co_await passwords_.hash(std::move(request.new_password));
  if (!password_hash) co_return std::unexpected(password_hash.error());

  const AccessClaims claims{call.principal.id, Uuid::make()};
  const auto body = [&](pg::Transaction& transaction) -> Async<Result<SessionTokens>> {
    // An administrator may have set another one meanwhile, and ended this session.
    if (!co_await store::account_lock(transaction, *account)) co_return fail(no_session());
    const auto own = co_await store::session_lock(transaction, *call.principal.session_id);
    if (!own || !own->running) co_return fail(no_session());
    co_await store::sessions_end(transaction, call.principal.id, SessionEnd::password_changed);
    co_await store::password_store(transaction, call.principal.id, *password_hash);
    const auto expires_at =
        co_await store::session_begin(transaction, claims.session_id, call.principal.id, call.address);
    audit::Entry changed{.action = "user_change_password",
                         .resource_kind = "user",
                         .resource_id = call.principal.id.text(),
                         .team_id = {}};
    trail_.record(transaction, call, std::move(changed));
    co_return tokens_of(claims, 1, expires_at);
  };
  co_return co_await pg::transact(database_, "user_change_password", call, body);
}

Async<Result<SessionsAnswer>> Sessions::list(const Call& call) {
  if (!call.principal.session_id) co_return SessionsAnswer{};  // keys have none
  SessionsAnswer out{co_await store::sessions_list(database_.primary(), call.principal.id, call.deadline)};
  for (auto& session : out.items) session.current = session.id == call.principal.session_id;
  co_return out;
}

Async<Result<Me>> Sessions::me(const Call& call) {
  const auto& principal = call.principal;
  Me out{.kind = principal.session_id ? "user" : "api_key",
         .id = principal.id,
         .email = {},
         .team_id = principal.team_id,
         .agent_id = principal.agent_id,
         .permissions = principal.permissions,
         .roles = {}};
  if (!principal.session_id) co_return out;
  out.email = co_await store::email_of(database_.primary(), principal.id, call.deadline);
  auto roles = co_await store::session_roles(database_.primary(), {principal.id, *principal.session_id}, call.deadline);
  if (roles) out.roles = std::move(*roles);
  co_return out;
}

Async<Result<Principal>> Sessions::authenticate(std::string token, std::string_view team, Deadline deadline) {
  const auto claims = access_tokens_.verify(token, Timestamp::now());
  if (!claims) co_return fail(no_session());
  const auto now = std::chrono::steady_clock::now();
  Result<std::vector<HeldRole>> roles = fail(no_session());
  if (const auto known = verdicts_.find(token); known != verdicts_.end() && known->second.until > now) {
    roles = known->second.roles;
  } else {
    if (auto found = co_await store::session_roles(database_.primary(), *claims, deadline)) roles = std::move(*found);
    if (verdicts_.size() >= verdicts_max) verdicts_.clear();
    verdicts_.insert_or_assign(std::move(token), Verdict{roles, now + verdict_lifetime});
  }
  if (!roles) co_return std::unexpected(roles.error());
  auto principal = act_in(*roles, team);
  principal.id = claims->user_id;
  principal.session_id = claims->session_id;
  co_return principal;
}

Principal act_in(const std::vector<HeldRole>& roles, std::string_view team) {
  Principal principal{.kind = Principal::Kind::user};
  const auto refused = [&](std::string why) {
    principal.limited_by = std::move(why);
    return principal;
  };
  const auto in_organisation = [](const HeldRole& held) { return !held.team_id; };
  const auto has_id = [&](const HeldRole& held) { return held.team_id && team == held.team_id->text(); };
  const auto has_name = [&](const HeldRole& held) { return held.team_id && team == held.team; };
  // Neither keeps anybody from what needs no permission, such as signing out.
  if (roles.empty()) return refused("You have no role yet; ask somebody who manages the organisation.");
  if (!team.empty()) {
    auto named = std::ranges::find_if(roles, has_id);
    if (named == roles.end()) named = std::ranges::find_if(roles, has_name);
    if (named == roles.end()) return refused("You are no member of the team that the header X-Team names.");
    principal.team_id = named->team_id;
  } else if (std::ranges::none_of(roles, in_organisation)) {
    principal.team_id = roles.front().team_id;
  }
  const auto holds = [&](const HeldRole& held, const Grant& grant) {
    return (!held.team_id || held.team_id == principal.team_id) && grant.holds(held.role);
  };
  for (const auto& grant : grants) {
    if (std::ranges::any_of(roles, [&](const auto& held) { return holds(held, grant); }))
      principal.permissions.emplace_back(grant.permission);
  }
  const bool is_admin =
      std::ranges::any_of(roles, [&](const auto& held) { return held.role == Role::admin && !held.team_id; });
  if (is_admin && !principal.team_id) principal.permissions = {std::string(permission::everything)};
  return principal;
}

}  // namespace cognive::identity
