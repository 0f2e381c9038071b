#include "embedded/restart_policy.hpp"

namespace cognive::embedded {

std::optional<std::chrono::seconds> RestartPolicy::died(TimePoint now) {
  while (!deaths_.empty() && now - deaths_.front() > window) deaths_.pop_front();
  deaths_.push_back(now);
  if (deaths_.size() >= deaths_max) return std::nullopt;
  return std::chrono::seconds(1 << (deaths_.size() - 1));
}

}  // namespace cognive::embedded
