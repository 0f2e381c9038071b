#include "tasks/tasks.hpp"

#include <random>
#include <set>
#include <stdexcept>

#include "base/text.hpp"
#include "privacy/redactor.hpp"

namespace cognive::tasks {
namespace {

constexpr std::size_t error_bytes_max = 1'000;

std::minstd_rand& random_source() {
  thread_local std::minstd_rand source{std::random_device{}()};
  return source;
}

double random_share() {
  return std::uniform_real_distribution<double>(0, 1)(random_source());
}

}  // namespace

NewTask NewTask::of(const Definition& definition, std::string payload, std::optional<std::string> key) {
  NewTask task;
  task.name = definition.name;
  task.queue = definition.queue;
  task.payload = std::move(payload);
  task.key = std::move(key);
  task.attempts_max = definition.attempts_max;
  task.time_limit = definition.time_limit;
  return task;
}

void Handlers::add(const Definition& definition, Handler handle) {
  const auto added = entries_.emplace(definition.name, Entry{definition, std::move(handle)});
  if (!added.second) throw std::logic_error("two handlers for " + std::string(definition.name));
}

const Handlers::Entry* Handlers::find(std::string_view name) const {
  const auto found = entries_.find(name);
  return found == entries_.end() ? nullptr : &found->second;
}

std::vector<std::string> Handlers::names() const {
  std::vector<std::string> out;
  for (const auto& [name, entry] : entries_) out.push_back(name);
  return out;
}

std::vector<std::string> Handlers::queues() const {
  std::set<std::string> out{std::string(default_queue)};
  for (const auto& [name, entry] : entries_) out.emplace(entry.definition.queue);
  return {out.begin(), out.end()};
}

std::chrono::milliseconds backoff(const Definition& definition, std::int32_t attempt, double share) {
  constexpr std::int32_t doublings_max = 40;  // far past any maximum, well within 64 bits
  const auto doublings = std::clamp(attempt - 1, 0, doublings_max);
  const auto longest = static_cast<double>(definition.backoff_first.count()) * static_cast<double>(1LL << doublings);
  const auto bounded = std::min(longest, static_cast<double>(definition.backoff_max.count()));
  return std::chrono::milliseconds{static_cast<std::int64_t>(bounded * std::clamp(share, 0.0, 1.0))};
}

std::chrono::milliseconds backoff(const Definition& definition, std::int32_t attempt) {
  return backoff(definition, attempt, random_share());
}

std::chrono::milliseconds jittered(std::chrono::milliseconds duration) {
  constexpr double least = 0.5;
  return std::chrono::milliseconds{
      static_cast<std::int64_t>(static_cast<double>(duration.count()) * (least + random_share()))};
}

std::string kept_error(std::string_view text) {
  // Masked before it is cut: half a secret is not known as one.
  std::string kept = shortened(privacy::redact(shortened(text, 8 * error_bytes_max)), error_bytes_max);
  std::erase(kept, '\0');  // PostgreSQL has no such character
  return kept.empty() ? "It failed without saying why." : kept;
}

}  // namespace cognive::tasks
