#include "identity/tokens.hpp"

#include <jwt.h>

#include <charconv>
#include <cstdlib>
#include <memory>
#include <stdexcept>

#include "keyring/purposes.hpp"

namespace cognive::identity {
namespace {

constexpr std::size_t token_bytes_max = 1024;
constexpr std::int64_t week_s = 7 * 86'400;
constexpr std::int64_t skew_s = 30;
constexpr std::int64_t lifetime_s = std::chrono::seconds(access_token_lifetime).count();
constexpr const char* issuer = "cognive";

using Token = std::unique_ptr<jwt_t, decltype(&jwt_free)>;

void check(int result) {
  if (result != 0) throw std::runtime_error("a token could not be made");
}

std::int64_t seconds_of(Timestamp time) {
  return time.micros / 1'000'000;
}

// A copy, since the library wants it to end with a zero; null when it is none.
Token decoded(const std::string& token, const Digest* key) {
  jwt_t* out = nullptr;
  const int result = jwt_decode(&out, token.c_str(), key != nullptr ? key->data() : nullptr,
                                key != nullptr ? static_cast<int>(key->size()) : 0);
  return {result == 0 ? out : nullptr, &jwt_free};
}

std::string_view text_of(const char* text) {
  return text == nullptr ? std::string_view{} : std::string_view(text);
}

}  // namespace

AccessTokens::AccessTokens(const keyring::RootKey& root)
    : derived_(root, std::string(keyring::purpose::access_tokens)) {}

std::string AccessTokens::key_id(std::int64_t week) const {
  constexpr std::size_t fingerprint_bytes = 4;
  const auto whole = hmac_sha256(derived_.get(), "fingerprint");
  return fmt::format("{}-{}", week, to_hex(std::span(whole).first(fingerprint_bytes)));
}

Digest AccessTokens::key(std::string_view key_id) const {
  return hmac_sha256(derived_.get(), key_id);
}

std::string AccessTokens::issue(const AccessClaims& claims, Timestamp now) const {
  const auto seconds = seconds_of(now);
  const auto id = key_id(seconds / week_s);
  const auto signing_key = key(id);
  jwt_t* made = nullptr;
  check(jwt_new(&made));
  const Token token(made, &jwt_free);
  check(jwt_set_alg(made, JWT_ALG_HS256, signing_key.data(), static_cast<int>(signing_key.size())));
  check(jwt_add_header(made, "kid", id.c_str()));
  check(jwt_add_grant(made, "iss", issuer));
  check(jwt_add_grant(made, "sub", claims.user_id.text().c_str()));
  check(jwt_add_grant(made, "sid", claims.session_id.text().c_str()));
  check(jwt_add_grant_int(made, "iat", seconds));
  check(jwt_add_grant_int(made, "exp", seconds + lifetime_s));
  const std::unique_ptr<char, decltype(&std::free)> text(jwt_encode_str(made), &std::free);
  if (!text) throw std::runtime_error("a token could not be made");
  return text.get();
}

std::optional<AccessClaims> AccessTokens::verify(std::string_view token, Timestamp now) const {
  if (token.empty() || token.size() > token_bytes_max || token.find('\0') != std::string_view::npos)
    return std::nullopt;
  const std::string text(token);
  // What it says of itself is only used to choose among our own keys.
  const auto claimed = decoded(text, nullptr);
  if (!claimed) return std::nullopt;
  const auto id = text_of(jwt_get_header(claimed.get(), "kid"));
  const auto seconds = seconds_of(now);
  const auto week = seconds / week_s;
  // Of the week before: it outlives its week by minutes. Of the next: the clock that it comes from may be ahead.
  if (id != key_id(week) && id != key_id(week - 1) && id != key_id(week + 1)) return std::nullopt;
  const auto signing_key = key(id);
  const auto genuine = decoded(text, &signing_key);
  if (!genuine || jwt_get_alg(genuine.get()) != JWT_ALG_HS256) return std::nullopt;
  if (text_of(jwt_get_grant(genuine.get(), "iss")) != issuer) return std::nullopt;
  const auto issued = jwt_get_grant_int(genuine.get(), "iat");
  const auto expires = jwt_get_grant_int(genuine.get(), "exp");
  if (issued > seconds + skew_s || expires <= seconds - skew_s || expires - issued > lifetime_s) return std::nullopt;
  const auto user = Uuid::parse(text_of(jwt_get_grant(genuine.get(), "sub")));
  const auto session = Uuid::parse(text_of(jwt_get_grant(genuine.get(), "sid")));
  if (!user || !session) return std::nullopt;
  return AccessClaims{*user, *session};
}

namespace {

constexpr std::string_view refresh_prefix = "cgr_";

std::string signed_part(const RefreshClaims& claims) {
  return fmt::format("{}{}_{}", refresh_prefix, to_hex(claims.session_id.bytes), claims.generation);
}

}  // namespace

RefreshTokens::RefreshTokens(const keyring::RootKey& root)
    : derived_(root, std::string(keyring::purpose::refresh_tokens)) {}

std::string RefreshTokens::issue(const RefreshClaims& claims) const {
  const auto text = signed_part(claims);
  return text + "_" + to_hex(hmac_sha256(derived_.get(), text));
}

std::optional<RefreshClaims> RefreshTokens::verify(std::string_view token) const {
  constexpr std::size_t id_length = 32;
  if (token.size() > token_bytes_max || !token.starts_with(refresh_prefix)) return std::nullopt;
  const auto last = token.rfind('_');
  const auto content = token.substr(0, last);
  if (content.size() < refresh_prefix.size() + id_length + 2) return std::nullopt;
  const auto code = from_hex(token.substr(last + 1));
  const auto right = hmac_sha256(derived_.get(), content);
  if (!code || !equal_constant_time(*code, right)) return std::nullopt;
  // We wrote what follows; it is read with care anyway.
  RefreshClaims out;
  const auto id = from_hex(content.substr(refresh_prefix.size(), id_length));
  if (!id || id->size() != out.session_id.bytes.size()) return std::nullopt;
  std::ranges::copy(*id, out.session_id.bytes.begin());
  const auto number = content.substr(refresh_prefix.size() + id_length + 1);
  const auto read = std::from_chars(number.data(), number.data() + number.size(), out.generation);
  if (read.ec != std::errc{} || read.ptr != number.data() + number.size()) return std::nullopt;
  return out;
}

}  // namespace cognive::identity
