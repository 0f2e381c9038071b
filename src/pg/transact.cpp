#include "pg/transact.hpp"

#include "observe/log.hpp"

namespace cognive::pg::detail {

Async<> before_retry(const char* name, int attempt, const std::string& reason) {
  constexpr std::int64_t step_ms = 20;
  thread_local std::minstd_rand random{std::random_device{}()};
  std::uniform_int_distribution<std::int64_t> jitter(1, step_ms * attempt);
  log(Level::info, "transaction is run again", {{"transaction", name}, {"attempt", attempt}, {"reason", reason}});
  co_await sleep_for(std::chrono::milliseconds{jitter(random)});
}

}  // namespace cognive::pg::detail
