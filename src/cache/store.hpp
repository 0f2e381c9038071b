// Where cached texts are kept: in the process, or in a Redis that processes share.
//
// Whoever misses a text gets a lease, and may put it there under the lease. Forgetting a text ends its lease: what was
// read before a change cannot be put there after it. While one has the lease, others are told so.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/async.hpp"

namespace cognive::cache {

struct Looked {
  enum class Outcome { found, leased, taken };

  Outcome outcome = Outcome::taken;  // taken: somebody else has the lease
  std::string text = {};             // that was found, or the lease
};

// What people ask of it; sizes as Redis writes them: 1.50M.
struct StoreInfo {
  std::string used_memory;
  std::string used_memory_peak;
  std::string maxmemory;
  std::int64_t connected_clients = 0;
};

// For one I/O thread. All of it throws Unavailable when the store is away.
class Store {
 public:
  // A lease that has not been used for that long is no more.
  static constexpr std::chrono::milliseconds lease_max{2'000};

  Store() = default;
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  virtual ~Store() = default;

  virtual Async<Looked> look(std::string key, Deadline deadline) = 0;
  // Puts the text there for `lifetime` at most, unless the lease has ended; without a text, gives the lease back.
  virtual Async<> fill(std::string key, std::string lease, std::optional<std::string> text,
                       std::chrono::milliseconds lifetime, Deadline deadline) = 0;
  virtual Async<> forget(std::string key, Deadline deadline) = 0;
  virtual Async<StoreInfo> info(Deadline deadline) = 0;
};

// 512B, 1.50K, 2.00G: as Redis writes sizes.
std::string human_size(std::uint64_t bytes);

}  // namespace cognive::cache
