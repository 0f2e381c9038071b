#include "pg/cancel.hpp"

#include <libpq-fe.h>

#include <array>
#include <system_error>
#include <thread>

namespace cognive::pg {
namespace {

// Frozen servers accept connections and say nothing, so that each of their cancellations holds up its thread until the
// connection is given up by somebody.
constexpr int pending_max = 64;

struct CancelFreer {
  void operator()(PGcancel* cancel) const { PQfreeCancel(cancel); }
};

}  // namespace

CancellationOver cancel_in_background(pg_conn* connection) {
  static std::atomic<int> pending{0};
  const std::shared_ptr<PGcancel> cancel(PQgetCancel(connection), CancelFreer{});
  if (!cancel) return nullptr;
  if (pending.fetch_add(1) >= pending_max) {
    pending.fetch_sub(1);
    return nullptr;
  }
  const auto over = std::make_shared<std::atomic<bool>>(false);
  try {
    // Detached: a server that never answers must hold up neither other servers' cancellations nor the end of the
    // program.
    std::thread([cancel, over] {
      std::array<char, 256> reason{};
      PQcancel(cancel.get(), reason.data(), static_cast<int>(reason.size()));
      *over = true;
      pending.fetch_sub(1);
    }).detach();
  } catch (const std::system_error&) {
    pending.fetch_sub(1);
    return nullptr;
  }
  return over;
}

}  // namespace cognive::pg
