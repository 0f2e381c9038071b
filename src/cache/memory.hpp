// The store of a process without Redis, shared by its threads. What has not been used for the longest time goes first.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <mutex>

#include "cache/store.hpp"

namespace cognive::cache {

// Safe on every thread.
class Memory {
 public:
  using Clock = std::chrono::steady_clock;

  explicit Memory(std::size_t bytes_max) : bytes_max_(bytes_max) {}

  Looked look(const std::string& key, Clock::time_point now);
  void fill(const std::string& key, const std::string& lease, std::optional<std::string> text,
            std::chrono::milliseconds lifetime, Clock::time_point now);
  void forget(const std::string& key);
  [[nodiscard]] StoreInfo info() const;

 private:
  struct Entry {
    std::optional<std::string> text;  // nothing: it is leased
    std::uint64_t lease = 0;
    Clock::time_point until;
    std::list<std::string>::iterator place;
  };
  using Entries = std::map<std::string, Entry, std::less<>>;

  static std::size_t bytes_of(const std::string& key, const Entry& entry);
  void erase(Entries::iterator entry);
  // Makes room for what has come.
  void shrink();

  const std::size_t bytes_max_;
  mutable std::mutex mutex_;
  Entries entries_;
  std::list<std::string> by_use_;  // the latest first
  std::size_t bytes_ = 0;
  std::size_t bytes_peak_ = 0;
  std::uint64_t leases_ = 0;
};

// A thread's view of it.
class MemoryStore final : public Store {
 public:
  explicit MemoryStore(Memory& memory) : memory_(memory) {}

  Async<Looked> look(std::string key, Deadline deadline) override;
  Async<> fill(std::string key, std::string lease, std::optional<std::string> text, std::chrono::milliseconds lifetime,
               Deadline deadline) override;
  Async<> forget(std::string key, Deadline deadline) override;
  Async<StoreInfo> info(Deadline deadline) override;

 private:
  Memory& memory_;
};

}  // namespace cognive::cache
