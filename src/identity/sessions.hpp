// Sessions of people: signing in, staying signed in, and the end of it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "audit/audit.hpp"
#include "base/rate_limiter.hpp"
#include "identity/tokens.hpp"
#include "identity/users.hpp"

namespace cognive::identity {

// How a session ended. reuse: a refresh token was used for the second time, so somebody has a copy.
enum class SessionEnd { logout, password_changed, suspended, reuse, too_many };

constexpr auto enum_names(SessionEnd) {
  return std::array{json::name(SessionEnd::logout, "logout"),
                    json::name(SessionEnd::password_changed, "password_changed"),
                    json::name(SessionEnd::suspended, "suspended"), json::name(SessionEnd::reuse, "reuse"),
                    json::name(SessionEnd::too_many, "too_many")};
}

struct LoginRequest {
  std::string email;
  std::string password;

  static constexpr std::string_view schema_name = "LoginRequest";
  static constexpr auto fields() {
    return json::fields(
        json::field("email", &LoginRequest::email, "", email_rules),
        json::field("password", &LoginRequest::password, "", {.min_length = 1, .max_length = 256, .secret = true}));
  }
};

struct RefreshRequest {
  std::string refresh_token;

  static constexpr std::string_view schema_name = "RefreshRequest";
  static constexpr auto fields() {
    return json::fields(json::field("refresh_token", &RefreshRequest::refresh_token, "The newest one of the session.",
                                    {.min_length = 1, .max_length = 1024, .secret = true}));
  }
};

// Named as OAuth 2.0 names them (RFC 6749, section 5.1).
struct SessionTokens {
  std::string access_token;
  std::string token_type = "Bearer";
  std::int64_t expires_in = 0;
  std::string refresh_token;
  Timestamp refresh_expires_at;

  static constexpr std::string_view schema_name = "SessionTokens";
  static constexpr auto fields() {
    return json::fields(
        json::field("access_token", &SessionTokens::access_token, "For the header Authorization: Bearer …"),
        json::field("token_type", &SessionTokens::token_type, "Bearer"),
        json::field("expires_in", &SessionTokens::expires_in, "Of the access token, seconds."),
        json::field("refresh_token", &SessionTokens::refresh_token,
                    "For the next pair. It works once: used again, it ends the session."),
        json::field("refresh_expires_at", &SessionTokens::refresh_expires_at, "The session ends then, if not before."));
  }
};

struct PasswordChange {
  std::string current_password;
  std::string new_password;

  void check(json::Faults& faults) const;

  static constexpr std::string_view schema_name = "PasswordChange";
  static constexpr auto fields() {
    return json::fields(json::field("current_password", &PasswordChange::current_password, "",
                                    {.min_length = 1, .max_length = 256, .secret = true}),
                        json::field("new_password", &PasswordChange::new_password, "", password_rules));
  }
};

struct Session {
  Uuid id;
  Timestamp created_at;
  Timestamp refreshed_at;
  Timestamp expires_at;
  std::string address;
  bool current = false;

  static constexpr std::string_view schema_name = "Session";
  static constexpr auto fields() {
    return json::fields(json::field("id", &Session::id, ""), json::field("created_at", &Session::created_at, ""),
                        json::field("refreshed_at", &Session::refreshed_at, "When its tokens were last replaced."),
                        json::field("expires_at", &Session::expires_at, ""),
                        json::field("address", &Session::address, "Where it was begun from."),
                        json::field("current", &Session::current, "The one that asks."));
  }
};

struct SessionsAnswer {
  std::vector<Session> items;

  static constexpr std::string_view schema_name = "Sessions";
  static constexpr auto fields() { return json::fields(json::field("items", &SessionsAnswer::items, "Newest first.")); }
};

// Who has signed in, or what a key is.
struct Me {
  std::string kind;
  Uuid id;
  std::optional<std::string> email;
  std::optional<Uuid> team_id;
  std::optional<Uuid> agent_id;
  std::vector<std::string> permissions;
  std::vector<HeldRole> roles;

  static constexpr std::string_view schema_name = "Me";
  static constexpr auto fields() {
    return json::fields(
        json::field("kind", &Me::kind, "user or api_key."), json::field("id", &Me::id, ""),
        json::field("email", &Me::email, "Of a user."),
        json::field("team_id", &Me::team_id, "What this request acts in; null: the whole organisation."),
        json::field("agent_id", &Me::agent_id, "What this request acts for; null: every agent of the team."),
        json::field("permissions", &Me::permissions, "What this request may do; * is everything."),
        json::field("roles", &Me::roles, "All that a user is; the header X-Team chooses among several teams."));
  }
};

// How often somebody may try. Of one process, for all of its threads. Nobody is locked out by what others do: failures
// count for an account and an address together, and what counts for an account alone leaves out the addresses from
// which it has been used before.
struct LoginLimits {
  RateLimiter by_address{{.per_second = 1, .burst = 60}};
  RateLimiter by_account_and_address{{.per_second = 1.0 / 60, .burst = 10}};
  RateLimiter by_account{{.per_second = 1.0 / 6, .burst = 50}};  // from addresses that it was never used from
};

// For one I/O thread.
class Sessions {
 public:
  // All must outlive it.
  Sessions(pg::Cluster& database, audit::Trail trail, Passwords& passwords, LoginLimits& limits,
           const keyring::RootKey& root)
      : database_(database),
        trail_(trail),
        passwords_(passwords),
        limits_(limits),
        access_tokens_(root),
        refresh_tokens_(root) {}

  // Code::unauthenticated when address and password are not those of anybody, whichever it is; Code::too_many when
  // tried too often.
  Async<Result<SessionTokens>> login(const Call& call, LoginRequest request);
  // Code::unauthenticated when it is not the newest of a running session; one that was the newest before ends it.
  Async<Result<SessionTokens>> refresh(const Call& call, RefreshRequest request);
  // Ends the session of the caller.
  Async<Result<Session>> logout(const Call& call);
  // Ends all sessions of the caller and begins a new one.
  Async<Result<SessionTokens>> change_password(const Call& call, PasswordChange request);
  Async<Result<SessionsAnswer>> list(const Call& call);
  Async<Result<Session>> end(const Call& call, Uuid id);
  Async<Result<Me>> me(const Call& call);

  // Who has this access token, acting in `team` (a name or an id) where they are of several. A verdict is reused for at
  // most one second; the primary is asked, never a replica.
  Async<Result<Principal>> authenticate(std::string token, std::string_view team, Deadline deadline);

 private:
  struct Verdict {
    Result<std::vector<HeldRole>> roles;
    std::chrono::steady_clock::time_point until;
  };

  [[nodiscard]] SessionTokens tokens_of(const AccessClaims& claims, std::int64_t generation,
                                        Timestamp expires_at) const;

  pg::Cluster& database_;
  audit::Trail trail_;
  Passwords& passwords_;
  LoginLimits& limits_;
  AccessTokens access_tokens_;
  RefreshTokens refresh_tokens_;
  std::unordered_map<std::string, Verdict> verdicts_;  // by token; bounded
};

// What somebody with these roles, the first that they got first, is when acting in `team` (a name or an id; empty: not
// said, then in the organisation, or else in their first team). It may do nothing where they are not.
Principal act_in(const std::vector<HeldRole>& roles, std::string_view team);

}  // namespace cognive::identity
