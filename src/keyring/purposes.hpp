// What keys are for: each follows from the root key and one of these, and is used for nothing else. What stands here is
// in databases and archives that exist: it never changes, another key gets another name.
#pragma once

#include <string_view>

namespace cognive::keyring::purpose {

inline constexpr std::string_view access_tokens = "cognive/access-tokens/1";
inline constexpr std::string_view refresh_tokens = "cognive/refresh-tokens/1";
inline constexpr std::string_view api_key_secrets = "cognive/api-key-secrets/1";  // hashes of them
inline constexpr std::string_view audit_chain = "cognive/audit-chain/1";
inline constexpr std::string_view audit_chain_id = "cognive/audit-chain/id";  // of the key before, tells which it is
inline constexpr std::string_view audit_checkpoints = "cognive/audit-checkpoints/1";
inline constexpr std::string_view content = "cognive/content/1";             // hashes of what events say
inline constexpr std::string_view webhook_secrets = "cognive/webhook/1";     // with the channel and a version behind it
inline constexpr std::string_view alert_targets = "cognive/alert-target/1";  // encrypts where alerts go
inline constexpr std::string_view kept_answers = "cognive/kept-answers/1";   // encrypts answers of idempotency keys
inline constexpr std::string_view cached_texts = "cognive/cached-texts/1";   // codes of what Redis keeps for us

}  // namespace cognive::keyring::purpose
