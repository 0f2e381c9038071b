#include "identity/passwords.hpp"

#include <argon2.h>

#include <array>
#include <stdexcept>

#include "base/crypto.hpp"

namespace cognive::identity {
namespace {

// Takes as long as any other; no password has this hash.
const std::string nobodys =
    "$argon2id$v=19$m=65536,t=3,p=4$Tm9ib2R5LCB1c2VkIHRvIQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

}  // namespace

std::string hash_password(std::string_view password) {
  // RFC 9106, section 4: 64 MiB, three passes, four lanes.
  constexpr std::uint32_t passes = 3;
  constexpr std::uint32_t kibibytes = 64 * 1024;
  constexpr std::uint32_t lanes = 4;
  constexpr std::size_t salt_bytes = 16;
  constexpr std::size_t hash_bytes = 32;
  std::array<std::uint8_t, salt_bytes> salt;
  random_bytes(salt);
  std::string encoded(argon2_encodedlen(passes, kibibytes, lanes, salt_bytes, hash_bytes, Argon2_id), '\0');
  const int result = argon2id_hash_encoded(passes, kibibytes, lanes, password.data(), password.size(), salt.data(),
                                           salt.size(), hash_bytes, encoded.data(), encoded.size());
  if (result != ARGON2_OK) throw std::runtime_error(argon2_error_message(result));
  encoded.resize(encoded.find('\0'));
  return encoded;
}

bool is_password(std::string_view password, const std::string& encoded) {
  return argon2id_verify(encoded.c_str(), password.data(), password.size()) == ARGON2_OK;
}

Async<Result<void>> Passwords::run(std::function<void()> work, Asker asker) {
  if (waiting_.fetch_add(1) >= (asker == Asker::stranger ? strangers_max : waiting_max)) {
    waiting_.fetch_sub(1);
    co_return fail(Code::too_many, "Too many people are signing in at this moment; try again in a second.");
  }
  // Also when the coroutine is dropped.
  const std::unique_ptr<std::atomic<std::size_t>, void (*)(std::atomic<std::size_t>*)> leave(
      &waiting_, [](std::atomic<std::size_t>* waiting) { waiting->fetch_sub(1); });
  co_await threads_.run(std::move(work));
  co_return Result<void>{};
}

Async<Result<std::string>> Passwords::hash(std::string password) {
  std::string encoded;
  if (auto done = co_await run([&] { encoded = hash_password(password); }, Asker::known); !done)
    co_return std::unexpected(std::move(done.error()));
  co_return encoded;
}

Async<Result<bool>> Passwords::verify(std::string password, std::string encoded, Asker asker) {
  const bool is_nobody = encoded.empty();
  const auto& compared = is_nobody ? nobodys : encoded;
  bool right = false;
  if (auto done = co_await run([&] { right = is_password(password, compared); }, asker); !done)
    co_return std::unexpected(std::move(done.error()));
  co_return right && !is_nobody;
}

}  // namespace cognive::identity
