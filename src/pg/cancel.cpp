#include "pg/cancel.hpp"

#include <libpq-fe.h>

#include <array>
#include <atomic>
#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <memory>

namespace cognive::pg {
namespace {

constexpr int pending_max = 64;

struct CancelFreer {
  void operator()(PGcancel* cancel) const { PQfreeCancel(cancel); }
};

}  // namespace

void cancel_in_background(pg_conn* connection) {
  static std::atomic<int> pending{0};
  // Two: one server that swallows connections holds up one thread for the TCP user timeout only.
  static boost::asio::thread_pool threads(2);
  const std::shared_ptr<PGcancel> cancel(PQgetCancel(connection), CancelFreer{});
  if (!cancel || pending.fetch_add(1) >= pending_max) {
    if (cancel) pending.fetch_sub(1);
    return;
  }
  boost::asio::post(threads, [cancel] {
    std::array<char, 256> reason{};
    PQcancel(cancel.get(), reason.data(), static_cast<int>(reason.size()));
    pending.fetch_sub(1);
  });
}

}  // namespace cognive::pg
