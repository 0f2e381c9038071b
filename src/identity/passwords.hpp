// Passwords of people: Argon2id, computed beside the threads that answer requests.
#pragma once

#include <atomic>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "json/fields.hpp"
#include "runtime/blocking.hpp"

namespace cognive::identity {

// What a new password must be (NIST SP 800-63B, section 5.1.1.2: length, no composition rules). Code points.
inline constexpr json::Rules password_rules{
    .min_length = 12, .max_length = 256, .secret = true, .example = "\"four random words here\""};

// Argon2id (RFC 9106) with the second recommended set of parameters, in the encoded form. Takes tens of milliseconds
// and 64 MiB.
std::string hash_password(std::string_view password);

// Takes the same time whether it is right or not. False for what is no encoded hash.
bool is_password(std::string_view password, const std::string& encoded);

// Safe on every thread. How many are computed at a time, and how many wait, has a bound: each costs 64 MiB, and anybody
// can ask for one.
class Passwords {
 public:
  // Strangers, who may be as many as they like, never take all places.
  enum class Asker { stranger, known };

  // Code::too_many when too many wait already.
  Async<Result<std::string>> hash(std::string password);
  // An empty hash costs the time of one and is never right: whether there is such a user shows in nothing.
  Async<Result<bool>> verify(std::string password, std::string encoded, Asker asker);

  // Waits for what has begun.
  void join() { threads_.join(); }

 private:
  static constexpr std::size_t threads = 2;
  static constexpr std::size_t waiting_max = 32;
  static constexpr std::size_t strangers_max = 16;

  Async<Result<void>> run(std::function<void()> work, Asker asker);

  BlockingThreads threads_{threads};
  std::atomic<std::size_t> waiting_ = 0;
};

}  // namespace cognive::identity
