// What the store has to be told to forget. Until that is done, a process reads it from the database. Shared by the
// threads of a process, each of which may be the one that reaches the store.
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace cognive::cache {

// Safe on every thread.
class Doubts {
 public:
  using Clock = std::chrono::steady_clock;

  // Has been changed: to be told at once. `lifetime`: of what may be cached; there is a bound for what is remembered,
  // and when it is reached nothing is believed for so long.
  void note(const std::string& key, std::chrono::milliseconds lifetime);
  // May be changed within moments: to be told again at that time as well.
  void note_again(const std::string& key, Clock::time_point at, std::chrono::milliseconds lifetime);
  // The store was told, at a time that is not before `since`.
  void told(const std::string& key, Clock::time_point since);

  [[nodiscard]] bool contains(const std::string& key) const;
  [[nodiscard]] bool empty() const;
  // What is to be told by now.
  [[nodiscard]] std::vector<std::string> due(Clock::time_point now) const;
  [[nodiscard]] std::vector<std::string> all() const;

 private:
  static constexpr std::size_t kept_max = 10'000;

  struct Doubt {
    bool is_untold = false;
    Clock::time_point noted_at{};
    Clock::time_point again_at{};  // the epoch: not
  };
  Doubt* find_or_make(const std::string& key, std::chrono::milliseconds lifetime);

  mutable std::mutex mutex_;
  std::map<std::string, Doubt> doubts_;
  Clock::time_point nothing_before_{};
};

}  // namespace cognive::cache
